"""What requests get, in one thread."""

import pickle
import threading
import time

import pytest

import shm_limit
from shm_limit import Admission, Denied, InvalidRequestError, KeyedRateLimit, Limit, RateLimit


def admitted(limit, times, n=1):
    return sum(bool(limit.try_acquire(n)) for _ in range(times))


def test_a_burst_passes_and_then_the_rate_counts(limit):
    api = limit(5, per=3600, burst=5)
    assert admitted(api, 9) == 5
    denied = api.try_acquire()
    assert isinstance(denied, Denied) and not denied
    assert denied.denied_by == "limits" and 700 < denied.retry_after <= 720
    assert api.status()["available"] == 0 and api.status()["used"] == 5
    stats = api.stats()
    assert (stats["admitted"], stats["denied"]) == (5, 5)


def test_handles_of_one_name_share_the_budget(limit):
    assert admitted(limit("6/h", burst=6), 4) == 4
    assert admitted(limit("6/h", burst=6), 4) == 2


def test_wait_returns_the_seconds_waited(limit):
    api = limit(20, per=1)
    assert api.wait() == 0.0
    began = time.monotonic()
    assert 0.0 < api.wait() <= time.monotonic() - began + 0.001
    assert time.monotonic() - began >= 0.045


def test_greedy_windows_and_units(limit):
    assert admitted(limit(3, per=3600, greedy=True, name="greedy"), 5) == 3
    assert admitted(limit("3/h", window="first-use", name="first"), 5) == 3
    tokens = limit(100, per=3600, unit="tokens", name="tokens")
    assert admitted(tokens, 3, {"tokens": 40}) == 2
    both = limit(limits=[Limit("9/h", burst=9), Limit(2, per=3600, window="first-use")], name="both")
    assert admitted(both, 5) == 2
    assert both.try_acquire().denied_limit == 2


def test_an_acquire_with_a_timeout_is_a_value(limit):
    api = limit("1/h")
    assert api.acquire(timeout=0)
    denied = api.acquire(timeout=0.01)
    assert not denied and denied.retry_after > 3000
    with pytest.raises(shm_limit.RateLimited) as raised:
        raise denied.exception()
    assert raised.value.retry_after == denied.retry_after and raised.value.denied_by == "limits"


def test_permits_are_held_by_blocks_and_admissions(limit):
    api = limit(permits=2)
    with api as admission, api:
        assert isinstance(admission, Admission)
        denied = api.try_acquire()
        assert denied.denied_by == "permits" and denied.denied_limit is None and denied.retry_after is None
    held = api.try_acquire()
    assert held and api.try_acquire()
    held.release()
    held.release()
    assert api.try_acquire()


def test_the_status_tells_of_each_limit_and_permits_of_those_held(limit):
    api = limit(limits=[Limit("9/h", burst=9), Limit(2, per=3600, greedy=True)], permits=3)
    held = api.try_acquire(2)
    first, second = api.status()["limits"]
    assert (first["available"], first["used"], first["next_in"]) == (7, 2, 0.0)
    assert (second["available"], second["used"]) == (0, 2) and 3590 < second["next_in"] <= 3600
    assert api.permits() == (1, 3)
    held.release()
    assert api.permits() == (0, 3) and limit("9/h", name="none").permits() is None


def test_an_estimate_is_settled(limit):
    api = limit(100, per=3600, unit="tokens")
    admission = api.try_acquire({"tokens": 60})
    given_back, charged = admission.settle({"tokens": 50})["tokens"]
    assert 9 <= given_back <= 10 and charged == 0
    assert 49 <= api.status()["used"] <= 51
    with pytest.raises(shm_limit.InvalidRequestError):
        admission.settle({"tokens": 50})


def test_reservations_and_schedules(limit):
    api = limit("1/h")
    first = api.reserve()
    later = api.reserve()
    assert first.wait_time() == 0.0 and 3590 < later.wait_time() <= 3600
    assert later.cancel() and not later.cancel()
    assert first.wait()
    with pytest.raises(ValueError):
        first.commit()
    turns = api.schedule(2)
    assert 3590 < turns[0] <= 3600 < turns[1] <= 7200


def test_an_operator_changes_pauses_and_resets(limit):
    api, other = limit("2/h", burst=2), limit("2/h", burst=2)
    assert admitted(api, 3) == 2
    other.reset()
    assert admitted(api, 3) == 2
    other.change("10/h")
    assert "10/h" in api.policy()
    other.pause_for(60)
    assert 59 < api.try_acquire().retry_after
    other.resume()
    api.charge(5)
    assert api.status()["next_in"] > 0


def test_a_mismatch_names_both_and_keep_accepts(limit):
    limit("5/s")
    with pytest.raises(shm_limit.MismatchError, match='5/s.*6/s.*on_mismatch="keep"'):
        limit("6/s")
    assert "5/s" in limit("6/s", on_mismatch="keep").policy()
    assert "6/s" in limit("6/s", on_mismatch="change").policy()


