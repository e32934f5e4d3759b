"""The handle: what Python alone can do, around the native part."""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import timedelta
from typing import Any, Optional, Union

from . import _aio, _unnamed
from ._async_blocks import AsyncBlocks
from ._decorate import Function, decorate
from ._native import Admission, Denied, Limit, NativeRateLimit
from ._reference import reference

__all__ = ["RateLimit"]

Seconds = Union[int, float, timedelta]
Cost = Union[int, dict[str, int]]


class RateLimit(NativeRateLimit):
    """One rate limit for every process on the host.

    RateLimit(10, per=1, name="api") admits 10 calls a second, over all processes that open the name: workers, other
    programs, the command `shm-limit`, and programs in Rust. Without a name it is private: it is shared with the processes that this
    one forks or spawns, and with those to which it is pickled.

    max_count, per: at most max_count calls in per seconds (or a timedelta). A text has both: RateLimit("100/10s").
    greedy: as many at once as the limit allows in any window. Otherwise calls are evenly spaced, unless burst is given.
    burst: how many may pass at one instant after a quiet time. Default: 1.
    window: "fixed", "first-use", "calendar" or "sliding": at most max_count in such a window. zone: the time zone of a calendar.
    unit: what is counted instead of calls, such as "tokens".
    guard: with greedy, the limit is also kept if callers are late by up to so many seconds.
    limits: several limits in place of the one above, of which a request takes from all or from none: Limit(…) or "100/10s".
    permits: how many admitted requests may hold a permit at one time.
    max_waiters: how many callers may wait.
    shadow: decide and count, and deny no caller.
    directory: where the limiter's file is. Default: $SHM_LIMIT_DIR, or the user's own directory below /dev/shm.
    mode, seats: of the file, if this call creates it.
    on_mismatch: if the limiter exists with other settings: "error", "keep" it as it is, or "change" it for all processes.
    on_lost: if the limiter is retired or removed while this handle is open: "reopen" its name, or "error".

    A handle works in threads, and after a fork without any call. In a forked child, permits are the parent's.
    """

    _on_lost: str
    _blocks: AsyncBlocks

    def __new__(
        cls,
        max_count: Union[int, str, None] = None,
        per: Optional[Seconds] = None,
        greedy: bool = False,
        *,
        name: Optional[str] = None,
        burst: Optional[int] = None,
        window: Optional[str] = None,
        zone: Optional[str] = None,
        unit: Optional[str] = None,
        guard: Optional[Seconds] = None,
        limits: Optional[Iterable[Union[Limit, str]]] = None,
        permits: Optional[int] = None,
        max_waiters: Optional[int] = None,
        shadow: bool = False,
        directory: Union[str, os.PathLike[str], None] = None,
        mode: Optional[int] = None,
        seats: Optional[int] = None,
        on_mismatch: str = "error",
        on_lost: str = "reopen",
    ) -> RateLimit:
        first: dict[str, Any] = dict(burst=burst, window=window, zone=zone, unit=unit, guard=guard)
        first["greedy"] = greedy or None
        if permits is not None and max_count is None and per is None and limits is None and not any(first.values()):
            all_limits: list[Union[Limit, str]] = []
        else:
            all_limits = limits_of(max_count, per, limits, first)
        settings: dict[str, Any] = dict(
            permits=permits,
            max_waiters=max_waiters,
            shadow=shadow,
            directory=None if directory is None else os.fspath(directory),
            mode=mode,
            seats=seats,
            on_mismatch=on_mismatch,
            on_lost=on_lost,
        )
        if name is not None:
            if _unnamed.is_unnamed(name):
                raise ValueError(f"the name {name!r} is one of limiters without a name, which are removed when no process uses them; choose another")
            return cls._open(name, all_limits, settings)
        settings["on_lost"], unnamed = "reopen", _unnamed.new_name()
        return _unnamed.hold(lambda: cls._open(unnamed, all_limits, settings))

    @classmethod
    def _open(cls, name: str, limits: Optional[list[Union[Limit, str]]], settings: dict[str, Any]) -> RateLimit:
        self = super().__new__(cls, name, limits, **settings)
        self._on_lost = settings["on_lost"]
        self._blocks = AsyncBlocks()
        return self

    @classmethod
    def attach(
        cls,
        name: str,
        *,
        directory: Union[str, os.PathLike[str], None] = None,
        on_lost: str = "reopen",
    ) -> RateLimit:
        """Joins the limiter `name` with whatever limits it has, and never creates it."""
        settings = dict(directory=None if directory is None else os.fspath(directory), on_lost=on_lost)
        if _unnamed.is_unnamed(name):
            return _unnamed.hold(lambda: cls._open(name, None, settings))
        return cls._open(name, None, settings)

    def __reduce__(self) -> tuple[Any, ...]:
        """By reference: a process that unpickles it opens the same limiter."""
        return reference(self, self._on_lost)

    def __repr__(self) -> str:
        return f"<RateLimit {self.name!r}: {self.policy()}>"

    async def __aenter__(self) -> Admission:
        """Waits for one call; holds a permit until the end of the block, if the limiter has permits."""
        admission = await self.acquire_async()
        if isinstance(admission, Denied):
            raise admission.exception()
        self._blocks.enter(admission)
        return admission

    async def __aexit__(self, *exception: object) -> None:
        self._blocks.exit().release()

    def __call__(self, function: Function) -> Function:
        """As a decorator: each call of the function waits for its turn, and holds a permit until it ends."""
        return decorate(self, function)

    async def acquire_async(
        self,
        n: Cost = 1,
        timeout: Optional[Seconds] = None,
        max_waiters: Optional[int] = None,
    ) -> Union[Admission, Denied]:
        """`acquire` for a task of asyncio or trio: waits without a thread. If the task is cancelled, nothing was taken."""
        # As `_aio.acquire`, and one coroutine less for a request that need not wait.
        now = self.acquire_now(n, timeout, max_waiters)
        return await _aio.wait_in_line(self, n, timeout, max_waiters) if now is None else now

    async def wait_async(self) -> float:
        """`wait` for a task: waits until one call is admitted, and returns for how many seconds it waited."""
        admission = await self.acquire_async()
        if isinstance(admission, Denied):
            raise admission.exception()
        return admission.waited


def limits_of(
    max_count: Union[int, str, None],
    per: Optional[Seconds],
    limits: Optional[Iterable[Union[Limit, str]]],
    first: dict[str, Any],
) -> list[Union[Limit, str]]:
    """The limits that these parameters give: several, or one."""
    given = {key: value for key, value in first.items() if value is not None}
    if limits is None:
        return [Limit(1 if max_count is None else max_count, per, **given)]
    if max_count is not None or per is not None or given:
        raise TypeError("limits has all limits: give max_count, per and the other settings of a limit there, as in Limit(5, 1, burst=10)")
    return list(limits)
