"""A storage for the package `limits`, and for what is built on it: Flask-Limiter and slowapi.

    import shm_limit.limits   # registers the schemes

    limiter = Limiter(get_remote_address, app=app, storage_uri="shm://api")   # Flask-Limiter, slowapi
    storage = limits.storage.storage_from_string("async+shm://api")           # limits.aio

All processes on the host that use the same name share their limits, whatever starts them, and no server runs. The name is that of a
family of limiters with limits per key, one for each strategy and period, which are made when they are first used: `api.fixed-60s`,
`api.moving-3600s`, `api.sliding-1s`. `shm-limit list` and `shm-limit inspect` show them.

Options, in the URI's query or as keywords:

capacity: how many keys each limiter can count at one time (default 1,000,000; 40 bytes each, as they come).
entries: of the moving window, how many admissions it can hold at one time, of all keys (default 1,000,000; 40 bytes each).
directory: where the limiters' files are. Default: $SHM_LIMIT_DIR, or the user's own directory below /dev/shm.
mode: of new files, as octal digits ("660") or an int (0o660).
wrap_exceptions: as of every storage of `limits`.

A storage can be pickled, and survives a fork; what was counted is in shared memory. A process that is killed leaves nothing but what
it has counted. Errors are `shm_limit.ShmLimitError`s.
"""

from __future__ import annotations

from ._aio import AsyncShmStorage
from ._storage import ShmStorage

__all__ = ["AsyncShmStorage", "ShmStorage"]
