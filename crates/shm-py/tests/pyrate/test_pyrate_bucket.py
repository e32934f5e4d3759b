"""What a ShmBucket does for a Limiter, and what it refuses."""

import asyncio
import os
import pickle
import subprocess
import sys
import threading
import time

import pytest
from pyrate_limiter import GCRA, BucketAsyncWrapper, FixedWindow, Limiter, Rate, RateItem, SlidingWindowLog

from shm_limit import Limit, MismatchError, RateLimit, ShmLimitError
from shm_limit.pyrate import BootClock, ShmBucket


@pytest.fixture
def bucket(tmp_path):
    """Opens buckets in a directory of the test's own, and closes them."""
    opened = []

    def open_bucket(*args, **kwargs):
        kwargs.setdefault("name", "api")
        opened.append(ShmBucket(*args, directory=tmp_path, **kwargs))
        return opened[-1]

    yield open_bucket
    for one in opened:
        one.close()


def put(bucket, weight=1, name="item"):
    return bucket.put(RateItem(name, bucket.now(), weight))


def test_a_put_takes_its_weight_or_nothing(bucket):
    api = bucket([Rate(5, 60_000)])
    assert put(api, 3) and not put(api, 3) and put(api, 2) and not put(api)
    assert api.count() == 5 and api.failing_rate.limit == 5
    assert api.put(RateItem("item", 0, weight=0)) and api.failing_rate is None
    api.flush()
    assert api.count() == 0 and put(api, 5)


def test_a_weight_that_never_fits_is_a_denial(bucket):
    for algorithm, most in ((SlidingWindowLog(), 3), (FixedWindow(), 3), (GCRA(), 9)):
        api = bucket([Rate(3, 1000, burst=9)], algorithm, name=type(algorithm).__name__)
        item = RateItem("item", api.now(), most + 1)
        assert not api.put(item) and api.failing_rate is api.rates[0] and api.waiting(item) == -1
        assert api.put_decision(item).retry_after_ms is None and api.count() == 0
        assert not Limiter(api).try_acquire("item", most + 1)
        assert put(api, most)


def test_the_rate_that_waits_longest_is_the_one_that_fails(bucket):
    api = bucket([Rate(2, 100), Rate(3, 60_000)])
    assert put(api, 2) and not put(api, 2)
    # The first one would admit it after 100 ms, the second after a minute.
    assert api.failing_rate is api.rates[1]
    assert not put(api) and api.failing_rate is api.rates[0]
    decision = api.put_decision(RateItem("item", api.now()))
    assert decision.failing_rate is api.rates[0] and 0 < decision.retry_after_ms <= 102


def test_waiting_for_another_weight_asks_the_limiter(bucket):
    for algorithm, first in ((GCRA(), 20_001), (SlidingWindowLog(), 60_002)):
        api = bucket([Rate(3, 60_000)], algorithm, name=type(algorithm).__name__)
        assert put(api, 3) and not put(api, 1)
        one, three = (api.waiting(RateItem("item", api.now(), weight)) for weight in (1, 3))
        assert first - 1_000 <= one <= first and 59_000 <= three <= 60_002
        assert not put(api, 1) and api.count() == 3
        api.flush()
        assert put(api, 1) and not put(api, 3) and api.waiting(RateItem("item", api.now(), 2)) == 0


def test_timestamps_of_other_clocks_are_not_used(bucket):
    api = bucket([Rate(1, 60_000)])
    item = RateItem("item", 5_000)
    before = BootClock().now()
    assert api.put(item) and before <= item.timestamp <= BootClock().now() + 1
    for timestamp in (0, 5_000, int(time.time() * 1000) * 2):
        item = RateItem("item", timestamp)
        assert not api.put(item) and before <= item.timestamp <= BootClock().now()
        assert 59_000 <= api.waiting(item) <= 60_002
        assert 59_000 <= api.waiting(RateItem("item", timestamp)) <= 60_002


