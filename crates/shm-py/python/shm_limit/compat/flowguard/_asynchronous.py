"""The limiter for tasks."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable
from typing import Any, Callable, Literal, Optional, TypeVar, overload

from ._limiter import Limiter

AsyncFunction = TypeVar("AsyncFunction", bound=Callable[..., Awaitable[Any]])


class AsyncRateLimiter(Limiter):
    """Limits for tasks of asyncio, uvloop and trio: `await limiter.acquire()`, `await limiter.release()`, `async with limiter:`,
    `@limiter`. The parameters are those of `Limiter`, below.

    A task that waits has no thread. If it is cancelled, it has taken nothing.
    """

    _call_denied = "Rate limit exceeded"

    async def acquire(self) -> bool:
        """Takes a permit. Waits for its turn, in line with the callers of all processes; if not blocking, returns False."""
        return self._keep(await self._limit.acquire_async() if self._blocking else self._limit.try_acquire())

    async def release(self) -> None:
        """Gives a permit back that `acquire` has taken in this process. Does nothing if there is none."""
        self._permits.release()

    async def wait_time(self) -> Optional[float]:
        """In how many seconds all limits would admit a call; None if they would now. Ignores max_burst."""
        return self._wait_time()

    async def get_remaining(self) -> dict[str, int]:
        """How many calls each limit would admit now, by "second", "minute", "hour" and "day"; and by "burst", how many permits
        are free.
        """
        return self._get_remaining()

    async def __aenter__(self) -> None:
        """Acquires for the block. Raises `ValueError` if not blocking and denied."""
        await self._blocks.__aenter__()

    async def __aexit__(self, *exception: object) -> Literal[False]:
        await self._blocks.__aexit__(*exception)
        return False

    @overload
    def __call__(self, func: AsyncFunction) -> AsyncFunction: ...

    @overload
    def __call__(self, func: Callable[..., object]) -> Callable[..., Any]: ...

    def __call__(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """As a decorator: each call acquires, and gives its permit back when it ends, by an exception or a cancellation too.

        A function that is not a coroutine function becomes one, which awaits what the function returns if that can be awaited.
        """
        if inspect.iscoroutinefunction(func) or inspect.isasyncgenfunction(func):
            return self._calls.decorate(func)

        @functools.wraps(func)
        async def awaited(*args: Any, **kwargs: Any) -> Any:
            result = func(*args, **kwargs)
            return await result if isinstance(result, Awaitable) else result

        return self._calls.decorate(awaited)
