"""shm_limit.compat.algorithms: identical results of all algorithms, and what the library does wrong or does not have yet."""

import asyncio
import os
import pickle
import random
import threading
import time

import pytest

from shm_limit import RateLimit
from shm_limit.compat import algorithms
from shm_limit.compat.algorithms import (
    AsyncLeakyBucket,
    AsyncLeakyBucketGCRA,
    AsyncTokenBucket,
    AsyncVirtualSchedulingGCRA,
    BucketConfig,
    GCRAConfig,
    LeakyBucketConfig,
    SyncLeakyBucket,
    SyncLeakyBucketGCRA,
    SyncTokenBucket,
    SyncVirtualSchedulingGCRA,
    TokenBucketConfig,
)

SYNC = [SyncLeakyBucket, SyncTokenBucket, SyncLeakyBucketGCRA, SyncVirtualSchedulingGCRA]
ASYNC = [AsyncLeakyBucket, AsyncTokenBucket, AsyncLeakyBucketGCRA, AsyncVirtualSchedulingGCRA]
sync = pytest.mark.parametrize("bucket", SYNC)


def gcra(capacity, seconds, amounts):
    """When a caller that asks for these amounts, one after the other, is admitted: the definition of the algorithm."""
    period, tat, now, times = seconds / capacity, 0.0, 0.0, []
    for amount in amounts:
        now = max(now, tat - period * (capacity - amount))
        tat = max(now, tat) + amount * period
        times.append(now)
    return times


def test_the_definition_gives_the_figures_of_the_readme():
    assert gcra(3, 1.5, [1] * 6) == [0, 0, 0, 0.5, 1.0, 1.5]


@pytest.mark.parametrize(
    "capacity, seconds, amounts", [(3, 0.6, [1] * 6), (10, 1, [1, 2] * 8), (7, 0.9, [3, 7, 1, 5, 2])], ids=str
)
def test_all_algorithms_give_identical_results(capacity, seconds, amounts):
    """Each of them in a thread of its own, at the same time."""
    config = BucketConfig(capacity=capacity, seconds=seconds)
    admitted = {}

    def sync_run(cls):
        bucket = cls(config)
        began = time.monotonic()
        times = []
        for amount in amounts:
            bucket.acquire(amount)
            times.append(time.monotonic() - began)
        admitted[cls.__name__] = times

    async def async_run(cls):
        bucket = cls(config)
        began = time.monotonic()
        times = []
        for amount in amounts:
            await bucket.acquire(amount)
            times.append(time.monotonic() - began)
        admitted[cls.__name__] = times

    threads = [threading.Thread(target=sync_run, args=(cls,)) for cls in SYNC]
    threads += [threading.Thread(target=lambda cls=cls: asyncio.run(async_run(cls))) for cls in ASYNC]
    [thread.start() for thread in threads]
    [thread.join(60) for thread in threads]
    assert len(admitted) == 8
    expected = gcra(capacity, seconds, amounts)
    for name, times in admitted.items():
        # Never early (but for a microsecond, by which the limiter's clock may lag).
        assert all(got >= at - 1e-5 for got, at in zip(times, expected)), (name, times, expected)
        assert times[-1] <= expected[-1] + 2, (name, times, expected)


@sync
def test_the_turns_are_identical_to_the_nanosecond(bucket):
    one = bucket(GCRAConfig(3, 1.5))
    turns = [one.limit.reserve({"units": 1}) for _ in range(6)]
    assert all(turn.wait_time() == 0.0 for turn in turns[:3])
    assert [turn.at_ns - turns[0].at_ns for turn in turns[3:]] == [500_000_000, 1_000_000_000, 1_500_000_000]


@sync
def test_amounts_are_checked(bucket):
    one = bucket(BucketConfig(4, 3600))
    with pytest.raises(ValueError, match="Cannot acquire more than the capacity: 4"):
        one.acquire(5)
    with pytest.raises(ValueError, match="-1"):
        one.acquire(-1)
    with pytest.raises(ValueError, match="whole number"):
        one.acquire(0.5)
    one.acquire(0)
    one.acquire(2.0)
    assert one.limit.status()["used"] == 2


