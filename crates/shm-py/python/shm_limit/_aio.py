"""Waiting in tasks of asyncio (and uvloop), and of trio.

The native part polls a request on the loop's thread, and says by a file descriptor, one for each loop, which requests to poll again.
So a task has no thread and no timer of its own.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
import weakref
from typing import TYPE_CHECKING, Any, Optional, Union

from ._native import Acquiring, Admission, Denied, Wakeups

if TYPE_CHECKING:
    from ._rate_limit import Cost, RateLimit, Seconds

_ids = itertools.count(1)


class _AsyncioLoop:
    """The requests that wait in one loop of asyncio."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.pid = os.getpid()
        self.wakeups = Wakeups()
        self.waiting: dict[int, tuple[Acquiring, asyncio.Future[Union[Admission, Denied]]]] = {}
        self.loop = weakref.ref(loop)
        loop.add_reader(self.wakeups.fileno(), self.poll_due)

    def poll_due(self) -> None:
        for id in self.wakeups.take():
            waiting = self.waiting.get(id)
            if waiting is None or waiting[1].done():
                continue
            request, future = waiting
            try:
                outcome = request.poll()
            except Exception as error:
                future.set_exception(error)
            else:
                if outcome is not None:
                    future.set_result(outcome)


_loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _AsyncioLoop] = weakref.WeakKeyDictionary()


def _of_running_loop() -> _AsyncioLoop:
    loop = asyncio.get_running_loop()
    found = _loops.get(loop)
    if found is None or found.pid != os.getpid():
        found = _loops[loop] = _AsyncioLoop(loop)
    return found


async def acquire(
    limit: RateLimit,
    n: Cost,
    timeout: Optional[Seconds],
    max_waiters: Optional[int],
) -> Union[Admission, Denied]:
    """Waits for a request's turn in a task."""
    if _is_trio():
        return await _acquire_in_trio(limit, n, timeout, max_waiters)
    of = _of_running_loop()
    id = next(_ids)
    request = Acquiring(limit, n, timeout, max_waiters, of.wakeups, id)
    outcome = request.poll()
    if outcome is not None:
        return outcome
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Union[Admission, Denied]] = loop.create_future()
    of.waiting[id] = (request, future)
    try:
        return await future
    except asyncio.CancelledError:
        # It may have been admitted in the same turn of the loop.
        if future.done() and not future.cancelled() and future.exception() is None:
            outcome = future.result()
            if isinstance(outcome, Admission):
                outcome.give_back()
        raise
    finally:
        del of.waiting[id]
        request.cancel()


def _is_trio() -> bool:
    trio = sys.modules.get("trio")
    if trio is None:
        return False
    try:
        trio.lowlevel.current_task()
    except RuntimeError:
        return False
    return True


async def _acquire_in_trio(
    limit: RateLimit,
    n: Cost,
    timeout: Optional[Seconds],
    max_waiters: Optional[int],
) -> Union[Admission, Denied]:
    import trio

    wakeups = Wakeups()
    request = Acquiring(limit, n, timeout, max_waiters, wakeups, next(_ids))
    try:
        outcome = request.poll()
        if outcome is not None:
            await trio.lowlevel.checkpoint()
            return outcome
        while True:
            await trio.lowlevel.wait_readable(wakeups.fileno())
            wakeups.take()
            outcome = request.poll()
            if outcome is not None:
                return outcome
    finally:
        request.cancel()
