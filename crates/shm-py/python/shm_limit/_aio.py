"""Waiting in tasks of asyncio (and uvloop), and of trio.

The native part polls a request on the loop's thread, and says by a file descriptor, one for each loop, which requests to poll again.
So a task has no thread, no timer and no descriptor of its own.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
import weakref
from typing import TYPE_CHECKING, Any, Callable, Optional, Union

from ._native import Acquiring, Admission, Denied, LimitOfKey, NativeRateLimit, Reservation, Wakeups

if TYPE_CHECKING:
    from ._rate_limit import Cost, Seconds

_ids = itertools.count(1)


class _Waiting:
    """A request that waits, and how to tell its task that it has ended."""

    def __init__(self, request: Acquiring, tell: Callable[[], None]) -> None:
        self.request = request
        self.tell = tell
        self.outcome: Union[Admission, Denied, None] = None
        self.error: Optional[Exception] = None

    def poll(self) -> None:
        if self.outcome is not None or self.error is not None:
            return
        try:
            self.outcome = self.request.poll()
        except Exception as error:
            self.error = error
        if self.outcome is not None or self.error is not None:
            self.tell()

    def result(self) -> Union[Admission, Denied]:
        if self.error is not None:
            raise self.error
        assert self.outcome is not None
        return self.outcome

    def cancel(self) -> None:
        """The task was cancelled, perhaps in the moment of its admission."""
        if isinstance(self.outcome, Admission):
            self.outcome.give_back()


class _Loop:
    """The requests that wait in one loop."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.wakeups = Wakeups()
        self.waiting: dict[int, _Waiting] = {}

    def poll_due(self) -> None:
        for id in self.wakeups.take():
            waiting = self.waiting.get(id)
            if waiting is not None:
                waiting.poll()


async def acquire(
    limit: Union[NativeRateLimit, LimitOfKey],
    n: Cost,
    timeout: Optional[Seconds],
    max_waiters: Optional[int],
) -> Union[Admission, Denied]:
    """Takes a request's turn in a task: at once if it can, or it waits."""
    now = limit.acquire_now(n, timeout, max_waiters)
    return await wait_in_line(limit, n, timeout, max_waiters) if now is None else now


async def wait_in_line(
    limit: Union[NativeRateLimit, LimitOfKey],
    n: Cost,
    timeout: Optional[Seconds],
    max_waiters: Optional[int],
) -> Union[Admission, Denied]:
    """Waits for a request's turn in a task."""
    in_trio = _is_trio()
    loop = _trio_loop() if in_trio else _asyncio_loop()
    id = next(_ids)
    request = Acquiring(limit, n, timeout, max_waiters, loop.wakeups, id)
    outcome = request.poll()
    if outcome is not None:
        return outcome
    wait: Callable[[], Any]
    if in_trio:
        import trio

        event = trio.Event()
        waiting = _Waiting(request, event.set)
        wait = event.wait
    else:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = _Waiting(request, lambda: None if future.done() else future.set_result(None))
        wait = lambda: future
    loop.waiting[id] = waiting
    try:
        await wait()
    except BaseException:
        waiting.cancel()
        raise
    finally:
        del loop.waiting[id]
        request.cancel()
    return waiting.result()


async def wait_for_turn(reservation: Reservation) -> Admission:
    """Sleeps until the turn that was reserved. If the task is cancelled meanwhile, the turn stays reserved."""
    while True:
        time = reservation.wait_time()
        if time <= 0.0:
            return reservation.commit()
        if _is_trio():
            import trio

            await trio.sleep(time)
        else:
            await asyncio.sleep(time)


#: The event loop keeps its `_Loop`, as long as it watches the descriptor. So a loop that is closed goes with the requests that wait in it.
_asyncio_loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, weakref.ref[_Loop]] = weakref.WeakKeyDictionary()


def _asyncio_loop() -> _Loop:
    running = asyncio.get_running_loop()
    known = _asyncio_loops.get(running)
    loop = None if known is None else known()
    if loop is None or loop.pid != os.getpid():
        loop = _Loop()
        _asyncio_loops[running] = weakref.ref(loop)
        running.add_reader(loop.wakeups.fileno(), loop.poll_due)
    return loop


def _is_trio() -> bool:
    trio, sniffio = sys.modules.get("trio"), sys.modules.get("sniffio")
    if trio is None:
        return False
    # Where one runs in the other, sniffio knows.
    if sniffio is not None and sniffio.current_async_library_cvar.get() not in (None, "trio"):
        return False
    try:
        trio.lowlevel.current_task()
    except RuntimeError:
        return False
    return True


#: trio's variable for the loop of this run, once trio is used.
_of_run: Any = None


def _trio_loop() -> _Loop:
    global _of_run
    import trio

    if _of_run is None:
        _of_run = trio.lowlevel.RunVar("shm_limit", default=None)
    loop: Optional[_Loop] = _of_run.get()
    if loop is None:
        loop = _Loop()
        _of_run.set(loop)
        trio.lowlevel.spawn_system_task(_serve_trio, loop)
    return loop


async def _serve_trio(loop: _Loop) -> None:
    import trio

    while True:
        await trio.lowlevel.wait_readable(loop.wakeups.fileno())
        loop.poll_due()
