"""Buckets of PyrateLimiter 4 in shared memory: one budget for all processes of the host.

    from pyrate_limiter import Limiter, Rate
    from shm_limit.pyrate import ShmBucket

    limiter = Limiter(ShmBucket([Rate(10, 1000)], name="api"))   # 10 a second, over all processes that open "api"
    limiter.try_acquire("job")

ShmBucket: one budget. It takes the place of MultiprocessBucket, SQLiteBucket, RedisBucket and StateBucket.
ShmBucketFactory: a budget for each name of an item, each in a file of its own. All algorithms; for up to thousands of names.
ShmKeyBucketFactory: a budget for each name of an item, all in one file. GCRA, TokenBucket and FixedWindow; for millions of names.

A put is one decision in shared memory, without a lock and without a round trip. A process that is stopped or killed at any point
delays no other, and takes nothing with it but what it was admitted for. All buckets and factories work in threads, after a
fork, in spawned processes, and when they are pickled (by reference).

The clock is that of the host (`time.CLOCK_BOOTTIME`), which all processes share: a put counts at the instant at which it is
made. It sets the item's timestamp to that instant; a timestamp from another clock is not used.
"""

from __future__ import annotations

try:
    import pyrate_limiter as _pyrate_limiter  # noqa: F401
except ImportError:
    raise ImportError("shm_limit.pyrate needs PyrateLimiter 4.5 or later: pip install 'shm-limit[pyrate]'")

from ._bucket import ShmBucket
from ._clock import BootClock
from ._factory import ShmBucketFactory
from ._keyed import ShmKeyBucket, ShmKeyBucketFactory

__all__ = ["BootClock", "ShmBucket", "ShmBucketFactory", "ShmKeyBucket", "ShmKeyBucketFactory"]