def test_configurations_are_checked():
    for config in (BucketConfig, LeakyBucketConfig, TokenBucketConfig, GCRAConfig):
        assert (config().capacity, config().seconds) == (10, 1)
        with pytest.raises(ValueError, match="capacity must be at least 1"):
            config(capacity=0.5)
        for wrong in [dict(capacity=0), dict(capacity=-1), dict(seconds=-1), dict(seconds=0)]:
            with pytest.raises(ValueError, match="fill_rate_per_sec must be positive and non-zero"):
                config(**wrong)
    one = SyncLeakyBucket()
    assert (one.capacity, one.seconds, one.leak_rate, one.T) == (10, 1, 10, 0.1)
    with pytest.raises(ValueError, match="capacity must be a whole number"):
        SyncLeakyBucket(BucketConfig(2.5, 1))


def test_levels():
    leaky, tokens = SyncLeakyBucket(LeakyBucketConfig(4, 3600)), SyncTokenBucket(TokenBucketConfig(4, 3600))
    for one in (leaky, tokens):
        one.acquire(3)
        with one as entered:
            assert entered is one
    leaky._leak()
    tokens._fill()
    assert (leaky._bucket_level, tokens._bucket_level) == (4, 0)


# What the library does wrong.


@sync
def test_an_amount_needs_room_for_all_of_it(bucket):
    one = bucket(BucketConfig(4, 0.4))
    began = time.monotonic()
    one.acquire(3)
    one.acquire(4)
    # 3 of them must have flowed; the library checks for room for 1.
    assert time.monotonic() - began >= 0.29999


def test_threads_share_a_bucket():
    one = SyncTokenBucket(BucketConfig(50, 3600))
    taken = []

    def take():
        for _ in range(40):
            try:
                one.acquire(timeout=0)
            except TimeoutError:
                continue
            taken.append(1)

    threads = [threading.Thread(target=take) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join(60) for thread in threads]
    assert len(taken) == 50


# What it does not have yet.


@sync
def test_a_timeout_is_an_error_and_takes_nothing(bucket):
    one = bucket(BucketConfig(2, 3600))
    one.acquire(2, timeout=1)
    for acquire in (lambda: one.acquire(1, timeout=0.05), lambda: one.acquire_ctx(1, timeout=0.05).__enter__()):
        with pytest.raises(TimeoutError, match="Acquire timed out after 0.05 seconds for amount=1"):
            acquire()
    assert one.limit.status()["used"] == 2


@sync
def test_estimates_are_reconciled(bucket):
    one = bucket(BucketConfig(1000, 36000))
    used = lambda: one.limit.status()["used"]
    one.acquire(600)
    one.reconcile(actual=100, estimated=600)
    assert used() in (100, 101)
    one.acquire(200)
    one.reconcile(actual=300, estimated=200)
    assert used() in (400, 401)
    one.reconcile(actual=7, estimated=7)
    # Two estimates at once, and more than was acquired.
    one.acquire(100)
    one.acquire(50)
    one.reconcile(actual=30, estimated=150)
    assert used() in (430, 431, 432)
    one.acquire(20)
    with pytest.raises(ValueError, match="cannot give back 500"):
        one.reconcile(actual=0, estimated=500)
    with pytest.raises(ValueError):
        one.reconcile(actual=-1, estimated=5)
    # More than the capacity: what was used counts, and the next caller waits for it.
    one.reconcile(actual=2000, estimated=20)
    with pytest.raises(TimeoutError):
        one.acquire(timeout=0.01)


@sync
def test_acquire_holds_no_permit_of_a_limiter_that_is_kept(bucket):
    kept = RateLimit("1000/10h", burst=1000, unit="units", permits=2, name="kept")
    one = bucket(BucketConfig(500, 3600), name="kept", on_mismatch="keep")
    for _ in range(5):
        one.acquire(100, timeout=0)
    assert kept.permits() == (0, 2)
    # Without its permit an estimate can be reconciled still.
    one.reconcile(actual=40, estimated=100)
    assert kept.status()["used"] in (440, 441)


