"""The handle of a limiter with limits per key: what Python alone can do, around the native part."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, Optional, Union

from ._native import Limit, NativeKeyedRateLimit
from ._rate_limit import Seconds, limits_of
from ._reference import reference

__all__ = ["KeyedRateLimit"]


class KeyedRateLimit(NativeKeyedRateLimit):
    """A limit for each key: each user, address or token, over all processes.

    KeyedRateLimit(5, per=1, burst=10, name="users").key("alice").try_acquire()

    max_count, per, burst, window, unit, limits: what each key may do, as for RateLimit. window: "fixed" or "sliding".
    in_all: limits of all keys together, of which a request takes as well.
    permits: of all keys together.
    capacity: how many keys can owe something at one time; the table takes 40 bytes for each, as they come. With more keys than that,
    no key gets more than its limit, and new keys begin to be denied.
    refuse_new_keys: deny new keys while the table is full, rather than to have them begin with what another key owes.
    hide_names: keep no names of denied keys.
    The other parameters are those of RateLimit.
    """

    _on_lost: str

    def __new__(
        cls,
        max_count: Union[int, str, None] = None,
        per: Optional[Seconds] = None,
        *,
        name: str,
        burst: Optional[int] = None,
        window: Optional[str] = None,
        unit: Optional[str] = None,
        limits: Optional[Iterable[Union[Limit, str]]] = None,
        in_all: Iterable[Union[Limit, str]] = (),
        permits: Optional[int] = None,
        max_waiters: Optional[int] = None,
        shadow: bool = False,
        capacity: Optional[int] = None,
        refuse_new_keys: bool = False,
        hide_names: bool = False,
        directory: Union[str, os.PathLike[str], None] = None,
        mode: Optional[int] = None,
        seats: Optional[int] = None,
        on_mismatch: str = "error",
        on_lost: str = "reopen",
    ) -> KeyedRateLimit:
        first: dict[str, Any] = dict(burst=burst, window=window, unit=unit)
        self = super().__new__(
            cls,
            name,
            limits_of(max_count, per, limits, first),
            in_all=list(in_all),
            permits=permits,
            max_waiters=max_waiters,
            shadow=shadow,
            capacity=capacity,
            refuse_new_keys=refuse_new_keys,
            hide_names=hide_names,
            directory=None if directory is None else os.fspath(directory),
            mode=mode,
            seats=seats,
            on_mismatch=on_mismatch,
            on_lost=on_lost,
        )
        self._on_lost = on_lost
        return self

    @classmethod
    def attach(
        cls,
        name: str,
        *,
        directory: Union[str, os.PathLike[str], None] = None,
        on_lost: str = "reopen",
    ) -> KeyedRateLimit:
        """Joins the limiter `name` with whatever limits it has, and never creates it."""
        path = None if directory is None else os.fspath(directory)
        self = NativeKeyedRateLimit.__new__(cls, name, None, directory=path, on_lost=on_lost)
        self._on_lost = on_lost
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """By reference: a process that unpickles it opens the same limiter."""
        return reference(self, self._on_lost)

    def __repr__(self) -> str:
        return f"<KeyedRateLimit {self.name!r}: {self.policy()}>"