def test_peek_shows_this_processs_own_items(bucket):
    api, other = bucket([Rate(100, 60_000)]), bucket([Rate(100, 60_000)])
    assert api.peek(0) is None
    assert put(api, 2, "first") and put(api, 1, "second") and put(other, 3, "elsewhere")
    assert [item and item.name for item in map(api.peek, range(4))] == ["second", "first", "first", None]
    assert api.peek(-1) is None and other.peek(0).name == "elsewhere" and api.count() == 6
    other.flush()
    assert api.count() == 0 and api.peek(0) is None
    for _ in range(100):
        put(api)
    assert len(api._own) <= 1_024
    assert bucket([Rate(9, 1000)], GCRA(), name="state").peek(0) is None


def test_outdated_items_are_not_shown(bucket):
    api = bucket([Rate(2, 50)])
    assert put(api, 1, "old")
    time.sleep(0.06)
    assert api.peek(0) is None and api.count() == 0 and api.leak(api.now()) == 0


def test_what_has_no_equivalent_is_refused(bucket):
    class Own(SlidingWindowLog):
        pass

    for error, text, rates, algorithm in (
        (TypeError, "Own decides in a way of its own", [Rate(1, 1000)], Own()),
        (ValueError, "at most 1048576", [Rate(1 << 21, 1000)], None),
        (ValueError, "at most a day", [Rate(1, 86_400_001)], FixedWindow()),
        (ValueError, "at most 4 limits", [Rate(n, n * 1000) for n in range(1, 6)], None),
        (ValueError, "Invalid rate list", [Rate(5, 1000), Rate(5, 2000)], None),
        (ValueError, "Invalid rate list", [], None),
    ):
        with pytest.raises(error, match=text):
            bucket(rates, algorithm)
    assert not list(os.scandir(os.path.dirname(bucket([Rate(1, 1000)]).limit.path)))[1:]


def test_other_rates_are_a_mismatch(bucket):
    bucket([Rate(5, 1000)])
    with pytest.raises(MismatchError):
        bucket([Rate(6, 1000)])
    with pytest.raises(MismatchError):
        bucket([Rate(5, 1000)], GCRA())
    kept = bucket([Rate(6, 1000)], on_mismatch="keep")
    # More than the limiter ever admits, though not more than this program's rate.
    item = RateItem("item", kept.now(), 6)
    assert put(kept, 5) and not kept.put(item) and kept.waiting(item) == -1


def test_rates_can_be_changed_for_all(bucket):
    api, other = bucket([Rate(5, 60_000)]), bucket([Rate(5, 60_000)])
    assert put(api, 5)
    api.rates = [Rate(7, 60_000)]
    assert put(other, 2) and not put(other) and not put(api)
    assert [rate.limit for rate in api.rates] == [7] and api.count() == 7
    for refused in ([], [Rate(2, 1000), Rate(7, 60_000)]):
        # The file has room for one log.
        with pytest.raises(ValueError):
            api.rates = refused
    assert [rate.limit for rate in api.rates] == [7] and api.count() == 7
    private = ShmBucket([Rate(1, 60_000)])
    assert put(private)
    private.rates = [Rate(2, 60_000)]
    assert put(private) and not put(private)
    private.close()


def test_a_pause_by_an_operator_is_obeyed(bucket):
    api = bucket([Rate(5, 1000)])
    api.limit.pause_for(30)
    item = RateItem("item", api.now())
    assert not api.put(item) and 29_000 < api.waiting(item) <= 30_001
    api.limit.resume()
    assert put(api)


def test_a_limiter_with_permits_is_polled(tmp_path, bucket):
    held = RateLimit(limits=[Limit(5, 60, burst=5)], permits=1, name="api", directory=tmp_path).try_acquire()
    api = bucket([Rate(5, 60_000)], GCRA(), on_mismatch="keep")
    item = RateItem("item", api.now())
    assert held and not api.put(item) and 0 < api.waiting(item) <= 100
    held.release()
    assert put(api)


def test_a_closed_bucket_says_so(bucket):
    api = bucket([Rate(5, 1000)])
    with Limiter(api) as limiter:
        assert limiter.try_acquire("item")
    api.close()
    for use in (lambda: put(api), api.count, api.flush, lambda: api.limit):
        with pytest.raises(ShmLimitError, match="'api' is closed"):
            use()
    assert api.leak(0) == 0
    # The budget is still there.
    assert bucket([Rate(5, 60_000)], name="other").count() == 0 and bucket([Rate(5, 1000)]).limit.stats()["admitted"] == 1


