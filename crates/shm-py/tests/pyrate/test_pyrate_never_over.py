"""What processes are admitted together, an algorithm of PyrateLimiter would have admitted, too."""

import multiprocessing
import time

import pytest
from pyrate_limiter import GCRA, FixedWindow, Rate, RateItem, TokenBucket

from pyrate_workers import hammer, hammer_into, violations
from shm_limit.pyrate import ShmBucket


def together(bucket, method, seconds, weights=(1, 1, 2, 3)):
    """What four processes are admitted at the same time."""
    context = multiprocessing.get_context(method)
    queue = context.SimpleQueue()
    workers = [context.Process(target=hammer_into, args=(queue, bucket, seconds, weight), daemon=True) for weight in weights]
    for worker in workers:
        worker.start()
    admitted = [one for _ in workers for one in queue.get()]
    for worker in workers:
        worker.join()
    return admitted


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.parametrize("named", [True, False])
def test_a_log_of_four_processes_is_never_over(tmp_path, method, named):
    rates = [Rate(7, 20), Rate(20, 100)]
    bucket = ShmBucket(rates, name="log", directory=tmp_path) if named else ShmBucket.init(rates)
    began = time.monotonic()
    admitted = together(bucket, method, 0.7)
    elapsed = (time.monotonic() - began) * 1000
    assert violations(rates, admitted) == []
    # And no less than the limit: some 20 in each 101 milliseconds in which all of them ran.
    assert 60 <= sum(weight for _, weight in admitted) <= 20 * (elapsed / 100 + 1)
    bucket.close()


def test_violations_are_seen():
    assert violations([Rate(2, 100)], [(0, 1), (50, 1), (100, 1)]) == [(100, 1, [2])]
    assert violations([Rate(2, 100)], [(0, 1), (50, 1), (101, 1)]) == []


@pytest.mark.parametrize("algorithm", [GCRA(), TokenBucket()])
def test_a_bucket_of_four_processes_is_never_over(tmp_path, algorithm):
    rates = [Rate(10, 100, burst=6), Rate(60, 1000, burst=20)]
    bucket = ShmBucket(rates, algorithm, name="bucket", directory=tmp_path)
    admitted = sorted(together(bucket, "fork", 0.7))
    assert sum(weight for _, weight in admitted) > 20
    # In any time, no more than the burst and what is refilled meanwhile. A timestamp is up to a millisecond after the decision.
    for rate in rates:
        for i, (begin, _) in enumerate(admitted):
            taken = 0
            for end, weight in admitted[i:]:
                taken += weight
                assert taken <= rate.burst + (end - begin + 1) * rate.limit / rate.interval
    bucket.close()


def test_windows_follow_the_wall_clock_and_are_never_over(tmp_path):
    bucket = ShmBucket([Rate(5, 100)], FixedWindow(), name="windows", directory=tmp_path)
    windows, end = {}, time.time() + 0.8
    while time.time() < end:
        before = time.time_ns() // 100_000_000
        if bucket.put(RateItem("item", 0)) and time.time_ns() // 100_000_000 == before:
            windows[before] = windows.get(before, 0) + 1
    assert max(windows.values()) <= 5 and len(windows) >= 3
    # The next window begins at the next multiple of 100 ms of the wall clock. The wait is rounded up to a millisecond.
    while True:
        before = time.time_ns() / 1e6
        denied = bucket.put_decision(RateItem("item", 0))
        after = time.time_ns() / 1e6
        if not denied.allowed:
            break
    assert (after + denied.retry_after_ms) // 100 > (before + denied.retry_after_ms - 2) // 100
    assert 0 < denied.retry_after_ms <= 101
    bucket.close()


def test_a_denial_is_exact(tmp_path):
    """After `waiting` milliseconds the item is admitted, and until shortly before it is not."""
    for algorithm in (None, GCRA(), FixedWindow()):
        bucket = ShmBucket([Rate(3, 300)], algorithm, name=f"exact-{type(algorithm).__name__}", directory=tmp_path)
        denied = RateItem("item", 0, 3)
        # Not on both sides of the end of a window.
        while not bucket.put(RateItem("item", 0, 2)) or bucket.put(denied):
            bucket.flush()
        ready = denied.timestamp + bucket.waiting(denied)
        while True:
            item = RateItem("item", 0, 3)
            if bucket.put(item):
                break
            assert item.timestamp < ready
            assert item.timestamp + bucket.waiting(item) == pytest.approx(ready, abs=1)
            time.sleep(0.001)
        assert item.timestamp >= ready - 1
        bucket.close()


def test_another_program_sees_the_same_limits(limit, tmp_path):
    """The limiter is one like any other: a RateLimit with these limits joins it."""
    bucket = ShmBucket([Rate(3, 60_000)], GCRA(), name="both", directory=tmp_path)
    other = limit(3, 60, name="both", burst=3)
    assert len(hammer(bucket, 0.01)) == 3 and not other.try_acquire()
    bucket.flush()
    assert other.try_acquire(2) and bucket.count() == 2
