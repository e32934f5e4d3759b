"""Pickling by reference: a process that unpickles a handle opens the same limiter."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Union

if TYPE_CHECKING:
    from ._keyed import KeyedRateLimit
    from ._rate_limit import RateLimit


def reference(limit: Union[RateLimit, KeyedRateLimit], on_lost: str) -> tuple[Any, ...]:
    """What `__reduce__` returns for this handle."""
    return (_attach, (type(limit), limit.name, os.path.dirname(limit.path), on_lost))


def _attach(
    cls: type[Union[RateLimit, KeyedRateLimit]], name: str, directory: str, on_lost: str
) -> Union[RateLimit, KeyedRateLimit]:
    return cls.attach(name, directory=directory, on_lost=on_lost)
