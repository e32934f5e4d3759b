"""One bucket: a `RateLimit` behind the interface of PyrateLimiter."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Sequence
from typing import Any, Optional, Union

from pyrate_limiter import Rate, RateItem, SlidingWindowLog, StateAlgorithm

from .._errors import ShmLimitError
from .._native import Admission, Denied
from .._rate_limit import RateLimit
from ._clock import boot_clock, down, up
from ._limits import Policy, checked, limits_of
from ._shared import SharedBucket

__all__ = ["ShmBucket"]

#: How many of its own puts a process remembers for `peek`.
_REMEMBERED = 1_024


class ShmBucket(SharedBucket):
    """A bucket in shared memory: one budget for all processes that open the same name.

    rates: as for the other buckets of PyrateLimiter; at most four.
    algorithm: SlidingWindowLog() (the default), FixedWindow(), GCRA() or TokenBucket().
    name: the limiter's name, by which other programs and the command `shm-limit` find it. Without a name the bucket is private:
    it is shared with the processes that this one forks or spawns, and with those to which it is pickled.
    directory, mode, seats, on_mismatch, on_lost: as for RateLimit. on_mismatch="keep" if an operator may change the limits.

    A handle works in threads, and after a fork without any call. A process that is killed leaves nothing for which others wait.
    `failing_rate` and `waiting` are about the last put of the thread that asks.
    """

    def __init__(
        self,
        rates: Sequence[Rate],
        algorithm: Optional[Policy] = None,
        *,
        name: Optional[str] = None,
        directory: Union[str, os.PathLike[str], None] = None,
        mode: Optional[int] = None,
        seats: Optional[int] = None,
        on_mismatch: str = "error",
        on_lost: str = "reopen",
    ) -> None:
        super().__init__()
        self._set_algorithm(SlidingWindowLog() if algorithm is None else algorithm)
        self._rates = checked(rates)
        self._own: deque[RateItem] = deque(maxlen=_REMEMBERED)
        self._last = threading.local()
        self._limit: Optional[RateLimit] = RateLimit(
            limits=limits_of(self._rates, self._algorithm),
            name=name,
            directory=directory,
            mode=mode,
            seats=seats,
            on_mismatch=on_mismatch,
            on_lost=on_lost,
        )
        self._name = self._limit.name

    @classmethod
    def init(cls, rates: Sequence[Rate], algorithm: Optional[Policy] = None, **settings: Any) -> ShmBucket:
        """The same as the class itself, for programs that call `MultiprocessBucket.init(rates)`."""
        return cls(rates, algorithm, **settings)

    @property
    def limit(self) -> RateLimit:
        """The limiter itself: to pause it, to see its status, or to wait in line. Error after `close`."""
        if self._limit is None:
            raise ShmLimitError(f"the bucket of limiter {self._name!r} is closed: make another ShmBucket with this name")
        return self._limit

    @property
    def rates(self) -> list[Rate]:
        """The rates that this program gave. Assigned, they change the limits for all processes; what was used stays used."""
        return self._rates

    @rates.setter
    def rates(self, value: Sequence[Rate]) -> None:
        ordered = checked(value)
        self.limit.change_policy(limits_of(ordered, self._algorithm))
        self._rates = ordered

    # What a put has found is for its thread alone: a Limiter asks for it right after the put, and no lock keeps others from
    # putting meanwhile.
    @property
    def failing_rate(self) -> Optional[Rate]:
        """The rate that denied the last put of this thread; None if it was admitted."""
        return getattr(self._last, "failing_rate", None)

    @failing_rate.setter
    def failing_rate(self, value: Optional[Rate]) -> None:
        self._last.failing_rate = value

    @property
    def _last_wait(self) -> Optional[tuple[int, int]]:
        return getattr(self._last, "wait", None)

    @_last_wait.setter
    def _last_wait(self, value: Optional[tuple[int, int]]) -> None:
        self._last.wait = value

    def _take(self, weight: int) -> Union[Admission, Denied]:
        return self.limit.try_acquire(weight)

    def _wait(self, weight: int) -> int:
        denied = self.limit.denial(weight)
        if denied is None or denied.retry_at_ns is None:
            return 0
        return up(denied.retry_at_ns) - down(denied.at_ns)

    def _admitted(self, item: RateItem) -> None:
        if not isinstance(self._algorithm, StateAlgorithm):
            self._own.append(item)

    def flush(self) -> None:
        """Resets the usage to zero, for all processes. Blocks for up to two seconds if another process makes a change."""
        self.limit.reset()
        self._own.clear()
        self._forget()

    def count(self) -> int:
        """How many units are used now, by all processes: of the rate of which most are used."""
        return max(limit["used"] for limit in self.limit.status()["limits"])

    def peek(self, index: int) -> Optional[RateItem]:
        """The item at this index from the latest, of those that this process has put.

        Names of items are not in shared memory. Each process remembers its own last 1,024 puts, including those from before it
        was forked, and shows them as long as the budget has that many units in use. None for GCRA and TokenBucket, as with
        StateBucket.
        """
        if not 0 <= index < self.count():
            return None
        oldest = boot_clock.now() - self._rates[-1].interval
        for item in reversed(tuple(self._own)):
            if item.timestamp < oldest:
                return None
            if index < item.weight:
                return item
            index -= item.weight
        return None

    def close(self) -> None:
        """Closes this handle; other processes go on. The file of a private bucket is removed with its last handle. To close a
        second time does nothing.
        """
        self._limit = None

    def __getstate__(self) -> dict[str, Any]:
        """By reference: a process that unpickles it opens the same limiter, and remembers puts of its own."""
        return {**self.__dict__, "_own": None, "_last": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._own = deque(maxlen=_REMEMBERED)
        self._last = threading.local()

    def __repr__(self) -> str:
        return f"<ShmBucket {self._name!r}: {self._rates}, {type(self._algorithm).__name__}>"
