"""shm_limit.compat.ratemate: what ratemate does, and what it does wrong."""

import os
import pickle
import signal
import time
from datetime import datetime, timedelta, timezone

import pytest

from shm_limit import MismatchError
from shm_limit.compat import ratemate
from shm_limit.compat.ratemate import RateLimit


def waits(limit, times):
    return [limit.wait() for _ in range(times)]


def raised(function, *args, **kwargs):
    try:
        function(*args, **kwargs)
    except Exception as error:
        return type(error)
    return None


@pytest.mark.parametrize(
    "arguments",
    [
        dict(max_count=10, per=1),
        dict(max_count=3, per=0.3),
        dict(max_count=0.5, per=0.05),
        dict(max_count=3, per=0.3, greedy=True),
        dict(max_count=5, per=0.2, greedy=True),
    ],
)
def test_the_same_calls_wait_as_long_as_in_ratemate(original, arguments):
    for last in (False, False, True):
        theirs, ours = original("ratemate").RateLimit(**arguments), RateLimit(**arguments)
        compare_attributes(ours, theirs)
        expected, got = waits(theirs, 7), waits(ours, 7)
        assert ours.count == theirs.count == 7 and not ours.is_first_call()
        assert all(isinstance(seconds, float) for seconds in got)
        # They differ by what the system lets a process oversleep, so a busy machine gets three attempts.
        if last or got == pytest.approx(expected, abs=0.02):
            assert got == pytest.approx(expected, abs=0.02)
            return


def compare_attributes(ours, theirs):
    for attribute in ("greedy", "max_count", "per", "per_timedelta", "max_rate", "min_interval", "min_interval_timedelta"):
        assert getattr(ours, attribute) == getattr(theirs, attribute), attribute
    assert ours.is_first_call() and theirs.is_first_call() and ours.count == theirs.count == 0


def test_defaults_and_errors_are_those_of_ratemate(original):
    theirs = original("ratemate").RateLimit
    for arguments in [(0,), (1, 0), ("x",), (1, "y")]:
        assert raised(RateLimit, *arguments) is raised(theirs, *arguments), arguments
    one, other = RateLimit(), theirs()
    assert (one.max_count, one.per, one.greedy) == (other.max_count, other.per, other.greedy) == (1, 1, False)
    now = datetime.now(timezone.utc).replace(tzinfo=None)
    assert one.wait_until(now - timedelta(seconds=5)) == other.wait_until(now - timedelta(seconds=5)) == 0.0


def test_wait_until_sleeps_until_a_time():
    limit = RateLimit()
    for zone in (None, timezone.utc, timezone(timedelta(hours=5))):
        until = datetime.now(zone or timezone.utc) + timedelta(seconds=0.1)
        began = time.monotonic()
        assert 0 < limit.wait_until(until if zone else until.replace(tzinfo=None)) <= 0.1
        assert time.monotonic() - began >= 0.09


# What ratemate does wrong.


def test_greedy_with_one_call_works():
    limit = RateLimit(1, 0.2, greedy=True)
    began = time.monotonic()
    assert limit.wait() == 0.0
    assert limit.wait() > 0 and limit.wait() > 0
    assert time.monotonic() - began >= 0.39999


def test_greedy_does_not_throttle_slow_callers():
    # ratemate's window begins with the last call of a batch: the fourth call would wait for 0.2 s.
    limit = RateLimit(3, 0.3, greedy=True)
    for _ in range(3):
        limit.wait()
        time.sleep(0.11)
    assert limit.wait() < 0.15
    assert RateLimit(3, 3600, greedy=True).wait() == 0.0


def test_greedy_keeps_the_limit_in_any_window():
    limit = RateLimit(4, 0.2, greedy=True)
    calls = []
    for _ in range(13):
        before = time.monotonic()
        limit.wait()
        calls.append((before, time.monotonic()))
        time.sleep(0.01)
    assert all(after - before >= 0.19999 for (before, _), (_, after) in zip(calls, calls[4:]))


def test_a_process_that_is_killed_in_a_wait_hangs_no_other(forked):
    limit = RateLimit(1, 0.5)
    limit.wait()
    victims = [forked(limit.wait) for _ in range(2)]
    deadline = time.monotonic() + 30
    while limit.limit.status()["queued"] < 1 and time.monotonic() < deadline:
        time.sleep(0.005)
    for victim in victims:
        os.kill(victim, signal.SIGKILL)
    began = time.monotonic()
    limit.wait()
    assert time.monotonic() - began < 10


def test_a_wait_does_not_look_at_the_clock_on_the_wall(monkeypatch):
    def looked_at(*args):
        raise AssertionError("it looked at the wall clock")

    for name in ("time", "time_ns", "localtime", "gmtime", "mktime"):
        monkeypatch.setattr(time, name, looked_at)
    monkeypatch.setattr(ratemate, "datetime", None)
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        for greedy in (False, True):
            limit = RateLimit(1, 0.05, greedy=greedy)
            assert [limit.wait() > 0 for _ in range(3)] == [False, True, True]
    finally:
        monkeypatch.undo()
        time.tzset()


def test_it_can_be_pickled():
    limit = RateLimit(2, 3600, greedy=True)
    copy = pickle.loads(pickle.dumps(limit))
    assert limit.wait() == 0.0 and copy.wait() == 0.0
    assert limit.count == copy.count == 2 and (copy.max_count, copy.per, copy.greedy) == (2, 3600, True)
    assert not limit.limit.try_acquire()


def test_a_name_is_shared_by_unrelated_programs(start):
    code = "from shm_limit.compat.ratemate import RateLimit; r = RateLimit(2, 3600, True, name='api'); r.wait(); print(r.count)"
    counts = [start("-c", code).communicate()[0].strip() for _ in range(2)]
    assert counts == ["1", "2"]
    assert not RateLimit(2, 3600, True, name="api").limit.try_acquire()
    with pytest.raises(MismatchError):
        RateLimit(3, 3600, True, name="api")


def test_what_is_not_there_says_so():
    limit = RateLimit()
    with pytest.raises(AttributeError):
        limit.count = 5
    for name in ("dt_previous_call", "dt_batch_start", "batch_count"):
        assert not hasattr(limit, name)
