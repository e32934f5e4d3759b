"""What all algorithms are: one bucket, whose level sinks evenly."""

from __future__ import annotations

import operator
import os
from typing import Any, Optional, Union

from ..._native import Admission, Denied, Limit
from ..._rate_limit import RateLimit
from .._blocks import Blocks
from .._opening import open_limit
from ._config import BucketConfig
from ._estimates import Estimates

#: What is counted. A limiter of units gives back what was too much also while callers wait, which one of calls does not.
_UNIT = "units"


def cost(amount: int) -> dict[str, int]:
    """What a request for this amount costs."""
    return {_UNIT: amount}


class Bucket:
    """A bucket of which amounts can be acquired.

    bucket_config: the capacity, and the seconds in which that much flows. Default: 10 in 1 second.
    max_concurrent: how many `with` and `acquire_ctx` blocks may run at one time, in all processes. Default: any number.
    name: shares the bucket with all programs of this user that give this name (and directory). Default: the program has its own.
    on_mismatch: if that name exists with another capacity: "error", "keep" or "change".

    Errors: `ValueError` for a capacity that is not a whole number, or a rate of more than one per nanosecond; `MismatchError`.
    """

    def __init__(
        self,
        bucket_config: Optional[BucketConfig] = None,
        max_concurrent: Optional[int] = None,
        *,
        name: Optional[str] = None,
        directory: Union[str, os.PathLike[str], None] = None,
        on_mismatch: str = "error",
    ) -> None:
        config = BucketConfig() if bucket_config is None else bucket_config
        self.capacity = _whole("capacity", config.capacity)
        self.seconds = config.seconds
        #: How much flows in a second.
        self.leak_rate: float = self.capacity / self.seconds
        self.fill_rate = self.leak_rate
        #: In how many seconds 1 flows.
        self.T = self.seconds / self.capacity
        self.max_concurrent = max_concurrent
        limit = Limit(self.capacity, self.seconds, burst=self.capacity, unit=_UNIT)
        self._limit = open_limit([limit], name=name, directory=directory, on_mismatch=on_mismatch)
        # The permits are apart from the bucket: `acquire` needs none, so a block may acquire more.
        self._permits: Optional[RateLimit] = None
        if max_concurrent is not None:
            blocks = None if name is None else f"{name}-blocks"
            self._permits = open_limit([], permits=max_concurrent, name=blocks, directory=directory, on_mismatch=on_mismatch)
        self._begin()

    def _begin(self) -> None:
        """What each process has for itself."""
        self._estimates = Estimates()
        self._blocks = None if self._permits is None else Blocks(self._permits)

    @property
    def limit(self) -> RateLimit:
        """The limiter behind it, with which a program can pause, change or inspect it."""
        return self._limit

    def _amount(self, amount: Union[int, float]) -> int:
        if amount > self.capacity:
            raise ValueError(f"Cannot acquire more than the capacity: {self.capacity}")
        if amount < 0:
            raise ValueError(f"Cannot acquire less than 0 amount with amount: {amount}")
        return _whole("amount", amount)

    def _admitted(self, outcome: Union[Admission, Denied], amount: int, timeout: Optional[float]) -> None:
        if isinstance(outcome, Admission):
            # With on_mismatch="keep" the limiter may have permits. Nothing ends an `acquire`, so it must not hold one.
            outcome.release()
            self._estimates.add(amount, outcome)
        elif timeout is None:
            raise outcome.exception()
        else:
            raise self._timed_out(amount, timeout)

    def _timed_out(self, amount: Union[int, float], timeout: Optional[float]) -> TimeoutError:
        return TimeoutError(f"Acquire timed out after {timeout} seconds for amount={amount}")

    def _reconcile(self, actual: Union[int, float], estimated: Union[int, float]) -> None:
        actual, estimated = _whole("actual", actual), _whole("estimated", estimated)
        if actual < 0 or estimated < 0:
            raise ValueError(f"amounts must not be negative: actual={actual}, estimated={estimated}")
        if actual > estimated:
            self._limit.charge(cost(actual - estimated))
        elif actual < estimated:
            for admission, used in self._estimates.take(actual, estimated, self._limit.name):
                admission.settle(cost(used))

    @property
    def _bucket_level(self) -> int:
        """How full it is now, rounded up."""
        return self._limit.status()["used"]

    def _leak(self) -> None:
        """Nothing is left to do: the level is always that of now."""

    def __getstate__(self) -> dict[str, Any]:
        """By reference: a process that unpickles it opens the same bucket."""
        return {key: value for key, value in self.__dict__.items() if key not in ("_estimates", "_blocks")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._begin()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._limit.name!r}: {self._limit.policy()}>"


class TokenBucket:
    """What differs in a token bucket: its level is what is left."""

    _limit: RateLimit

    @property
    def _bucket_level(self) -> int:
        """How many tokens there are now, rounded down."""
        return self._limit.status()["limits"][0]["available"]

    def _fill(self) -> None:
        """Nothing is left to do: the level is always that of now."""


def _whole(what: str, value: Union[int, float]) -> int:
    if isinstance(value, float):
        if not value.is_integer():
            raise ValueError(f"{what} must be a whole number, and is {value}")
        return int(value)
    return operator.index(value)