def test_a_missing_limiter_is_not_created_by_attach(tmp_path):
    with pytest.raises(shm_limit.NotFoundError) as raised:
        RateLimit.attach("nope", directory=tmp_path)
    assert raised.value.kind == "not_found" and raised.value.path == str(tmp_path / "nope")
    assert isinstance(raised.value, LookupError)


def test_shadow_mode_denies_nothing(limit):
    api = limit("1/h", shadow=True)
    assert not api.try_acquire().shadowed
    assert api.try_acquire().shadowed


def test_an_admission_that_is_kept_stays_as_it_is(limit):
    api = limit(100, burst=100)
    first = api.try_acquire()
    at = first.at_ns
    others = [api.try_acquire() for _ in range(10)]
    assert first.at_ns == at and len({id(one) for one in [first, *others]}) == 11
    assert [one.at_ns for one in others] == sorted(one.at_ns for one in others)
    del others, first
    # Nobody keeps these, so one object may serve them all; each is of its own instant.
    instants = [api.try_acquire().at_ns for _ in range(80)]
    assert instants == sorted(instants) and instants[0] < instants[-1]


def test_a_permit_is_released_with_its_last_user(limit):
    api = limit(1000, burst=1000, permits=1)
    for _ in range(5):
        with api as admission:
            assert not api.try_acquire()
        # The block has ended, and its admission is still known here.
        held = api.try_acquire()
        assert held is not admission and not api.try_acquire()
        del held
        assert api.try_acquire()


def test_blocks_of_threads_and_generators_end_in_any_order(limit):
    api = limit(1000, burst=1000, permits=3)

    def block():
        with api:
            yield

    blocks = [block() for _ in range(3)]
    for one in blocks:
        next(one)
    assert not api.try_acquire()
    blocks[0].close()
    thread = threading.Thread(target=blocks[1].close)
    thread.start()
    thread.join()
    two = [api.try_acquire(), api.try_acquire()]
    assert all(two) and not api.try_acquire()
    blocks[2].close()
    assert api.try_acquire()
    with pytest.raises(ValueError, match="no block was entered"):
        api.__exit__(None, None, None)


def test_a_block_whose_permit_was_released_by_hand_takes_no_other(limit):
    api = limit(1000, burst=1000, permits=1)

    def released():
        with api as admission:
            admission.release()
            yield

    def block():
        with api:
            yield

    one, other = released(), block()
    next(one)
    next(other)
    one.close()
    assert api.permits() == (1, 1)
    other.close()
    assert api.permits() == (0, 1)


def test_a_policy_is_replaced(limit):
    api, other = (limit(limits=[Limit("3/h", greedy=True), Limit("50/h", burst=50, unit="tokens")], permits=2) for _ in range(2))
    assert api.try_acquire({"calls": 2, "tokens": 10})
    other.change_policy([Limit("3/h", greedy=True)], permits=1, max_waiters=0)
    # What was used of the limit that stays is still used.
    assert admitted(api, 5) == 1 and api.try_acquire().denied_by == "limits"
    assert api.permits() == (0, 1) and "tokens" not in api.policy()
    with pytest.raises(InvalidRequestError, match="room"):
        api.change_policy(["1/s"], permits=60_000)


def test_a_denial_says_which_limit_and_until_when(limit):
    hourly = limit(limits=["1/h", Limit("2/h", burst=2)], name="hourly")
    assert hourly.denial() is None and hourly.try_acquire()
    denied = hourly.denial(1)
    assert denied.denied_limit == 1 and 3590 < (denied.retry_at_ns - denied.at_ns) / 1e9 <= 3600
    api = limit(limits=["1000000/s", Limit("2/h", burst=2)])
    assert api.acquire(timeout=60) and api.acquire(timeout=60)
    for denied in (api.denial(), api.try_acquire()):
        assert denied.denied_limit == 2 and denied.denied_by == "limits"
        assert pickle.loads(pickle.dumps(denied.exception())).denied_limit == 2
        assert denied.at_ns <= time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        assert denied.retry_after == pytest.approx((denied.retry_at_ns - denied.at_ns) / 1e9)
        assert 1790 < denied.retry_after <= 1800
    # What was asked without taking has taken nothing.
    assert [one["used"] for one in api.status()["limits"]][1] == 2 and api.status()["limits"][1]["available"] == 0
    with pytest.raises(InvalidRequestError):
        api.denial(3)


def test_a_path_is_text(limit, tmp_path):
    assert limit("5/s").path == str(tmp_path / "api")
    assert KeyedRateLimit("5/s", name="keys", directory=tmp_path).path == str(tmp_path / "keys")