def test_a_private_bucket_leaves_no_file():
    bucket = ShmBucket([Rate(5, 1000)])
    path = bucket.limit.path
    assert put(bucket) and os.path.exists(path)
    bucket.close()
    assert not os.path.exists(path)


def test_it_travels_by_reference(bucket):
    api = bucket([Rate(3, 60_000)])
    put(api, 1, "here")
    other = pickle.loads(pickle.dumps(api))
    limiter = pickle.loads(pickle.dumps(Limiter(api)))
    assert put(other) and limiter.try_acquire("item") and not put(api) and not limiter.try_acquire("item", blocking=False)
    assert other.peek(0).name == "item" and other.peek(1) is None
    limiter.close()
    other.close()


def test_no_lock_is_needed(bucket):
    api = bucket([Rate(3, 60_000)])
    assert api.limiter_lock() is None and isinstance(Limiter(api).lock, type(threading.RLock()))


def test_try_acquire_waits_as_long_as_it_takes(bucket):
    limiter = Limiter(bucket([Rate(2, 200)]), buffer_ms=1)
    began = time.monotonic()
    assert all(limiter.try_acquire("item") for _ in range(5))
    assert time.monotonic() - began >= 0.4
    assert not limiter.try_acquire("item", weight=2, timeout=0.05)
    assert not limiter.try_acquire("item", weight=2, blocking=False)


def test_decorators_wait(bucket):
    limiter = Limiter(bucket([Rate(1, 150)]), buffer_ms=1)

    @limiter.as_decorator(name="item")
    def call(n):
        return n

    @limiter.as_decorator(name="item")
    async def call_async(n):
        return n

    async def both():
        return await asyncio.gather(call_async(2), call_async(3))

    began = time.monotonic()
    assert call(1) == 1 and asyncio.run(both()) == [2, 3]
    assert time.monotonic() - began >= 0.3


def test_threads_and_tasks_share_it(bucket):
    api = bucket([Rate(10, 60_000)])
    limiter, admitted = Limiter(api, buffer_ms=1), []

    async def tasks():
        done = await asyncio.gather(*(limiter.try_acquire_async("item", blocking=False) for _ in range(10)))
        admitted.extend(done)

    threads = [threading.Thread(target=asyncio.run, args=(tasks(),)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(admitted) == 30 and sum(admitted) == 10


def test_what_a_put_has_found_is_for_its_thread(bucket):
    """Limiters of several threads have no lock in common."""
    api = bucket([Rate(1, 10)])
    item = RateItem("item", 0)
    while api.put(item):
        pass
    assert api.failing_rate is api.rates[0]
    seen = []

    def elsewhere():
        seen.append(api.failing_rate)
        limiter, end = Limiter(api, buffer_ms=0), time.monotonic() + 0.5
        while time.monotonic() < end:
            seen.append(asyncio.run(limiter.try_acquire_async("item", timeout=0.005)) in (True, False) or "error")

    threads = [threading.Thread(target=elsewhere) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen.count(None) == 4 and set(seen) == {None, True} and len(seen) > 20
    assert api.failing_rate is api.rates[0] and api.waiting(item) == 0


def test_the_async_wrapper_works(bucket):
    api = BucketAsyncWrapper(bucket([Rate(2, 100)]))

    async def use():
        limiter = Limiter(api, buffer_ms=1)
        began = time.monotonic()
        assert all([await limiter.try_acquire_async("item") for _ in range(3)])
        assert time.monotonic() - began >= 0.1
        await api.flush()
        assert await api.count() == 0 and await api.peek(0) is None

    asyncio.run(use())


def test_without_pyrate_limiter_it_says_what_to_install(tmp_path):
    (tmp_path / "pyrate_limiter.py").write_text("raise ImportError('not here')")
    code = "import shm_limit\nimport shm_limit.pyrate"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    ran = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert ran.returncode == 1 and "pip install 'shm-limit[pyrate]'" in ran.stderr
    code = "import sys, shm_limit\nassert 'pyrate_limiter' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
