"""A budget for each name: in files of their own, and in one table."""

import asyncio
import os
import pickle
import subprocess
import sys
import threading
import time

import pytest
from pyrate_limiter import GCRA, FixedWindow, Limiter, Rate, RateItem, SlidingWindowLog, TokenBucket

from shm_limit import KeyedRateLimit, MismatchError, RateLimit, ShmLimitError
from shm_limit.pyrate import ShmBucketFactory, ShmKeyBucketFactory


@pytest.fixture
def files(tmp_path):
    return lambda rates, *args, **kwargs: ShmBucketFactory(rates, *args, name="user", directory=tmp_path, seats=4, **kwargs)


@pytest.fixture
def keys(tmp_path):
    def open_factory(rates, algorithm=GCRA(), **kwargs):
        return ShmKeyBucketFactory(rates, algorithm, name="users", directory=tmp_path, **kwargs)

    return open_factory


def taken(limiter, name, times=10):
    return sum(limiter.try_acquire(name, blocking=False) for _ in range(times))


OTHER = """
import sys, pickle
from pyrate_limiter import Limiter
limiter = pickle.loads(bytes.fromhex(sys.argv[1]))
print(*(sum(limiter.try_acquire(name, blocking=False) for _ in range(10)) for name in sys.argv[2:]))
"""


