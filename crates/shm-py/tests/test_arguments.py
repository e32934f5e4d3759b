"""Wrong arguments are exceptions that say what is wrong."""

import math
from datetime import timedelta
from decimal import Decimal

import pytest

import shm_limit
from shm_limit import KeyedRateLimit, Limit, RateLimit


@pytest.mark.parametrize(
    "n, error",
    [
        (0, ValueError),
        (-1, ValueError),
        (10**30, ValueError),
        (True, TypeError),
        (1.0, TypeError),
        ("1", TypeError),
        (Decimal(1), TypeError),
        ({}, ValueError),
        ({"tokens": -1}, ValueError),
        ({"tokens": True}, TypeError),
        ({"two words": 1}, ValueError),
        ([1], TypeError),
    ],
)
def test_costs(limit, n, error):
    api = limit("5/s")
    for act in (api.try_acquire, api.acquire, api.charge, api.reserve):
        with pytest.raises(error):
            act(n)
    assert api.status()["used"] == 0


@pytest.mark.parametrize("per", [0, -1, math.nan, math.inf, True, "1", Decimal(1), 10**30, timedelta(seconds=-1)])
def test_periods(limit, per):
    with pytest.raises((TypeError, ValueError)):
        limit(1, per=per)


@pytest.mark.parametrize("timeout", [-1, math.nan, True, "1", Decimal(1), timedelta(seconds=-1)])
def test_timeouts(limit, timeout):
    with pytest.raises((TypeError, ValueError)):
        limit("5/s").acquire(timeout=timeout)


def test_periods_are_seconds_or_timedeltas(limit):
    for per in (0.5, timedelta(milliseconds=500)):
        assert "2/500ms" in limit(2, per=per, name="half").policy()
    assert limit("100/10s", name="text").policy().startswith("100/10s")
    with pytest.raises(ValueError, match="leave per out"):
        limit("100/10s", per=1, name="text")


def test_what_can_never_succeed_says_so(limit):
    with pytest.raises(shm_limit.InvalidRequestError, match="maximum is 1"):
        limit("5/s").try_acquire(2)
    for wrong in (lambda: limit("x"), lambda: limit(1, name="a/b"), lambda: limit(1, window="round")):
        with pytest.raises(ValueError):
            wrong()
    with pytest.raises(TypeError, match="limits has all limits"):
        RateLimit(5, limits=["5/s"])
    with pytest.raises(ValueError, match="greedy or has windows"):
        Limit(5, greedy=True, window="fixed")
    with pytest.raises(ValueError):
        RateLimit(limits=[], name="none")


@pytest.mark.parametrize("key", [None, True, 1.5, (), [1], {"a": 1}])
def test_keys(tmp_path, key):
    users = KeyedRateLimit("5/s", name="users", directory=tmp_path)
    with pytest.raises((TypeError, ValueError)):
        users.key(key)
