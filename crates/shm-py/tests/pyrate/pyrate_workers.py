"""What processes of these tests run, in a module of its own so that a spawned process can import it."""

import asyncio
import time

from pyrate_limiter import Limiter, RateItem
from pyrate_limiter.abstracts.algorithm import SlidingWindowLog


def hammer(bucket, seconds, weight=1):
    """Puts as often as it can for so long, and returns the timestamps and weights of what was admitted."""
    admitted = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        item = RateItem("item", 0, weight)
        if bucket.put(item):
            admitted.append((item.timestamp, weight))
    return admitted


def hammer_into(queue, bucket, seconds, weight):
    queue.put(hammer(bucket, seconds, weight))


def acquire(limiter, seconds):
    """Acquires by `try_acquire`, which waits, for so long; returns how often it did."""
    end, admitted = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        admitted += limiter.try_acquire("item", timeout=max(0.0, end - time.monotonic()))
    return admitted


def acquire_in_tasks(limiter, seconds, tasks=5):
    async def work():
        end, admitted = time.monotonic() + seconds, 0
        while time.monotonic() < end:
            admitted += await limiter.try_acquire_async("item", timeout=max(0.001, end - time.monotonic()))
        return admitted

    async def all_of_them():
        return sum(await asyncio.gather(*(work() for _ in range(tasks))))

    return asyncio.run(all_of_them())


def limiter_of(factory_or_bucket):
    return Limiter(factory_or_bucket, buffer_ms=0)


def violations(rates, admitted, algorithm=None):
    """What the peer's algorithm says of these admissions (timestamps and weights): those that it would have denied."""
    algorithm = algorithm or SlidingWindowLog()
    log, denied = [], []
    for timestamp, weight in sorted(admitted):
        counts = [sum(1 for one in log if one >= algorithm.window_start(rate, timestamp)) for rate in rates]
        if not algorithm.admit(rates, counts, weight).allowed:
            denied.append((timestamp, weight, counts))
        log.extend([timestamp] * weight)
    return denied
