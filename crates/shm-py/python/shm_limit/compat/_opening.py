"""How the drop-ins open their limiters: by name, or without one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Optional, Union

from .._errors import MismatchError
from .._native import Limit
from .._rate_limit import RateLimit


def open_limit(
    limits: Sequence[Limit],
    *,
    permits: Optional[int] = None,
    name: Optional[str] = None,
    directory: Union[str, os.PathLike[str], None] = None,
    on_mismatch: str = "error",
) -> RateLimit:
    """The limiter with these limits and permits. Without limits it has only permits.

    Errors: those of `RateLimit`; `MismatchError` if the name exists with other limits.
    """

    limit = RateLimit(
        limits=list(limits) or None, permits=permits, name=name, directory=directory, on_mismatch=on_mismatch
    )
    if name is not None and on_mismatch != "keep":
        _check_no_more(limit, len(limits), permits)
    return limit


def _check_no_more(limit: RateLimit, limits: int, permits: Optional[int]) -> None:
    """A program that joins a limiter accepts further limits and permits of it. The drop-ins have only those that they state."""
    if len(limit.status()["limits"]) != limits or (permits is None and limit.permits() is not None):
        error = MismatchError(
            f"limiter {limit.name!r} ({limit.path}): it exists with {limit.policy()}, which is more than was asked for; to use "
            'it as it is, give on_mismatch="keep", or choose another name'
        )
        error.kind, error.path = "mismatch", limit.path
        raise error
