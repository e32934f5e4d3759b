"""Which limits stand for rates and an algorithm of PyrateLimiter.

A limit here never admits what the algorithm would have denied at these instants:

- SlidingWindowLog counts an item until `interval` milliseconds have passed and one more has begun. A greedy limit with a guard of one
  millisecond does the same to the nanosecond.
- FixedWindow counts in windows that begin at multiples of `interval`. By the wall clock, so do windows since 1970.
- GCRA and TokenBucket are a bucket of `burst` that is refilled evenly, with `limit` in each `interval`.

Whatever else an algorithm may be has no equivalent, and is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Union

from pyrate_limiter import GCRA, FixedWindow, Rate, SlidingWindowLog, StateAlgorithm, TokenBucket
from pyrate_limiter.abstracts import LogAlgorithm
from pyrate_limiter.utils import enforce_rate_list

from .._native import Limit

__all__ = ["Policy", "checked", "limits_of", "limits_per_key", "max_weight"]

Policy = Union[LogAlgorithm, StateAlgorithm]

_MOST_LIMITS = 4
_MOST_GREEDY = 1 << 20
_DAY = 86_400_000
_SECOND = 1_000
#: What an item's timestamp leaves out: less than a millisecond.
_TICK = timedelta(milliseconds=1)


def checked(rates: Sequence[Rate]) -> list[Rate]:
    """The rates in the order of their intervals. ValueError if PyrateLimiter does not take them, or if they are more than four."""
    ordered = sorted(rates, key=lambda rate: rate.interval)
    enforce_rate_list(ordered)
    if len(ordered) > _MOST_LIMITS:
        raise ValueError(f"a limiter has at most {_MOST_LIMITS} limits, and {len(ordered)} rates were given: leave out the least strict")
    return ordered


def limits_of(rates: Sequence[Rate], algorithm: Policy) -> list[Limit]:
    """The limits of a bucket, one for each rate. TypeError for an algorithm that has no equivalent, ValueError for such a rate."""
    return [_limit(rate, algorithm) for rate in rates]


def limits_per_key(rates: Sequence[Rate], algorithm: Policy) -> list[Limit]:
    """The same for the limits of each key, which keep no log."""
    if type(algorithm) is SlidingWindowLog:
        raise TypeError(
            "SlidingWindowLog keeps a log for each name, which a table of keys has no room for: use GCRA() or FixedWindow(), or "
            "ShmBucketFactory, which has a file for each name"
        )
    if isinstance(algorithm, FixedWindow):
        for rate in rates:
            if rate.interval < _SECOND:
                raise ValueError(f"a window per key is at least a second long, and {rate} is shorter: use GCRA() or ShmBucketFactory")
    return limits_of(rates, algorithm)


def max_weight(algorithm: Policy, rate: Rate) -> int:
    """The largest weight that this rate ever admits."""
    return algorithm.max_weight(rate)


def _limit(rate: Rate, algorithm: Policy) -> Limit:
    per = timedelta(milliseconds=rate.interval)
    # A subclass may decide otherwise than the class whose decisions are known here.
    kind = type(algorithm)
    if kind is SlidingWindowLog:
        if rate.limit > _MOST_GREEDY:
            raise ValueError(
                f"a SlidingWindowLog here has a limit of at most {_MOST_GREEDY}, since it keeps each unit, and {rate} has more: "
                "use GCRA() or FixedWindow()"
            )
        return Limit(rate.limit, per, greedy=True, guard=_TICK)
    if kind is FixedWindow:
        if rate.interval > _DAY:
            raise ValueError(
                f"a FixedWindow here is at most a day long, and {rate} is longer: use SlidingWindowLog() or GCRA(), or a "
                'RateLimit with window="calendar" for weeks and months'
            )
        return Limit(rate.limit, per, window="fixed")
    if kind is GCRA or kind is TokenBucket:
        return Limit(rate.limit, per, burst=rate.burst)
    raise TypeError(
        f"{kind.__name__} decides in a way of its own, which shared memory does not have: use SlidingWindowLog, FixedWindow, GCRA or "
        "TokenBucket"
    )