def test_acquire_of_tasks_holds_no_permit_of_a_limiter_that_is_kept():
    kept = RateLimit("1000/10h", burst=1000, unit="units", permits=2, name="kept")

    async def main():
        one = AsyncLeakyBucket(BucketConfig(500, 3600), name="kept", on_mismatch="keep")
        for _ in range(5):
            await one.acquire(100, timeout=0)

    asyncio.run(main())
    assert kept.permits() == (0, 2)


def test_a_forked_child_gives_nothing_back_for_its_parent(forked):
    one = SyncLeakyBucket(BucketConfig(1000, 36000))
    one.acquire(600)

    def reconcile():
        with pytest.raises(ValueError, match="in the process that called acquire"):
            one.reconcile(actual=0, estimated=600)

    assert os.waitpid(forked(reconcile), 0)[1] == 0
    assert one.limit.status()["used"] == 600
    one.reconcile(0, 600)
    assert one.limit.status()["used"] <= 1


def test_what_is_kept_for_reconcile_is_bounded():
    one = SyncLeakyBucket(BucketConfig(1_000_000, 1))
    for _ in range(20_000):
        one.acquire(random.randint(1, 20))
    assert len(one._estimates._admissions) == 4096


@pytest.mark.parametrize("bucket", ASYNC)
def test_tasks(bucket):
    async def main():
        one = bucket(BucketConfig(10, 36000))
        used = lambda: one.limit.status()["used"]
        async with one as entered:
            assert entered is one and used() == 1
        async with one.acquire_ctx(4) as entered:
            assert entered is one and used() == 5
        with pytest.raises(ValueError):
            await one.acquire(11)
        await one.acquire(5, timeout=1)
        with pytest.raises(TimeoutError, match="after 0.01 seconds for amount=2"):
            await one.acquire(2, timeout=0.01)
        waiting = asyncio.create_task(one.acquire(1))
        await asyncio.sleep(0.01)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert used() == 10 and one.limit.status()["queued"] == 0
        # Also after a caller has waited, and while one waits.
        await one.reconcile(actual=1, estimated=5)
        assert used() in (6, 7)
        waiting = asyncio.create_task(one.acquire(9))
        await asyncio.sleep(0.01)
        await one.reconcile(actual=0, estimated=4)
        assert used() in (2, 3) and not waiting.done()
        waiting.cancel()

    asyncio.run(main())


@pytest.mark.parametrize("bucket", ASYNC)
def test_a_concurrency_cap_of_tasks(bucket):
    one = bucket(BucketConfig(100_000, 1), max_concurrent=2)
    most = now = 0

    async def work(enter):
        nonlocal most, now
        async with enter():
            now += 1
            most = max(most, now)
            await one.acquire(3)  # a block may acquire more
            await asyncio.sleep(0.005)
            now -= 1

    async def main():
        await asyncio.gather(*[work(lambda: one) for _ in range(10)], *[work(one.acquire_ctx) for _ in range(10)])
        async with one, one:
            with pytest.raises(TimeoutError):
                async with one.acquire_ctx(timeout=0.02):
                    raise AssertionError

    asyncio.run(main())
    assert most == 2 and one._permits.permits() == (0, 2)


def test_a_concurrency_cap_of_threads():
    one = SyncLeakyBucket(BucketConfig(3, 3600), max_concurrent=1)
    with one:
        with pytest.raises(TimeoutError, match="after 0.02 seconds for amount=2"):
            one.acquire_ctx(2, timeout=0.02).__enter__()
    with one.acquire_ctx(2):
        pass
    # A block that gets no turn keeps no permit.
    with pytest.raises(TimeoutError):
        one.acquire_ctx(timeout=0.02).__enter__()
    assert one._permits.permits() == (0, 1)


def test_it_can_be_pickled_and_shared_by_name():
    one = SyncVirtualSchedulingGCRA(BucketConfig(5, 3600), max_concurrent=3)
    copy = pickle.loads(pickle.dumps(one))
    one.acquire(2)
    copy.acquire(3)
    with pytest.raises(TimeoutError):
        one.acquire(timeout=0)
    named = [algorithms.SyncTokenBucket(BucketConfig(5, 3600), name="tokens") for _ in range(2)]
    named[0].acquire(5)
    assert named[1]._bucket_level == 0
