"""shm_limit.compat.nekkar: what nekkar does, and what it does wrong."""

import asyncio
import os
import signal
import threading
import time
import warnings

import pytest

from shm_limit import MismatchError, RateLimit
from shm_limit.compat.nekkar import BaseCache, BootesException, MemcachedCache, Nekkar, RetryMaxCountReached


def in_memory(base):
    """A cache of nekkar's interface in a dictionary."""

    class InMemory(base):
        def __init__(self):
            self.values = {}

        def add(self, key, value):
            return self.values.setdefault(key, value) is value

        def get(self, key):
            return self.values.get(key)

        def set(self, key, value):
            self.values[key] = value

        def delete(self, key):
            self.values.pop(key, None)

    return InMemory()


def elapsed(function, times):
    began = time.monotonic()
    results = [function(i) for i in range(times)]
    return results, time.monotonic() - began


@pytest.mark.parametrize(
    "arguments, times, at_least",
    [(dict(rate_limit=100, interval=0), 20, 0), (dict(rate_limit=100, interval=60), 6, 0.3), (dict(rate_limit=600), 4, 0.3)],
    ids=str,
)
def test_the_same_calls_are_limited_as_in_nekkar(original, arguments, times, at_least):
    cache = in_memory(original("nekkar.core.cache").BaseCache)
    theirs = original("nekkar.core.limiter").Nekkar(cache)
    for limiter in (theirs, Nekkar()):

        @limiter(name="the_same", **arguments)
        def one(i):
            return i

        @limiter("the_same", **arguments)
        def other(i):
            return -i

        results, time_taken = elapsed(lambda i: (one, other)[i % 2](i), times)
        assert results == [(1, -1)[i % 2] * i for i in range(times)]
        # The same for both functions, since they have one name. nekkar sleeps in whole and half milliseconds.
        assert time_taken >= at_least - 0.001

        @limiter(name="other", **arguments)
        def fails(_):
            raise KeyError("its own")

        with pytest.raises(KeyError):
            fails(0)


def test_a_sliding_log_of_a_minute():
    one = Nekkar().limit("api", 50, 0)
    assert sum(bool(one.try_acquire()) for _ in range(60)) == 50
    assert 59 < one.try_acquire().retry_after <= 60
    spaced = Nekkar().limit("spaced", 50)
    assert spaced.try_acquire()
    assert 1.1 < spaced.try_acquire().retry_after <= 1.2
    # More calls than milliseconds: no spacing, as in nekkar.
    assert Nekkar().limit("many", 70_000).try_acquire(70_000)


def test_a_cache_is_not_used_and_that_is_said():
    for cache in (MemcachedCache("localhost", 11211), in_memory(BaseCache)):
        with pytest.warns(RuntimeWarning, match="not across hosts.*leave the cache out") as warned:
            Nekkar(cache=cache, auto_race_condition_resistance=True)
        assert warned[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Nekkar()
    assert issubclass(RetryMaxCountReached, BootesException)


def test_a_memcached_cache_speaks_to_memcached(original, monkeypatch):
    """With a client in place of the connection: values are JSON, and `add` tells whether it set the key."""
    stored = {}

    class Client:
        def __init__(self, server):
            assert server == ("localhost", 11211)

        def add(self, key, value, noreply):
            assert not noreply
            return stored.setdefault(key, value) is value

        def get(self, key):
            return stored.get(key)

        def set(self, key, value):
            stored[key] = value

        def delete(self, key):
            stored.pop(key, None)

    monkeypatch.setattr(original("pymemcache.client.base"), "Client", Client)
    cache = MemcachedCache("localhost", 11211)
    assert cache.get("k") is None and cache.add("k", {"a": [1.5]}) is True and cache.add("k", 2) is False
    assert cache.get("k") == {"a": [1.5]} and stored["k"] == '{"a": [1.5]}'
    cache.set("k", 3)
    cache.delete("k")
    assert cache.get("k") is None
    with pytest.raises(TypeError):
        BaseCache()


# What nekkar does wrong.


@pytest.mark.parametrize(
    "name", ["with spaces", "a/b", "..", "", "ü\n\x00", "x" * 500, "GET /users/{id}?q=1&r=%2F", "-rf", "nekkar-x"], ids=ascii
)
def test_any_name_is_a_name(name, directory):
    one, same, other = Nekkar().limit(name, 5, 0), Nekkar().limit(name, 5, 0), Nekkar().limit(name + "!", 5, 0)
    assert one.try_acquire(5) and not same.try_acquire() and other.try_acquire()
    assert all(file.startswith("nekkar-") for file in os.listdir(directory))


def test_a_readable_name_stays_readable():
    Nekkar().limit("GET users", 5, 0)
    assert RateLimit.attach("nekkar-GET users").policy() == "5/m greedy"


def test_the_history_is_complete_beyond_52_000_hits():
    one = Nekkar().limit("many", 60_000, 0)
    assert sum(bool(one.try_acquire(1000)) for _ in range(70)) == 60
    assert not one.try_acquire() and one.status()["used"] == 60_000


def test_a_wait_uses_no_cpu():
    @Nekkar()(name="slow", rate_limit=60, interval=1000)
    def call():
        pass

    began, used = time.monotonic(), time.process_time()
    call()
    call()
    assert time.monotonic() - began >= 0.99999
    assert time.process_time() - used < 0.3


def test_nothing_forgets_the_hits_when_processes_end(start):
    code = "from shm_limit.compat.nekkar import Nekkar; print(bool(Nekkar().limit('api', 2, 0).try_acquire(2)))"
    assert [start("-c", code).communicate()[0].strip() for _ in range(2)] == ["True", "False"]


def test_a_stopped_process_delays_no_other_and_lets_no_other_pass_too_early(forked):
    limiter = Nekkar()

    @limiter(name="api", rate_limit=600, interval=100)
    def call():
        pass

    call()
    children = [forked(lambda: [call() for _ in range(1000)]) for _ in range(2)]
    time.sleep(0.3)
    for child in children:
        os.kill(child, signal.SIGSTOP)
    times = []
    for _ in range(6):
        before = time.monotonic()
        call()
        times.append((before, time.monotonic()))
    assert all(after - before >= 0.09999 for (before, _), (_, after) in zip(times, times[1:]))
    assert times[-1][1] - times[0][0] < 20


def test_functions_of_one_name_have_one_limit():
    limiter = Nekkar()
    limiter("api", 100)
    limiter("api", rate_limit=100)
    for other in [dict(rate_limit=200), dict(rate_limit=100, interval=0)]:
        with pytest.raises(MismatchError):
            limiter("api", **other)
    assert "200/m" in Nekkar(on_mismatch="change").limit("api", 200).policy()


def test_decorated_functions_keep_their_name_and_coroutines_wait_in_their_task():
    limiter = Nekkar()

    @limiter(name="api", rate_limit=100, interval=50)
    async def call():
        "What it does."
        return threading.active_count()

    assert (call.__name__, call.__doc__) == ("call", "What it does.")

    async def main():
        began = time.monotonic()
        threads = threading.active_count()
        assert await asyncio.gather(*[call() for _ in range(5)]) == [threads] * 5
        assert time.monotonic() - began >= 0.19999

    asyncio.run(main())
