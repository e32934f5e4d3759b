"""The storage, in one process: what it counts, what it refuses, and what an operator does to it."""

import asyncio
import pickle
import threading
import time

import pytest
from limits import RateLimitItemPerHour, RateLimitItemPerMinute, parse
from limits.aio.strategies import STRATEGIES as ASYNC_STRATEGIES
from limits.errors import ConfigurationError, StorageError
from limits.storage import storage_from_string
from limits.strategies import STRATEGIES

import shm_limit
import shm_limit.limits
from shm_limit import InvalidRequestError, KeyedRateLimit, MismatchError

HOUR = RateLimitItemPerHour(5)
KEY = HOUR.key_for("alice")
#: More than any limit, in 64 bits.
OVER = 2**63 - 1


def not_at_the_end_of_an_hour():
    """Windows of an hour begin with the hour: a test that counts in one is not run across its end."""
    while time.time() % 3600 > 3590:
        time.sleep(0.1)


@pytest.fixture(autouse=True)
def _within_an_hour():
    not_at_the_end_of_an_hour()


@pytest.mark.parametrize("name", STRATEGIES)
def test_storages_of_one_name_share_each_limit(storage, name):
    one, two = (STRATEGIES[name](storage()) for _ in range(2))
    assert [limiter.hit(HOUR, "alice") for limiter in (one, two) * 3] == [True] * 5 + [False]
    assert not one.test(HOUR, "alice") and one.test(HOUR, "bob")
    assert two.get_window_stats(HOUR, "alice").remaining == 0
    assert one.get_window_stats(HOUR, "bob").remaining == 5
    other = STRATEGIES[name](storage("shm://other"))
    assert other.hit(HOUR, "alice")
    two.clear(HOUR, "alice")
    assert one.hit(HOUR, "alice", cost=5) and not two.hit(HOUR, "alice")


@pytest.mark.parametrize("name", STRATEGIES)
def test_tasks_share_with_everybody_else(storage, name):
    sync = STRATEGIES[name](storage())

    async def main():
        limiter = ASYNC_STRATEGIES[name](storage("async+shm://api"))
        hits = await asyncio.gather(*(limiter.hit(HOUR, "alice") for _ in range(9)))
        assert hits.count(True) == 5
        assert (await limiter.get_window_stats(HOUR, "alice")).remaining == 0
        assert not await limiter.test(HOUR, "alice")

    # Before they do: the strategy "fixed-window" counts denials, too.
    assert sync.test(HOUR, "alice")
    asyncio.run(main())
    assert not sync.hit(HOUR, "alice")


