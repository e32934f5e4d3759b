"""A drop-in for flowguard 0.1.3: `from shm_limit.compat.flowguard import RateLimiter, AsyncRateLimiter`.

What differs from flowguard:

- The limits hold over all processes, and no window admits more than its quota, wherever it begins. flowguard counts in windows of
  the clock, and admits twice as much across the end of one. The quota is still delivered in full: `sec=5` admits 5 at once, and
  each of them is available again a second after it was taken.
- To release more often than was acquired does nothing: it neither fails nor takes a permit from anyone.
- An exception in a decorated function, and a cancelled task, leave no permit taken. What a killed process held is free.
- `await AsyncRateLimiter(…).acquire()` returns whether it acquired. Decorated functions keep their name, and a `RateLimiter` can
  decorate coroutine functions, which then wait without a thread.
- A permit belongs to the process that acquired it: a forked child's `release()` does nothing for its parent's.
- `wait_time()` says when all limits admit a call (flowguard: when the first of those that are used up does), in either class
  without regard to max_burst, since nobody knows when a permit is released.
- Callers are served in order of arrival, and waiting uses no CPU.
- Quotas are at most 1,048,576, windows at most 366 days, and max_burst at most 65,535: beyond that is a `ValueError`.
- At most 128 processes use a limiter at one time.
"""

from __future__ import annotations

from ._asynchronous import AsyncRateLimiter
from ._synchronous import RateLimiter

__all__ = ["AsyncRateLimiter", "RateLimiter"]
