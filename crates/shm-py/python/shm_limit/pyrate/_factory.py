"""A bucket for each name of an item, each with a file of its own."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from typing import Any, Optional, Union

from pyrate_limiter import AbstractBucket, BucketFactory, Rate, RateItem, SlidingWindowLog

from ._bucket import ShmBucket
from ._clock import boot_clock
from ._limits import Policy, checked, limits_of

__all__ = ["ShmBucketFactory"]

_PLAIN = re.compile(r"[A-Za-z0-9_@+=-]{1,80}")
_OTHER = re.compile(r"[^A-Za-z0-9_@+=-]")


class ShmBucketFactory(BucketFactory):
    """A bucket for each name of an item: `limiter.try_acquire("alice")` takes from alice's budget, over all processes.

    rates, algorithm: of each bucket, as for ShmBucket.
    name: what the names of the limiters begin with: alice's is NAME.alice (see `limiter_name`).
    max_open: how many handles this process keeps open; for another, the one that was used longest ago is dropped. To open one
    again takes some 100 µs, and loses nothing but what `peek` remembers.
    The other parameters are those of ShmBucket.

    Each name has a file, which stays until it is removed (`shm-limit remove`) or the host is restarted, also when no process
    uses it: 239,040 bytes with a SlidingWindowLog, 85,440 with seats=16. So this is for names that the program itself gives,
    and not for what clients choose; for those there is ShmKeyBucketFactory, with one file of a fixed size.

    It starts no thread: these buckets have nothing to leak. It can be pickled, and works after a fork.
    """

    def __init__(
        self,
        rates: Sequence[Rate],
        algorithm: Optional[Policy] = None,
        *,
        name: str,
        max_open: int = 256,
        directory: Union[str, os.PathLike[str], None] = None,
        mode: Optional[int] = None,
        seats: Optional[int] = None,
        on_mismatch: str = "error",
        on_lost: str = "reopen",
    ) -> None:
        if max_open < 1:
            raise ValueError(f"max_open must be at least 1, not {max_open}")
        self._open: dict[str, ShmBucket] = {}
        self._algorithm: Policy = SlidingWindowLog() if algorithm is None else algorithm
        self._rates = checked(rates)
        self._name = name
        self._max_open = max_open
        self._settings: dict[str, Any] = dict(
            directory=directory, mode=mode, seats=seats, on_mismatch=on_mismatch, on_lost=on_lost
        )
        # What cannot be had is an error here, and not with the first item.
        limits_of(self._rates, self._algorithm)

    def limiter_name(self, item_name: str) -> str:
        """The name of the limiter for items of this name: for `shm-limit inspect`.

        A name of letters, digits and the signs _ @ + = - stands there as it is; any other by its beginning and a digest.
        """
        if _PLAIN.fullmatch(item_name):
            return f"{self._name}.{item_name}"
        digest = hashlib.blake2b(item_name.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
        return f"{self._name}.~{_OTHER.sub('_', item_name[:32])}-{digest}"

    def wrap_item(self, name: str, weight: int = 1) -> RateItem:
        return RateItem(name, boot_clock.now(), weight=weight)

    def get(self, item: RateItem) -> ShmBucket:
        """The bucket for the item's name: a handle that is open, or one that is opened now."""
        # Threads may come here together. Each step is atomic; at worst, two of them open a handle of the same limiter.
        bucket = self._open.pop(item.name, None)
        if bucket is None:
            bucket = ShmBucket(self._rates, self._algorithm, name=self.limiter_name(item.name), **self._settings)
        self._open[item.name] = bucket
        while len(self._open) > self._max_open:
            # The first one is the one used longest ago. Whoever still has it may go on: it is not closed, but dropped.
            for eldest in tuple(self._open)[:1]:
                self._open.pop(eldest, None)
        return bucket

    def get_buckets(self) -> list[AbstractBucket]:
        """The buckets whose handles are open in this process."""
        return list(getattr(self, "_open", {}).values())

    def dispose(self, bucket: Union[int, AbstractBucket]) -> bool:
        """Drops the handle of a bucket, or of the one with this id. The budget stays as it is."""
        wanted = bucket if isinstance(bucket, int) else id(bucket)
        names = [name for name, one in tuple(self._open.items()) if id(one) == wanted]
        return any([self._open.pop(name, None) is not None for name in names])

    def close(self) -> None:
        """Closes all handles. The budgets stay as they are."""
        super().close()
        self._open.clear()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}
