"""Waiting in tasks of asyncio, uvloop and trio."""

import asyncio
import gc
import os
import threading
import time
import weakref

import pytest

from shm_limit import KeyedRateLimit, RateLimited, _aio


def run(main, loop):
    if loop == "uvloop":
        uvloop = pytest.importorskip("uvloop")
        return uvloop.run(main())
    return asyncio.run(main())


loops = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])


@loops
def test_tasks_wait_in_order_without_threads(limit, loop):
    api = limit("100/s")

    async def main():
        order = []

        async def one(i):
            await api.acquire_async()
            order.append(i)

        began, threads = time.monotonic(), threading.active_count()
        tasks = [asyncio.create_task(one(i)) for i in range(20)]
        await asyncio.sleep(0.05)
        assert threading.active_count() <= threads
        await asyncio.gather(*tasks)
        assert time.monotonic() - began >= 0.185
        assert order == list(range(20))

    run(main, loop)


@loops
def test_a_task_waits_for_its_reserved_turn(limit, loop):
    api = limit("10/s")

    async def main():
        began = time.monotonic()
        turns = [api.reserve() for _ in range(3)]
        admissions = await asyncio.gather(*(turn.wait_async() for turn in turns))
        assert time.monotonic() - began >= 0.19 and all(admissions)
        waiting = asyncio.ensure_future(api.reserve().wait_async())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    run(main, loop)


@loops
def test_a_cancelled_task_takes_nothing(limit, loop):
    api = limit("1/h")

    async def main():
        await api.wait_async()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(api.acquire_async(), 0.05)
        assert api.status()["used"] == 1 and api.status()["queued"] == 0
        denied = await api.acquire_async(timeout=0.01)
        assert not denied and denied.retry_after > 3000

    run(main, loop)


def test_a_task_that_is_cancelled_in_the_moment_of_its_admission_takes_nothing(limit, monkeypatch):
    api = limit(1, per=0.2, permits=1)

    poll_due = _aio._Loop.poll_due

    def poll_and_cancel(of):
        poll_due(of)
        if api.stats()["admitted"] == 2:
            tasks[0].cancel()

    monkeypatch.setattr(_aio._Loop, "poll_due", poll_and_cancel)
    tasks = []

    async def main():
        (await api.acquire_async()).release()
        task = asyncio.create_task(api.acquire_async())
        tasks.append(task)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert api.stats()["admitted"] == 2
        # Its turn and its permit are free.
        assert api.try_acquire()

    asyncio.run(main())


def test_permits_are_held_by_async_blocks(limit):
    api = limit(permits=2)

    async def main():
        most = now = 0

        async def one():
            nonlocal most, now
            async with api:
                now += 1
                most = max(most, now)
                await asyncio.sleep(0.005)
                now -= 1

        await asyncio.gather(*[one() for _ in range(20)])
        assert most == 2 and api.try_acquire()

    asyncio.run(main())


def test_a_full_line_is_an_exception_of_a_block(limit):
    api = limit("1/h", max_waiters=0)

    async def main():
        async with api:
            pass
        with pytest.raises(RateLimited):
            async with api:
                pass

    asyncio.run(main())


def test_many_waiters_of_several_loops(limit):
    api = limit("2000/s")

    async def main():
        await asyncio.gather(*[api.acquire_async() for _ in range(300)])

    threads = [threading.Thread(target=asyncio.run, args=(main(),)) for _ in range(3)]
    [thread.start() for thread in threads]
    [thread.join(60) for thread in threads]
    assert api.stats()["admitted"] == 900


def test_thousands_of_waiters_need_one_descriptor_and_one_thread(limit):
    api = limit("1/h")
    files = lambda: len(os.listdir("/proc/self/fd"))
    threads = lambda: len(os.listdir("/proc/self/task"))

    async def wait_for_nothing():
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(api.acquire_async(), 1)

    async def main():
        await api.acquire_async()
        before = files(), threads()
        tasks = [asyncio.create_task(wait_for_nothing()) for _ in range(3000)]
        await asyncio.sleep(0.3)
        # The library has a thread, and opens the limiter's file to look whether processes live.
        assert files() - before[0] <= 3 and threads() - before[1] <= 2
        await asyncio.gather(*tasks)
        assert api.status()["queued"] == 0 and api.status()["used"] == 1

    asyncio.run(main())


def test_keys_wait_in_tasks(tmp_path):
    users = KeyedRateLimit("50/s", name="users", directory=tmp_path)

    async def main():
        began = time.monotonic()
        await asyncio.gather(*[users.key("a").acquire_async() for _ in range(6)])
        assert time.monotonic() - began >= 0.095

    asyncio.run(main())


def test_trio(limit):
    trio = pytest.importorskip("trio")
    api = limit("50/s")

    async def main():
        began = time.monotonic()
        async with trio.open_nursery() as nursery:
            for _ in range(6):
                nursery.start_soon(api.acquire_async)
        assert time.monotonic() - began >= 0.095
        slow = limit("1/h", name="slow")
        await slow.wait_async()
        with trio.move_on_after(0.05) as scope:
            await slow.acquire_async()
        assert scope.cancelled_caught and slow.status()["used"] == 1 and slow.status()["queued"] == 0

    trio.run(main)


def test_blocks_of_several_limiters_end_in_any_order(limit):
    first, second = (limit(permits=1, name=name) for name in ("first", "second"))

    async def block(of):
        async with of:
            yield

    async def enter(generator):
        await generator.__anext__()

    async def main():
        one, other = block(first), block(second)
        await enter(one)
        await enter(other)
        await one.aclose()
        assert (first.permits(), second.permits()) == ((0, 1), (1, 1))
        await other.aclose()
        # Entered in one task, and closed in another.
        for _ in range(3):
            generator = block(first)
            await asyncio.create_task(enter(generator))
            assert first.permits() == (1, 1)
            await generator.aclose()
            assert first.permits() == (0, 1)

    asyncio.run(main())


def test_what_waits_in_a_closed_loop_leaves_the_line(limit):
    api = limit("1/h", max_waiters=1)
    api.wait()
    loop = asyncio.new_event_loop()
    waiting = loop.create_task(api.acquire_async())
    loop.run_until_complete(asyncio.sleep(0.05))
    assert api.acquire(max_waiters=1).denied_by == "line"
    loop.close()
    # (asyncio says that the task was destroyed while it waited.)
    loop.set_exception_handler(lambda *_: None)
    known = weakref.ref(loop)
    del loop, waiting
    gc.collect()
    assert known() is None and api.acquire(timeout=0.01).denied_by == "limits"
