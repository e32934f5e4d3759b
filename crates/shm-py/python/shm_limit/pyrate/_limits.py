"""Which limits stand for rates and an algorithm of PyrateLimiter.

No limit admits more than its algorithm means:

- SlidingWindowLog counts in whole milliseconds, and an item still counts in the one in which `interval` ends. A greedy limit
  with a guard of one millisecond admits nothing that the algorithm would deny, however its instants are rounded to
  milliseconds.
- FixedWindow counts in windows that begin at multiples of `interval`. So do fixed windows here, by the wall clock.
- GCRA and TokenBucket are a bucket of `burst` that is refilled evenly, with `limit` in each `interval`: so is a limit with a
  burst.

An algorithm that is none of these has no equivalent, and is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Union

from pyrate_limiter import GCRA, FixedWindow, Rate, SlidingWindowLog, StateAlgorithm, TokenBucket
from pyrate_limiter.abstracts import LogAlgorithm
from pyrate_limiter.utils import enforce_rate_list

from .._native import Limit

__all__ = ["Policy", "checked", "limits_of", "limits_per_key"]

Policy = Union[LogAlgorithm, StateAlgorithm]

_MOST_LIMITS = 4
_MOST_GREEDY = 1 << 20
_DAY = 86_400_000
_SECOND = 1_000
#: What an item's timestamp leaves out: less than a millisecond.
_TICK = timedelta(milliseconds=1)


def checked(rates: Sequence[Rate]) -> list[Rate]:
    """The rates in the order of their intervals. ValueError if PyrateLimiter does not take them, or if there are too many."""
    ordered = sorted(rates, key=lambda rate: rate.interval)
    enforce_rate_list(ordered)
    if len(ordered) > _MOST_LIMITS:
        raise ValueError(f"a limiter has at most {_MOST_LIMITS} limits, and {len(ordered)} rates were given: leave some out")
    return ordered


def limits_of(rates: Sequence[Rate], algorithm: Policy) -> list[Limit]:
    """The limits of a bucket, one for each rate. TypeError for an algorithm that has no equivalent, ValueError for a rate."""
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
                raise ValueError(f"a window per key is at least a second long, not {rate}: use GCRA() or ShmBucketFactory")
    return limits_of(rates, algorithm)


def _limit(rate: Rate, algorithm: Policy) -> Limit:
    per = timedelta(milliseconds=rate.interval)
    # A subclass may decide otherwise than the class whose decisions are known here.
    kind = type(algorithm)
    if kind is SlidingWindowLog:
        if rate.limit > _MOST_GREEDY:
            raise ValueError(
                f"a SlidingWindowLog keeps each unit in shared memory, at most {_MOST_GREEDY} of them, and {rate} has more: "
                "use GCRA() or FixedWindow()"
            )
        return Limit(rate.limit, per, greedy=True, guard=_TICK)
    if kind is FixedWindow:
        if rate.interval > _DAY:
            raise ValueError(
                f"a FixedWindow is at most a day long here, and {rate} is longer: use SlidingWindowLog() or GCRA(), or a "
                'RateLimit with window="calendar" for weeks and months'
            )
        return Limit(rate.limit, per, window="fixed")
    if kind is GCRA or kind is TokenBucket:
        return Limit(rate.limit, per, burst=rate.burst)
    raise TypeError(
        f"{kind.__name__} decides in a way of its own, which has no equivalent in shared memory: use SlidingWindowLog, "
        "FixedWindow, GCRA or TokenBucket"
    )
