"""The storage for tasks of an event loop. Its methods never wait, so they are those of the other storage, with an `await`."""

from __future__ import annotations

from typing import Any, Optional, Union

from limits.aio.storage.base import MovingWindowSupport, SlidingWindowCounterSupport, Storage
from limits.storage.base import TimestampedSlidingWindow

from .._errors import ShmLimitError
from ._options import Option, options_of
from ._tables import Tables

__all__ = ["AsyncShmStorage"]


class AsyncShmStorage(Storage, MovingWindowSupport, SlidingWindowCounterSupport, TimestampedSlidingWindow):
    """Limits over all processes on the host: `async+shm://NAME`. `shm_limit.limits` says what the options are.

    Windows of the strategies "fixed-window" and "sliding-window-counter" begin at multiples of the period by the wall clock, as it was
    when the limiter was made.
    """

    STORAGE_SCHEME = ["async+shm"]

    def __init__(self, uri: Optional[str] = None, wrap_exceptions: bool = False, **options: Option) -> None:
        super().__init__(uri, wrap_exceptions=wrap_exceptions)
        self.tables = Tables(options_of(uri, options))

    def __reduce__(self) -> tuple[Any, ...]:
        """By reference: a process that unpickles it uses the same limiters."""
        return (_restored, (type(self), self.tables, self.wrap_exceptions))

    @property
    def base_exceptions(self) -> Union[type[Exception], tuple[type[Exception], ...]]:
        """What this storage raises if its limiters cannot be used."""
        return ShmLimitError

    async def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Adds to the key's count in the present window of `expiry` seconds, and returns the count."""
        return self.tables.add(key, expiry, amount)

    async def get(self, key: str) -> int:
        """The key's count in the present window."""
        return self.tables.count(key)

    async def get_expiry(self, key: str) -> float:
        """When the key's window ends, in seconds since 1970."""
        return self.tables.expires_at(key)

    async def check(self) -> bool:
        """Whether the limiters can be used."""
        try:
            return self.tables.check()
        except (ShmLimitError, OSError):
            return False

    async def reset(self) -> Optional[int]:
        """Resets all limiters of the name, for all processes. Returns how many keys had used something; of moving windows, how many
        admissions were in them. The number is estimated if it is large.
        """
        return self.tables.reset()

    async def clear(self, key: str) -> None:
        """Resets a key of any strategy, for all processes."""
        self.tables.clear(key)

    async def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Takes `amount` of a moving window of `expiry` seconds, in which there are at most `limit`; or takes nothing."""
        return self.tables.take(key, limit, expiry, amount)

    async def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        """When the oldest admission in the window was, in seconds since 1970, and how many are in it."""
        return self.tables.log(key, limit, expiry)

    async def acquire_sliding_window_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Takes `amount` if the present window's count and the weighted one of the window before are at most `limit` then."""
        return self.tables.add_within(key, limit, expiry, amount)

    async def get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        """The count of the window before and for how many seconds it counts, and the same of the present window."""
        return self.tables.windows(key, expiry)

    async def clear_sliding_window(self, key: str, expiry: int) -> None:
        """Resets a key's sliding window counter, for all processes."""
        self.tables.clear_windows(key, expiry)


def _restored(cls: type[AsyncShmStorage], tables: Tables, wrap_exceptions: bool) -> AsyncShmStorage:
    self = cls(wrap_exceptions=wrap_exceptions)
    self.tables = tables
    return self
