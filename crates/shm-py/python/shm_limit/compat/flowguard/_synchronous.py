"""The limiter for threads."""

from __future__ import annotations

from typing import Literal, Optional

from ..._decorate import Function
from ._limiter import Limiter


class RateLimiter(Limiter):
    """Limits for threads: acquire and release, `with limiter:`, `@limiter`. The parameters are those of `Limiter`, below."""

    def acquire(self) -> bool:
        """Takes a permit. Waits for its turn, in line with the callers of all processes; if not blocking, returns False instead.

        Ctrl-C ends the wait, and takes nothing.
        """
        return self._keep(self._limit.acquire() if self._blocking else self._limit.try_acquire())

    def release(self) -> None:
        """Gives a permit back that `acquire` has taken in this process. Does nothing if there is none."""
        self._permits.release()

    def wait_time(self) -> Optional[float]:
        """In how many seconds all limits would admit a call; None if they would now. Ignores max_burst."""
        return self._wait_time()

    def get_remaining(self) -> dict[str, int]:
        """How many calls each limit would admit now, by "second", "minute", "hour" and "day"; and by "burst", how many permits
        are free.
        """
        return self._get_remaining()

    def __enter__(self) -> None:
        """Acquires for the block. Raises `ValueError` if not blocking and denied."""
        self._blocks.__enter__()

    def __exit__(self, *exception: object) -> Literal[False]:
        self._blocks.__exit__(*exception)
        return False

    def __call__(self, func: Function) -> Function:
        """As a decorator: each call acquires, and gives its permit back when it ends, also by an exception."""
        return self._calls.decorate(func)
