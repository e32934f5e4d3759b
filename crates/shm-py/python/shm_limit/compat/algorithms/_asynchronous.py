"""The algorithms for tasks of asyncio, uvloop and trio."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from typing import Optional, TypeVar, Union

from ..._native import Denied
from ._bucket import Bucket, TokenBucket, cost

Self = TypeVar("Self", bound="AsyncBucket")


class AsyncBucket(Bucket):
    """A bucket for tasks. A task that waits has no thread; if it is cancelled, it has taken nothing."""

    async def acquire(self, amount: Union[int, float] = 1, timeout: Optional[float] = None) -> None:
        """Waits until there is room for the amount, in line with the callers of all processes, and takes it.

        Errors: `ValueError` for more than the capacity, and for a negative amount; `TimeoutError` if its turn would come after
        timeout seconds, raised as soon as that is known. Then nothing was taken.
        """
        whole = self._amount(amount)
        if whole > 0:
            self._admitted(await self._limit.acquire_async(cost(whole), timeout=timeout), whole, timeout)

    @asynccontextmanager
    async def acquire_ctx(
        self: Self, amount: Union[int, float] = 1, timeout: Optional[float] = None
    ) -> AsyncIterator[Self]:
        """A block that acquires the amount, and counts for max_concurrent until it ends."""
        began = time.monotonic()
        permit = nullcontext() if self._permits is None else await self._permits.acquire_async(timeout=timeout)
        if isinstance(permit, Denied):
            raise self._timed_out(amount, timeout)
        with permit:
            remaining = None if timeout is None else max(0.0, timeout - (time.monotonic() - began))
            try:
                await self.acquire(amount, remaining)
            except TimeoutError:
                raise self._timed_out(amount, timeout) from None
            yield self

    async def reconcile(self, actual: Union[int, float], estimated: Union[int, float]) -> None:
        """Corrects an amount that was acquired as an estimate, when the actual one is known, as with the tokens of a language
        model.

        If it was less, the rest is given back, in the process that acquired it. If it was more, it is charged at once, and later
        callers wait for it; this call does not wait, and the actual amount may be more than the capacity.

        Errors: `ValueError` if this process has not acquired what is to be given back.
        """
        self._reconcile(actual, estimated)

    async def __aenter__(self: Self) -> Self:
        """Acquires 1, and counts for max_concurrent until the end of the block."""
        if self._blocks is None:
            await self.acquire()
            return self
        await self._blocks.__aenter__()
        try:
            await self.acquire()
        except BaseException:
            await self._blocks.__aexit__()
            raise
        return self

    async def __aexit__(self, *exception: object) -> None:
        if self._blocks is not None:
            await self._blocks.__aexit__(*exception)


class AsyncLeakyBucket(AsyncBucket):
    """The leaky bucket: what is acquired fills it, and leaks evenly."""


class AsyncTokenBucket(TokenBucket, AsyncBucket):
    """The token bucket: tokens are added evenly, and taken."""


class AsyncVirtualSchedulingGCRA(AsyncBucket):
    """The generic cell rate algorithm as virtual scheduling, by theoretical arrival times."""


class AsyncLeakyBucketGCRA(AsyncBucket):
    """The generic cell rate algorithm as continuous leaky bucket."""
