"""The algorithms for threads."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Optional, TypeVar, Union

from ..._native import Denied
from ._bucket import Bucket, TokenBucket, cost

Self = TypeVar("Self", bound="SyncBucket")


class SyncBucket(Bucket):
    """A bucket for threads."""

    def acquire(self, amount: Union[int, float] = 1, timeout: Optional[float] = None) -> None:
        """Waits until there is room for the amount, in line with the callers of all processes, and takes it.

        Errors: `ValueError` for more than the capacity, and for a negative amount; `TimeoutError` if its turn would come after
        timeout seconds, raised as soon as that is known. Then nothing was taken; neither is by a wait that Ctrl-C ends.
        """
        whole = self._amount(amount)
        if whole > 0:
            self._admitted(self._limit.acquire(cost(whole), timeout=timeout), whole, timeout)

    @contextmanager
    def acquire_ctx(self: Self, amount: Union[int, float] = 1, timeout: Optional[float] = None) -> Iterator[Self]:
        """A block that acquires the amount, and counts for max_concurrent until it ends."""
        began = time.monotonic()
        permit = nullcontext() if self._permits is None else self._permits.acquire(timeout=timeout)
        if isinstance(permit, Denied):
            raise self._timed_out(amount, timeout)
        with permit:
            remaining = None if timeout is None else max(0.0, timeout - (time.monotonic() - began))
            try:
                self.acquire(amount, remaining)
            except TimeoutError:
                raise self._timed_out(amount, timeout) from None
            yield self

    def reconcile(self, actual: Union[int, float], estimated: Union[int, float]) -> None:
        """Corrects an amount that was acquired as an estimate, when the actual one is known, as with the tokens of a language
        model.

        If it was less, the rest is given back, in the process that acquired it. If it was more, it is charged at once, and later
        callers wait for it; this call does not wait, and the actual amount may be more than the capacity.

        Errors: `ValueError` if this process has not acquired what is to be given back.
        """
        self._reconcile(actual, estimated)

    def __enter__(self: Self) -> Self:
        """Acquires 1, and counts for max_concurrent until the end of the block."""
        if self._blocks is None:
            self.acquire()
            return self
        self._blocks.__enter__()
        try:
            self.acquire()
        except BaseException:
            self._blocks.__exit__()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        if self._blocks is not None:
            self._blocks.__exit__(*exception)


class SyncLeakyBucket(SyncBucket):
    """The leaky bucket: what is acquired fills it, and leaks evenly."""


class SyncTokenBucket(TokenBucket, SyncBucket):
    """The token bucket: tokens are added evenly, and taken."""


class SyncVirtualSchedulingGCRA(SyncBucket):
    """The generic cell rate algorithm as virtual scheduling, by theoretical arrival times."""


class SyncLeakyBucketGCRA(SyncBucket):
    """The generic cell rate algorithm as continuous leaky bucket."""
