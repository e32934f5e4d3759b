"""Memory over many calls."""

import asyncio
import gc
import sys

from shm_limit import KeyedRateLimit


def resident():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * 4096


def test_a_million_calls_keep_no_memory(limit, tmp_path):
    api = limit("1000000/s", burst=1000)
    users = KeyedRateLimit("1/h", name="users", directory=tmp_path)

    def calls(n):
        for i in range(n):
            api.try_acquire()
            users.key(i % 100).try_acquire()

    calls(20_000)
    gc.collect()
    before, references = resident(), sys.getrefcount(api)
    calls(500_000)
    gc.collect()
    assert resident() - before < 2 << 20
    assert sys.getrefcount(api) == references


def test_blocks_and_tasks_keep_no_memory(limit):
    # The permits make every second task wait.
    api = limit("1000000/s", burst=1000, permits=1)

    async def task():
        async with api:
            await asyncio.sleep(0)

    async def tasks(n):
        for _ in range(n // 2):
            await asyncio.gather(task(), task())

    def calls(n):
        for _ in range(n):
            with api:
                pass
        asyncio.run(tasks(n // 20))

    calls(20_000)
    gc.collect()
    before, references = resident(), sys.getrefcount(api)
    calls(100_000)
    gc.collect()
    assert resident() - before < 2 << 20
    assert sys.getrefcount(api) == references


def test_errors_keep_no_memory(limit):
    api = limit("1/h")

    def errors(n):
        for _ in range(n):
            try:
                api.try_acquire(2)
            except ValueError:
                pass

    errors(5_000)
    before = resident()
    errors(50_000)
    assert resident() - before < 2 << 20
