"""A bucket for each name of an item, all in the table of one `KeyedRateLimit`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Optional, Union

from pyrate_limiter import AbstractBucket, BucketFactory, Rate, RateItem, StateAlgorithm, WallClock

from .._errors import ShmLimitError
from .._keyed import KeyedRateLimit
from .._native import Admission, Denied, LimitOfKey
from ._clock import boot_clock
from ._limits import Policy, checked, limits_per_key
from ._shared import SharedBucket

__all__ = ["ShmKeyBucket", "ShmKeyBucketFactory"]

_wall_clock = WallClock()


class ShmKeyBucket(SharedBucket):
    """The bucket of one key. The factory makes one for each request: it is no more than a reference."""

    def __init__(self, rates: list[Rate], algorithm: Policy, key: LimitOfKey) -> None:
        super().__init__()
        self._set_algorithm(algorithm)
        self._rates = rates
        self._key = key

    @property
    def rates(self) -> list[Rate]:
        """The rates of each key. They can be changed for all keys, by `ShmKeyBucketFactory.limit`, and not for one."""
        return self._rates

    @rates.setter
    def rates(self, value: Sequence[Rate]) -> None:
        raise ShmLimitError("the rates of one key cannot be changed; change the rate of all keys: factory.limit.change(…)")

    def _take(self, weight: int) -> Union[Admission, Denied]:
        return self._key.try_acquire(weight)

    def _wait(self, weight: int) -> int:
        """For a bucket, too long by less than the time in which one unit is refilled: how much of a unit is used is not known."""
        waits = [0]
        for rate, status in zip(self._rates, self._key.status()):
            missing = weight - status["available"]
            if missing <= 0:
                continue
            if isinstance(self._algorithm, StateAlgorithm):
                waits.append(-(-missing * rate.interval // rate.limit))
            else:
                # The end of the window, and the millisecond that the clock has left out.
                waits.append(self._algorithm.retry_after(rate, _wall_clock.now(), None) + 1)
        return max(waits)

    def flush(self) -> None:
        """Resets the usage of the key to zero, for all processes."""
        self._key.reset()
        self._forget()

    def count(self) -> int:
        """How many units the key has used, over all processes: of the rate of which most are used."""
        return max(status["used"] for status in self._key.status())

    def peek(self, index: int) -> Optional[RateItem]:
        """None, as of StateBucket: a key has no log of items."""
        return None


class ShmKeyBucketFactory(BucketFactory):
    """A budget for each name of an item, for millions of names: users, addresses, tokens. All are in one file of a fixed size.

    rates: of each key.
    algorithm: GCRA() or TokenBucket(), a bucket of `burst` that is refilled evenly; or FixedWindow(), with windows of a second
    to a day. A key has no log, so SlidingWindowLog is refused: use ShmBucketFactory for it.
    name: the limiter's name.
    capacity: how many keys can owe something at one time; the table takes 40 bytes for each of them and each rate. With more keys
    than that, no key gets more than its limit, and new keys begin to be denied.
    The other parameters are those of KeyedRateLimit.

    The factory keeps no bucket: `get` makes one for each request. So memory does not grow with the names, `get_buckets()` is
    empty, and nothing needs to be disposed of. It starts no thread. It can be pickled (by reference), and works after a fork.
    """

    def __init__(
        self,
        rates: Sequence[Rate],
        algorithm: Policy,
        *,
        name: str,
        capacity: Optional[int] = None,
        refuse_new_keys: bool = False,
        hide_names: bool = False,
        directory: Union[str, os.PathLike[str], None] = None,
        mode: Optional[int] = None,
        seats: Optional[int] = None,
        on_mismatch: str = "error",
        on_lost: str = "reopen",
    ) -> None:
        self._rates = checked(rates)
        self._algorithm = algorithm
        self._name = name
        self._limit: Optional[KeyedRateLimit] = KeyedRateLimit(
            limits=limits_per_key(self._rates, algorithm),
            name=name,
            capacity=capacity,
            refuse_new_keys=refuse_new_keys,
            hide_names=hide_names,
            directory=directory,
            mode=mode,
            seats=seats,
            on_mismatch=on_mismatch,
            on_lost=on_lost,
        )

    @property
    def limit(self) -> KeyedRateLimit:
        """The limiter itself: to pause it, to see which keys are denied most, or to change its rate. Error after `close`."""
        if self._limit is None:
            raise ShmLimitError(f"the factory of limiter {self._name!r} is closed: make another ShmKeyBucketFactory of this name")
        return self._limit

    def wrap_item(self, name: str, weight: int = 1) -> RateItem:
        return RateItem(name, boot_clock.now(), weight=weight)

    def get(self, item: RateItem) -> ShmKeyBucket:
        """The bucket of the item's name."""
        return ShmKeyBucket(self._rates, self._algorithm, self.limit.key(item.name))

    def get_buckets(self) -> list[AbstractBucket]:
        """Empty: no bucket is kept."""
        return []

    def close(self) -> None:
        """Closes this handle; other processes go on. To close a second time does nothing."""
        super().close()
        self._limit = None

    def __getstate__(self) -> dict[str, Any]:
        return dict(self.__dict__)
