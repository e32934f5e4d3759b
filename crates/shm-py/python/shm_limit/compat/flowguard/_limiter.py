"""What both classes are: a limiter, and the permits that this process holds."""

from __future__ import annotations

import operator
import os
from typing import Any, Optional, Union

from ..._native import Admission, Denied, Limit
from ..._rate_limit import RateLimit
from .._blocks import Blocks
from .._opening import open_limit
from .._permits import Permits

#: The parameters of each limit, what an error calls it, and its unit in seconds.
_LIMITS = (
    ("sec", "sec_window", "second", 1),
    ("min", "min_window", "minute", 60),
    ("hour", "hour_window", "hour", 3600),
    ("day", "day_window", "day", 86400),
)


class Limiter:
    """The limits, windows and permits of a `RateLimiter` or `AsyncRateLimiter`.

    sec, min, hour, day: at most so many calls in any second, minute, hour or day.
    sec_window, min_window, hour_window, day_window: how many seconds, minutes, hours or days these windows have. Default: 1.
    blocking: whether to wait. Otherwise `acquire` returns False, and a block or a decorated call raises `ValueError`.
    max_burst: how many permits may be held at one time, in all processes. `acquire` takes one; `release`, the end of a block or
    of a decorated call gives it back.
    name: shares the limiter with all programs of this user that give this name (and directory). Default: the program has its own.
    on_mismatch: if that name exists with other limits: "error", "keep" or "change".

    Errors: `ValueError` without any limit, and for a limit or a max_burst that is 0 or too large; `OverflowError` for negative
    numbers.
    """

    #: What the `ValueError` of a decorated call says that is denied.
    _call_denied = "Failed to acquire permit"

    def __init__(
        self,
        sec: Optional[int] = None,
        min: Optional[int] = None,
        hour: Optional[int] = None,
        day: Optional[int] = None,
        sec_window: Optional[int] = None,
        min_window: Optional[int] = None,
        hour_window: Optional[int] = None,
        day_window: Optional[int] = None,
        blocking: bool = True,
        max_burst: Optional[int] = None,
        *,
        name: Optional[str] = None,
        directory: Union[str, os.PathLike[str], None] = None,
        on_mismatch: str = "error",
    ) -> None:
        given = {"sec": sec, "min": min, "hour": hour, "day": day}
        windows = {"sec_window": sec_window, "min_window": min_window, "hour_window": hour_window, "day_window": day_window}
        counts = {key: _count(key, value) for key, value in {**given, **windows, "max_burst": max_burst}.items()}
        limits: list[Limit] = []
        self._kinds: list[str] = []
        for parameter, window_parameter, kind, unit in _LIMITS:
            quota, window = counts[parameter], counts[window_parameter]
            if quota is None:
                continue
            if quota == 0:
                raise ValueError(f"Rate limit for {kind} must be greater than 0")
            if window == 0:
                raise ValueError(f"{window_parameter} must be greater than 0")
            limits.append(Limit(quota, (1 if window is None else window) * unit, greedy=True))
            self._kinds.append(kind)
        if not limits:
            raise ValueError("At least one rate limit must be specified")
        self._max_burst = counts["max_burst"]
        if self._max_burst == 0:
            raise ValueError("max_burst must be greater than 0")
        self._blocking = bool(blocking)
        self._limit = open_limit(limits, permits=self._max_burst, name=name, directory=directory, on_mismatch=on_mismatch)
        self._begin()

    @property
    def limit(self) -> RateLimit:
        """The limiter behind it, with which a program can pause, change or inspect it."""
        return self._limit

    def _begin(self) -> None:
        """What each process has for itself."""
        self._blocks = Blocks(self._limit, self._blocking, "Failed to acquire permit")
        self._calls = Blocks(self._limit, self._blocking, self._call_denied)
        #: What `acquire` has taken and `release` has not given back.
        self._permits = Permits()

    def _keep(self, outcome: Union[Admission, Denied]) -> bool:
        """Keeps the permit of an `acquire` for `release`. Returns whether it was admitted."""
        if isinstance(outcome, Denied):
            return False
        # max_burst does not tell: with on_mismatch="keep" the limiter may have other permits, or none.
        if outcome.holds_permit:
            self._permits.add(outcome)
        return True

    def _wait_time(self) -> Optional[float]:
        return self._limit.status()["next_in"] or None

    def _get_remaining(self) -> dict[str, int]:
        limits = self._limit.status()["limits"]
        remaining = {kind: limit["available"] for kind, limit in zip(self._kinds, limits)}
        permits = self._limit.permits()
        if permits is not None:
            held, all = permits
            remaining["burst"] = max(0, all - held)
        return remaining

    def __getstate__(self) -> dict[str, Any]:
        """By reference: a process that unpickles it opens the same limiter. Permits stay with the process that holds them."""
        state = self.__dict__.copy()
        for own in ("_blocks", "_calls", "_permits"):
            del state[own]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._begin()

    def __repr__(self) -> str:
        return f"<flowguard.{type(self).__name__} {self._limit.name!r}: {self._limit.policy()}>"


def _count(parameter: str, value: Any) -> Optional[int]:
    """A whole number that is not negative, or None, with the errors that flowguard raises for others."""
    if value is None:
        return None
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"argument '{parameter}': '{type(value).__name__}' object cannot be interpreted as an integer") from None
    if number < 0:
        raise OverflowError(f"argument '{parameter}': can't convert negative int to unsigned")
    return number
