"""One rate limit for every process on the host.

    from shm_limit import RateLimit

    limit = RateLimit(10, per=1, name="api")   # 10 calls a second, over all processes that open "api"
    limit.wait()                               # in line with the callers of all processes
    if limit.try_acquire():                    # now or not at all
        ...
    with limit:                                # waits, and holds a permit if the limiter has some
        ...
    await limit.acquire_async()                # in a task of asyncio or trio

    @limit                                     # each call waits for its turn
    def call(): ...

    users = KeyedRateLimit(5, per=1, burst=10, name="users")
    users.key("alice").try_acquire()           # 5 calls a second for each user

Modules for HTTP: shm_limit.httpx and shm_limit.requests for clients, shm_limit.asgi and shm_limit.wsgi for servers.

Periods are numbers of seconds or timedeltas. A denial is a value that is false, and says after how long to try again
(`retry_after`). Errors are subclasses of ShmLimitError.
"""

from __future__ import annotations

from ._errors import (
    CorruptError,
    InvalidRequestError,
    LostError,
    MismatchError,
    NotFoundError,
    RateLimited,
    ShmLimitError,
)
from ._keyed import KeyedRateLimit
from ._native import Admission, Denied, Limit, LimitOfKey, Reservation
from ._rate_limit import RateLimit

__all__ = [
    "Admission",
    "CorruptError",
    "Denied",
    "InvalidRequestError",
    "KeyedRateLimit",
    "Limit",
    "LimitOfKey",
    "LostError",
    "MismatchError",
    "NotFoundError",
    "RateLimit",
    "RateLimited",
    "Reservation",
    "ShmLimitError",
]
