"""A drop-in for the library "Rate Limiting Algorithms" (`rate_limit`, later `limitor`): leaky bucket, token bucket, and the
generic cell rate algorithm as virtual scheduling and as continuous leaky bucket, for threads and for tasks.

    from rate_limit.leaky_bucket import SyncTokenBucket, TokenBucketConfig
    -> from shm_limit.compat.algorithms import SyncTokenBucket, TokenBucketConfig

All four are names of one algorithm here, so they give identical results: 3 per 1.5 seconds admits calls at 0, 0, 0, 0.5, 1.0,
… s.

What differs from the library:

- The limits hold over all processes and threads, and callers are served in order of arrival.
- `acquire(n)` checks that there is room for n with all algorithms. Negative amounts are a `ValueError`; 0 takes nothing.
- The forms that its README announces exist: `Async…` of each class; `timeout`; `reconcile(actual, estimated)` for LLM tokens, of
  which the estimate was acquired; `acquire_ctx(amount)`; and `max_concurrent`, of `with` and `acquire_ctx` blocks.
- `acquire(…, timeout=…)` raises `TimeoutError` as soon as it is known that the turn would come too late.
- At most 128 processes use a bucket at one time.
- Capacity and amounts are whole numbers. `_bucket_level` is what counts now, rounded up to one (of a token bucket, down).
"""

from __future__ import annotations

from ._asynchronous import (
    AsyncLeakyBucket,
    AsyncLeakyBucketGCRA,
    AsyncTokenBucket,
    AsyncVirtualSchedulingGCRA,
)
from ._config import BucketConfig, GCRAConfig, LeakyBucketConfig, TokenBucketConfig
from ._synchronous import (
    SyncLeakyBucket,
    SyncLeakyBucketGCRA,
    SyncTokenBucket,
    SyncVirtualSchedulingGCRA,
)

__all__ = [
    "AsyncLeakyBucket",
    "AsyncLeakyBucketGCRA",
    "AsyncTokenBucket",
    "AsyncVirtualSchedulingGCRA",
    "BucketConfig",
    "GCRAConfig",
    "LeakyBucketConfig",
    "SyncLeakyBucket",
    "SyncLeakyBucketGCRA",
    "SyncTokenBucket",
    "SyncVirtualSchedulingGCRA",
    "TokenBucketConfig",
]
