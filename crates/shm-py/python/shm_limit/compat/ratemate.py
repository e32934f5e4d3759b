"""A drop-in for ratemate 0.1.0: `from shm_limit.compat.ratemate import RateLimit`.

What differs from ratemate:

- A waiting process holds no lock: if it is killed, the others go on.
- It works with every start method of multiprocessing, can be pickled, and, with `name`, is shared by unrelated programs.
- `RateLimit(1, per, greedy=True)` works.
- Greedy: at most max_count calls in any window of per seconds, and as many as that allows. ratemate measures a window from the
  last call of a batch, so slow callers wait longer there.
- Time is that of CLOCK_BOOTTIME: to set the clock, or daylight saving time, changes nothing.
- A fraction as max_count counts as one call each per / max_count seconds; with greedy and more than 1, it is rounded down.
- `count` cannot be set, and the steps of ratemate's algorithm (`dt_previous_call`, `batch_count`, `dt_batch_start`) do not exist.
  `wait` does not call `sleep`: to override `sleep` has an effect only on `wait_until`.
"""

from __future__ import annotations

import math
import os
import time
from datetime import datetime, timedelta, timezone
from typing import Optional, Union

from .. import _rate_limit
from .._native import Limit
from ._opening import open_limit

__all__ = ["RateLimit"]


class RateLimit:
    """At most max_count calls in per seconds, over all processes of the program.

    max_count, per: as in 2 calls per 5 seconds; max_count is at least 1 and at most one call per nanosecond, per at most 366
    days.
    greedy: calls pass as fast as the limit allows. Otherwise (patient) they are evenly spaced: one each per / max_count seconds.
    Greedy limits have a max_count of at most 1,048,576.
    name: shares the limit with all programs of this user that give this name (and directory). Default: the program has its own.
    on_mismatch: if that name exists with another rate: "error", "keep" or "change".

    Errors: `ZeroDivisionError` if max_count or per is 0, `ValueError` for other rates that are not possible, `MismatchError`.
    """

    def __init__(
        self,
        max_count: Union[int, float] = 1,
        per: Union[int, float] = 1,
        greedy: bool = False,
        *,
        name: Optional[str] = None,
        directory: Union[str, os.PathLike[str], None] = None,
        on_mismatch: str = "error",
    ) -> None:
        self.greedy = greedy
        self.max_count = max_count
        self.per = per
        self.per_timedelta = timedelta(seconds=per)
        #: The most calls in a second, on average.
        self.max_rate: float = max_count / per
        #: The time between calls that keeps this rate, in seconds.
        self.min_interval: float = per / max_count
        self.min_interval_timedelta = timedelta(seconds=self.min_interval)
        limit = _limit(max_count, per, greedy)
        self._limit = open_limit([limit], name=name, directory=directory, on_mismatch=on_mismatch)

    @property
    def limit(self) -> _rate_limit.RateLimit:
        """The limiter behind it, with which a program can pause, change or inspect it."""
        return self._limit

    def wait(self) -> float:
        """Waits until a call may be made, in line with the callers of all processes. Returns for how many seconds it waited.

        Ctrl-C, or a signal handler that raises, ends the wait; then no call was counted.
        """
        return self._limit.wait()

    @property
    def count(self) -> int:
        """How many calls were let through, in all processes."""
        return self._limit.stats()["admitted"]

    def is_first_call(self) -> bool:
        """Whether no call was let through yet."""
        return self.count == 0

    def wait_until(self, dt_wait_until: datetime) -> float:
        """Sleeps until this time, which is in UTC unless it has a time zone. Returns the seconds; 0.0 if it has passed."""
        if dt_wait_until.tzinfo is None:
            dt_wait_until = dt_wait_until.replace(tzinfo=timezone.utc)
        seconds = (dt_wait_until - datetime.now(timezone.utc)).total_seconds()
        if seconds <= 0:
            return 0.0
        self.sleep(seconds)
        return seconds

    def sleep(self, secs: float) -> None:
        """Sleeps for so many seconds."""
        time.sleep(secs)

    def __repr__(self) -> str:
        return f"<ratemate.RateLimit {self._limit.name!r}: {self._limit.policy()}>"


def _limit(max_count: Union[int, float], per: Union[int, float], greedy: bool) -> Limit:
    count: int
    if isinstance(max_count, int):
        count = max_count
    elif max_count < 0:
        raise ValueError(f"max_count must be positive, and is {max_count}")
    elif greedy and max_count > 1:
        count = math.floor(max_count)
    else:
        count, per = 1, per / max_count
    return Limit(count, per, greedy=True) if greedy else Limit(count, per, burst=1)