@pytest.mark.parametrize("kind", ["files", "keys"])
def test_each_name_has_a_budget_over_all_processes(request, kind):
    threads = threading.active_count()
    factory = request.getfixturevalue(kind)([Rate(3, 3_600_000), Rate(5, 7_200_000)])
    limiter = Limiter(factory)
    assert (taken(limiter, "alice"), taken(limiter, "bob", 2)) == (3, 2)
    command = [sys.executable, "-c", OTHER, pickle.dumps(limiter).hex(), "alice", "bob", "carol"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.split() == ["0", "1", "3"]
    child = os.fork()
    if child == 0:
        os._exit(0 if (taken(limiter, "bob"), taken(limiter, "dave")) == (0, 3) else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert taken(limiter, "dave") == 0
    bucket = factory.get(factory.wrap_item("alice"))
    assert bucket.count() == 3 and not bucket.put(factory.wrap_item("alice")) and bucket.failing_rate is bucket.rates[0]
    bucket.flush()
    assert bucket.failing_rate is None and taken(limiter, "alice") == 3
    # No thread was started for it.
    assert threading.active_count() <= threads
    limiter.close()
    limiter.close()


@pytest.mark.parametrize("kind", ["files", "keys"])
def test_a_name_that_waits_does_not_delay_others(request, kind):
    limiter = Limiter(request.getfixturevalue(kind)([Rate(1, 400)]), buffer_ms=1)
    assert limiter.try_acquire("a")
    began = time.monotonic()
    waiting = threading.Thread(target=limiter.try_acquire, args=("a",))
    waiting.start()
    assert limiter.try_acquire("b", blocking=False)
    waiting.join()
    assert time.monotonic() - began >= 0.3

    async def tasks():
        return await asyncio.gather(*(limiter.try_acquire_async(name, timeout=5) for name in "cdcd"))

    assert all(asyncio.run(tasks()))
    limiter.close()


def test_names_of_limiters_are_readable_and_never_the_same(files, tmp_path):
    factory = files([Rate(1, 1000)])
    assert factory.limiter_name("alice") == "user.alice"
    odd = ["a/b", "a_b", "../x", "", " ", "é", "x" * 81, "x" * 80, "~", "a\0", "\ud800", "A", "a"]
    names = [factory.limiter_name(name) for name in odd]
    assert len(set(names)) == len(odd) and all(len(name.encode()) <= 200 for name in names)
    assert all(factory.get(RateItem(name, 0)).put(RateItem(name, 0)) for name in odd)
    assert sorted(os.listdir(tmp_path)) == sorted(names)
    assert RateLimit.attach("user.a", directory=tmp_path).status()["limits"][0]["used"] == 1
    factory.close()


def test_a_bounded_number_of_handles_is_open(files):
    factory = files([Rate(2, 3_600_000)], max_open=3)
    limiter = Limiter(factory)
    for _ in range(3):
        for name in "abcde":
            limiter.try_acquire(name, blocking=False)
            assert len(limiter.buckets()) <= 3
    # The budgets are those of the files, whether a handle was open or not.
    assert [factory.get(RateItem(name, 0)).count() for name in "abcde"] == [2] * 5
    kept = factory.get(RateItem("e", 0))
    assert kept is factory.get(RateItem("e", 0)) and limiter.dispose(kept) and not limiter.dispose(kept)
    assert factory.get(RateItem("e", 0)) is not kept and kept.count() == 2
    limiter.close()
    assert limiter.buckets() == []


def test_threads_may_share_a_factory(files):
    limiter = Limiter(files([Rate(5, 3_600_000)], max_open=2), buffer_ms=0)
    admitted = []
    work = lambda: admitted.extend(limiter.try_acquire(f"{n % 7}", blocking=False) for n in range(140))
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # A call that does not wait does not wait for the lock of the Limiter either, so some of them were false without a put.
    assert sum(admitted) == sum(limiter.bucket_factory.get(RateItem(f"{n}", 0)).count() for n in range(7)) <= 35
    limiter.close()


def test_a_table_keeps_no_bucket(keys):
    factory = keys([Rate(2, 60_000)])
    limiter = Limiter(factory)
    assert taken(limiter, "a") == 2 and limiter.buckets() == [] and not limiter.dispose(1)
    bucket = factory.get(RateItem("a", 0))
    item = RateItem("a", 0)
    assert not bucket.put(item) and 29_000 < bucket.waiting(item) <= 30_001 and bucket.peek(0) is None
    assert 59_000 < bucket.waiting(RateItem("a", 0, 2)) <= 60_001 and bucket.waiting(RateItem("a", 0, 3)) == -1
    assert not limiter.try_acquire("a", weight=3)
    with pytest.raises(ShmLimitError, match="factory.limit.change"):
        bucket.rates = [Rate(5, 1000)]
    factory.limit.change(4, per=60)
    assert factory.limit.most_denied(1)[0][0] == ["a"]
    limiter.close()
    with pytest.raises(ShmLimitError, match="'users' is closed"):
        limiter.try_acquire("a")


def test_algorithms_of_a_table(keys, tmp_path):
    for algorithm, used in ((FixedWindow(), 3), (GCRA(), 5), (TokenBucket(), 5)):
        rates, name = [Rate(3, 86_400_000, burst=5)], type(algorithm).__name__
        factory = ShmKeyBucketFactory(rates, algorithm, name=name, directory=tmp_path)
        limiter = Limiter(factory)
        assert taken(limiter, "a") == used
        bucket = factory.get(RateItem("a", 0))
        assert not bucket.put(RateItem("a", 0)) and 0 < bucket.waiting(RateItem("a", 0, 2)) <= 86_400_001
        limiter.close()
    for error, text, rates, algorithm in (
        (TypeError, "ShmBucketFactory", [Rate(1, 1000)], SlidingWindowLog()),
        (TypeError, "of its own", [Rate(1, 1000)], type("Own", (GCRA,), {})()),
        (ValueError, "at least a second", [Rate(1, 500)], FixedWindow()),
        (ValueError, "at most a day", [Rate(1, 90_000_000)], FixedWindow()),
    ):
        with pytest.raises(error, match=text):
            keys(rates, algorithm)
    assert not os.path.exists(tmp_path / "users")


def test_other_settings_are_a_mismatch(keys, files):
    keys([Rate(3, 1000)])
    with pytest.raises(MismatchError):
        keys([Rate(4, 1000)])
    keys([Rate(4, 1000)], on_mismatch="keep")
    files([Rate(3, 1000)]).get(RateItem("a", 0))
    with pytest.raises(MismatchError):
        files([Rate(4, 1000)]).get(RateItem("a", 0))
    for wrong in (lambda: files([Rate(1, 1000)], max_open=0), lambda: files([]), lambda: files([Rate(1, 1000)], object())):
        with pytest.raises((TypeError, ValueError, AttributeError)):
            wrong()


def test_the_table_is_a_limiter_like_any_other(keys, tmp_path):
    limiter = Limiter(keys([Rate(2, 60_000)]))
    assert taken(limiter, "alice") == 2
    other = KeyedRateLimit.attach("users", directory=tmp_path)
    assert not other.key("alice").try_acquire() and other.key("alice").reset()
    assert taken(limiter, "alice") == 2
    limiter.close()


@pytest.mark.parametrize("algorithm, seats, size", [(None, None, 239_040), (None, 16, 85_440), (GCRA(), 16, 33_344)])
def test_sizes_on_the_page(tmp_path, algorithm, seats, size):
    """What docs/python/pyrate.md says of the files."""
    ShmBucketFactory([Rate(5, 1000)], algorithm, name="f", directory=tmp_path, seats=seats).get(RateItem("a", 0))
    assert os.path.getsize(tmp_path / "f.a") == size
