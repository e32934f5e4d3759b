"""A drop-in for nekkar 0.0.1.

    from nekkar.core.limiter import Nekkar           -> from shm_limit.compat.nekkar import Nekkar
    from nekkar.core.cache import MemcachedCache     -> from shm_limit.compat.nekkar import MemcachedCache

What differs from nekkar:

- **Limits hold over all processes of this host, and not across hosts.** The state is in shared memory, and no cache is used: the
  cache may be left out, and if one is given, `Nekkar` warns. Executors on several hosts that share a memcached need a store that
  they share.
- No process holds a lock, so none can be stalled with it, or have it stolen. A name may contain spaces, and any other character.
- A wait uses no CPU, and ends in order of arrival; `RetryMaxCountReached` is never raised.
- The history is complete for a rate_limit of up to 1,048,576, and outlives every process: until the host reboots, or an operator
  resets it.
- Two functions with the same name have the same rate_limit and interval; otherwise the second is a `MismatchError`. (nekkar
  counts their calls together, and each function by its own limit.)
- Decorated functions keep their name, and coroutine functions wait without a thread.
"""

from __future__ import annotations

from ._cache import BaseCache, MemcachedCache
from ._exceptions import BootesException, RetryMaxCountReached
from ._limiter import Nekkar

__all__ = ["BaseCache", "BootesException", "MemcachedCache", "Nekkar", "RetryMaxCountReached"]
