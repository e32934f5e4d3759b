"""Limits per key."""

import ipaddress
import pickle

import pytest

from shm_limit import KeyedRateLimit, Limit, RateLimited


def admitted(limit, times):
    return sum(bool(limit.try_acquire()) for _ in range(times))


def test_each_key_has_a_budget_of_its_own(tmp_path):
    users = KeyedRateLimit("5/h", burst=5, name="users", directory=tmp_path)
    again = pickle.loads(pickle.dumps(users))
    assert (admitted(users.key("alice"), 9), admitted(again.key("alice"), 9), admitted(again.key("bob"), 9)) == (5, 0, 5)
    denied = users.key("alice").try_acquire()
    assert denied.denied_by == "key" and "key alice" in repr(denied)
    [status] = users.key("alice").status()
    assert (status["known"], status["used"], status["available"]) == (True, 5, 0)
    assert users.key("alice").reset() and admitted(users.key("alice"), 9) == 5
    users.key("carol").charge(7)
    assert not users.key("carol").try_acquire()
    assert (["alice"], 4) <= max(users.most_denied(3), key=lambda denied: denied[1])
    assert users.table_status()["capacity"] >= 100_000


def test_callers_wait_for_a_key(tmp_path):
    users = KeyedRateLimit("10/s", name="users", directory=tmp_path, max_waiters=0)
    assert users.key("alice").wait() == 0.0 and users.key("bob").wait() == 0.0
    with pytest.raises(RateLimited) as denied:
        users.key("alice").wait()
    assert denied.value.denied_by == "line"
    users = KeyedRateLimit("10/s", name="more", directory=tmp_path)
    waited = [users.key("alice").wait() for _ in range(3)]
    assert waited[0] == 0.0 and sum(waited) > 0.15


def test_numbers_addresses_and_parts_are_keys(tmp_path):
    users = KeyedRateLimit("1/h", name="users", directory=tmp_path)
    for key, same in [
        (42, "42"),
        (10**40, str(10**40)),
        (b"raw", "raw"),
        (ipaddress.ip_address("2001:DB8:0:0::1"), "2001:db8::1"),
        (("alice", 7), ("alice", "7")),
    ]:
        assert users.key(key).try_acquire() and not users.key(same).try_acquire()
    assert users.key(("ab", "c")).try_acquire() and users.key(("a", "bc")).try_acquire()


def test_text_with_lone_surrogates_is_a_key_of_its_own(tmp_path):
    users = KeyedRateLimit("1/h", name="users", directory=tmp_path)
    keys = ["\ud800", "\ud801", "a\udc80", "a\ufffd", "a?", "\U00010000", ("\ud800", "x"), ("\ud801", "x"), ("?", "x")]
    assert [bool(users.key(key).try_acquire()) for key in keys] == [True] * len(keys)
    assert [bool(users.key(key).try_acquire()) for key in keys] == [False] * len(keys)
    assert "of 'users'" in repr(users.key("\ud800")).replace('"', "'")
    assert users.most_denied(20)


def test_limits_of_all_keys_and_several_per_key(tmp_path):
    users = KeyedRateLimit(
        limits=[Limit("9/h", burst=9), Limit("4/h", window="sliding")],
        in_all=[Limit("6/h", burst=6)],
        name="users",
        directory=tmp_path,
    )
    assert (admitted(users.key("a"), 9), admitted(users.key("b"), 9)) == (4, 2)
    assert users.key("b").try_acquire().denied_by == "limits"
    assert users.all_keys().status()["used"] == 6


def test_a_key_is_paused(tmp_path):
    users = KeyedRateLimit("5/s", burst=5, name="users", directory=tmp_path)
    users.key("alice").pause_for(30)
    assert 29 < users.key("alice").try_acquire().retry_after <= 30.2
    # A shorter pause changes nothing, a longer one extends it.
    users.key("alice").pause_for(3)
    assert 29 < users.key("alice").try_acquire().retry_after <= 30.2
    users.key("alice").pause_for(60)
    assert 59 < users.key("alice").try_acquire().retry_after <= 60.4
    assert users.key("bob").try_acquire() and users.key("alice").reset() and users.key("alice").try_acquire()
    users.key("alice").pause_for(0)
    assert users.key("alice").try_acquire()


def test_a_key_waits(tmp_path):
    users = KeyedRateLimit("20/s", name="users", directory=tmp_path)
    assert [users.key("a").acquire().waited > 0 for _ in range(3)] == [False, True, True]
    assert not users.key("a").acquire(timeout=0.001)


def test_a_used_up_limit_of_another_unit_is_no_pause(tmp_path):
    limits = [Limit("10/s", burst=10), Limit("1000/h", burst=1000, unit="tokens")]
    users = KeyedRateLimit(limits=limits, name="users", directory=tmp_path)
    alice = users.key("alice")
    assert alice.try_acquire({"calls": 1, "tokens": 1000})
    alice.pause_for(60)
    denied = alice.try_acquire({"calls": 1, "tokens": 0})
    assert denied.denied_limit == 1 and 50 < denied.retry_after <= 61