@pytest.mark.parametrize("name", STRATEGIES)
def test_threads_get_the_limit_and_no_more(storage, name):
    limiter = STRATEGIES[name](storage())
    item, admitted = parse("700/hour"), []

    def run():
        for _ in range(250):
            if limiter.hit(item, "alice"):
                admitted.append(1)

    threads = [threading.Thread(target=run) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert len(admitted) == 700


def test_reset_times_are_seconds_since_1970(storage):
    store = storage()
    assert store.get_expiry(KEY) == pytest.approx(time.time(), abs=1)
    store.incr(KEY, 3600)
    assert store.get_expiry(KEY) == pytest.approx(time.time() // 3600 * 3600 + 3600, abs=1)
    assert store.get_moving_window(KEY, 5, 3600) == (pytest.approx(time.time(), abs=1), 0)
    before = time.time()
    store.acquire_entry(KEY, 5, 3600)
    after = time.time()
    time.sleep(0.2)
    store.acquire_entry(KEY, 5, 3600, amount=2)
    start, count = store.get_moving_window(KEY, 5, 3600)
    assert count == 3 and before - 0.05 <= start <= after + 0.15
    store.acquire_sliding_window_entry(KEY, 5, 3600, amount=2)
    previous, previous_in, current, current_in = store.get_sliding_window(KEY, 3600)
    assert (previous, previous_in, current) == (0, 0.0, 2)
    assert time.time() + current_in == pytest.approx(time.time() // 3600 * 3600 + 7200, abs=1)


def test_a_sliding_window_counts_the_one_before(storage):
    store = storage()
    for number in range(9):
        key = parse("10/2 seconds").key_for(str(number))
        while time.time() % 2 > 0.3:
            time.sleep(0.01)
        start = time.time() // 2 * 2
        took_all = store.acquire_sliding_window_entry(key, 10, 2, amount=10)
        # In the middle of the next window, half of them count.
        time.sleep(start + 3 - time.time())
        previous, previous_in, current, _ = store.get_sliding_window(key, 2)
        admitted = [store.acquire_sliding_window_entry(key, 10, 2) for _ in range(12)].count(True)
        windows = store.get_sliding_window(key, 2)
        if time.time() < start + 3.9:
            break
    # Otherwise the machine was too busy for each of them.
    assert took_all and (previous, current) == (10, 0) and 0 < previous_in <= 1
    assert windows[2] == admitted and 5 <= admitted <= 10 - windows[0] * windows[1] // 2


def test_a_period_of_more_than_a_day(storage):
    for text in ("5/month", "5/3 days", "5/year"):
        item = parse(text)
        for strategy in STRATEGIES.values():
            limiter = strategy(storage())
            assert [limiter.hit(item, "alice") for _ in range(6)].count(True) == 5
            assert limiter.get_window_stats(item, "alice").reset_time <= time.time() + item.get_expiry() + 1
            with pytest.raises(InvalidRequestError, match="366 days"):
                limiter.hit(parse("5/2 years"), "alice")


def test_amounts_of_any_size(storage):
    for amount in (2**31, 2**32, 2**63, 2**64, 2**200):
        store, key = storage(), HOUR.key_for(str(amount))
        assert store.incr(key, 3600, 3) == 3
        assert store.incr(key, 3600, amount) >= min(amount, OVER)
        assert all(5 < store.incr(key, 3600, n) <= OVER for n in (1, amount, amount, 1))
        assert 5 < store.get(key) <= OVER
        assert not store.acquire_entry(key, 5, 3600, amount)
        assert not store.acquire_sliding_window_entry(key, 5, 3600, amount)
        assert store.acquire_entry(key, 5, 3600, 5) and store.acquire_sliding_window_entry(key, 5, 3600, 5)
    key = HOUR.key_for("nothing")
    assert (store.incr(key, 3600, 0), store.get(key)) == (0, 0)
    assert store.acquire_entry(key, 5, 3600, 0) and store.acquire_sliding_window_entry(key, 5, 3600, 0)
    for negative in (-1, -(2**70)):
        for call in (
            lambda: store.incr(key, 3600, negative),
            lambda: store.acquire_entry(key, 5, 3600, negative),
            lambda: store.acquire_sliding_window_entry(key, 5, 3600, negative),
        ):
            with pytest.raises(InvalidRequestError, match="give something back"):
                call()
    assert store.get(key) == 0 and store.get_moving_window(key, 5, 3600)[1] == 0


def test_a_limit_of_zero_admits_nothing(storage):
    none = RateLimitItemPerMinute(0)
    for strategy in STRATEGIES.values():
        limiter = strategy(storage())
        assert not limiter.hit(none, "alice") and not limiter.test(none, "alice")
        assert limiter.get_window_stats(none, "alice").remaining == 0


def test_limits_that_are_too_large_say_what_to_do(storage):
    moving = STRATEGIES["moving-window"](storage(entries=4_000))
    with pytest.raises(InvalidRequestError, match="entries=40000.*sliding-window-counter"):
        moving.hit(parse("10000/hour"), "alice")
    assert moving.hit(parse("1000/hour"), "alice", cost=1000)
    with pytest.raises(InvalidRequestError, match="40000 is over 32767;.*fixed-window"):
        STRATEGIES["sliding-window-counter"](storage()).hit(parse("40000/second"), "alice")
    assert STRATEGIES["fixed-window"](storage()).hit(parse("40000/second"), "alice", cost=40_000)
    with pytest.raises(InvalidRequestError, match="longer period"):
        STRATEGIES["fixed-window"](storage()).hit(parse("9999999999/second"), "alice")


HOSTILE = ["", "/", "a\0b", "\ud800", "\udfff\ud800", "é" * 5, "x" * 1_000_000, "a/5/1/hour", "/5/1/hour", "5/1/hour", "٣/٣/hour", "\n"]


@pytest.mark.parametrize("name", STRATEGIES)
def test_hostile_keys_are_keys_like_others(storage, name):
    limiter = STRATEGIES[name](storage())
    for text in HOSTILE:
        assert [limiter.hit(HOUR, text) for _ in range(6)] == [True] * 5 + [False], text[:20]
        assert limiter.get_window_stats(HOUR, text).remaining == 0
    limiter.clear(HOUR, HOSTILE[3])
    assert limiter.hit(HOUR, HOSTILE[3]) and not limiter.hit(HOUR, HOSTILE[4])


def test_keys_that_are_not_those_of_an_item(storage):
    one, two = storage(), storage()
    for key in ("test", "test/١/1/hour", "a/1/1/fortnight", "test/1/hour"):
        assert (one.incr(key, 60), two.incr(key, 60, 2), one.get(key)) == (1, 3, 3)
        assert two.get_expiry(key) > time.time() - 1
        assert one.acquire_entry(key, 2, 3600, 2) and not two.acquire_entry(key, 2, 3600)
        two.clear(key)
        assert one.get(key) == 0 and one.acquire_entry(key, 2, 3600)
    with pytest.raises(InvalidRequestError, match="3600 s.*60 s"):
        one.incr(KEY, 60)


def test_reset_counts_and_clears_all_tables(storage):
    store = storage()
    assert store.reset() == 0
    for i in range(20):
        store.incr(HOUR.key_for(str(i)), 3600)
    store.acquire_entry(KEY, 5, 3600, 4)
    store.acquire_sliding_window_entry(KEY, 5, 3600, 5)
    storage("shm://other").incr(KEY, 3600)
    KeyedRateLimit(1, per=1, name="api.fixed-60", directory=store.tables.options.directory)
    # By a storage that has opened none of them.
    assert storage().reset() == 25
    assert store.get(HOUR.key_for("7")) == 0 and store.acquire_entry(KEY, 5, 3600, 5)
    assert store.acquire_sliding_window_entry(KEY, 5, 3600, 5)
    assert storage("shm://other").get(KEY) == 1


def test_a_pickled_storage_is_the_same_storage(storage):
    for uri in ("shm://api", "async+shm://api"):
        store = storage(uri, wrap_exceptions=True, capacity=5_000, mode="600")
        again = pickle.loads(pickle.dumps(store))
        assert type(again) is type(store) and again.wrap_exceptions
        assert again.tables.options == store.tables.options
    store, again = storage(), pickle.loads(pickle.dumps(storage()))
    assert (store.incr("test", 60), again.incr("test", 60)) == (1, 2)


def test_options_in_the_uri(tmp_path):
    (tmp_path / "limits").mkdir()
    store = storage_from_string(f"shm://my-api?capacity=2_000&directory={tmp_path}/limits&mode=660")
    assert store.incr(KEY, 3600) == 1
    path = tmp_path / "limits" / "my-api.fixed-3600s"
    assert path.stat().st_mode & 0o777 == 0o660
    table = KeyedRateLimit.attach("my-api.fixed-3600s", directory=tmp_path / "limits").table_status()
    assert 2_000 <= table["capacity"] < 4_000


@pytest.mark.parametrize(
    ("uri", "options", "message"),
    [
        ("shm://api?capcity=5", {}, "'capcity' is not an option"),
        ("shm://api", {"implementation": "redis"}, "'implementation' is not an option"),
        ("shm://api?capacity=many", {}, "capacity must be a number"),
        ("shm://api", {"capacity": 0}, "capacity must be a number"),
        ("shm://api", {"entries": True}, "entries must be a number"),
        ("shm://api?mode=abc", {}, "octal"),
        ("shm://api?directory=", {}, "directory must be a path"),
        ("shm://localhost:6379", {}, "write shm://NAME"),
        ("shm://user@api", {}, "write shm://NAME"),
        ("shm:///dev/shm/api", {}, "write shm://NAME"),
    ],
)
def test_wrong_options(uri, options, message):
    for scheme in ("", "async+"):
        with pytest.raises(ConfigurationError, match=message):
            storage_from_string(scheme + uri, **options)


def test_a_name_that_is_not_valid_is_an_error_of_the_first_request(storage):
    with pytest.raises(InvalidRequestError):
        storage("shm://a%2Fb").incr(KEY, 3600)
    with pytest.raises(StorageError):
        storage("shm://a%2Fb", wrap_exceptions=True).incr(KEY, 3600)


def test_another_limiter_of_the_name_is_an_error(storage, tmp_path):
    KeyedRateLimit(5, per=1, burst=5, name="api.fixed-3600s", directory=tmp_path)
    KeyedRateLimit(5, per=1, burst=5, name="api.moving-3600s", directory=tmp_path)
    shm_limit.RateLimit(5, per=1, name="api.sliding-3600s", directory=tmp_path)
    store = storage()
    with pytest.raises(InvalidRequestError, match="api.fixed-3600s.*bucket"):
        store.incr(KEY, 3600)
    with pytest.raises(InvalidRequestError, match="api.moving-3600s.*burst"):
        store.acquire_entry(KEY, 5, 3600)
    with pytest.raises((InvalidRequestError, MismatchError), match="api.sliding-3600s"):
        store.acquire_sliding_window_entry(KEY, 5, 3600)


def test_check_tells_whether_it_can_be_used(storage, tmp_path):
    store = storage()
    assert store.check() and not list(tmp_path.iterdir())
    store.incr(KEY, 3600)
    assert store.check() and storage().check()
    (tmp_path / "api.moving-60s").write_bytes(b"no limiter")
    assert not store.check()
    assert not storage_from_string("shm://api", directory="/proc/nowhere").check()
    assert not asyncio.run(storage("async+shm://api").check())


@pytest.mark.parametrize("name", STRATEGIES)
def test_an_operator_pauses_and_inspects_it(storage, tmp_path, name):
    limiter = STRATEGIES[name](storage())
    assert [limiter.hit(HOUR, "alice") for _ in range(8)].count(True) == 5
    (table,) = (path.name for path in tmp_path.iterdir())
    assert table.startswith("api.") and table.endswith("-3600s")
    operator = KeyedRateLimit.attach(table, directory=tmp_path)
    stats = operator.all_keys().stats()
    assert (stats["admitted"], stats["denied"]) == (5, 3)
    assert operator.most_denied(3) == [([HOUR.key_for("alice")], 3)]
    operator.all_keys().pause_for(600)
    assert not limiter.hit(HOUR, "bob")
    operator.all_keys().resume()
    assert limiter.hit(HOUR, "bob") or name == "fixed-window"
    # Retired, it is made again by the next request.
    operator.all_keys().retire()
    assert [limiter.hit(HOUR, "alice") for _ in range(8)].count(True) == 5


def test_a_pause_is_not_counted_by_a_fixed_window_as_a_limit_that_is_reached(storage, tmp_path):
    store = storage()
    store.incr(KEY, 3600)
    operator = KeyedRateLimit.attach("api.fixed-3600s", directory=tmp_path)
    operator.all_keys().pause_for(600)
    assert store.incr(KEY, 3600) == OVER
    operator.all_keys().resume()
    assert store.incr(KEY, 3600) == 3


def test_a_lower_limit_of_the_table_denies_more(storage, tmp_path):
    limiter = STRATEGIES["fixed-window"](storage())
    assert limiter.hit(HOUR, "alice")
    KeyedRateLimit.attach("api.fixed-3600s", directory=tmp_path).change(3, 3600)
    # It counts up to 2: at its end a count is not known.
    assert [limiter.hit(HOUR, "bob") for _ in range(6)] == [True, True, False, False, False, False]


def test_many_keys_take_bounded_memory_and_are_never_over(storage, tmp_path):
    store = storage(capacity=20_000, entries=20_000)
    for i in range(5):
        store.incr(KEY, 3600)
    item = parse("3/hour")
    for i in range(200_000):
        key = item.key_for(f"10.{i}")
        store.incr(key, 3600)
        store.acquire_entry(key, 3, 3600)
        store.acquire_sliding_window_entry(key, 3, 3600)
    sizes = [path.stat().st_size for path in tmp_path.iterdir()]
    assert len(sizes) == 3 and max(sizes) < 3_000_000
    # A forgotten key comes back with at least what it had used.
    assert store.incr(KEY, 3600) >= 6
    again = [item.key_for(f"10.{i}") for i in range(0, 200_000, 997)]
    assert all(store.incr(key, 3600) >= 2 for key in again)
    for key in again:
        assert [store.acquire_entry(key, 3, 3600) for _ in range(3)].count(True) <= 2
        assert [store.acquire_sliding_window_entry(key, 3, 3600) for _ in range(3)].count(True) <= 2
