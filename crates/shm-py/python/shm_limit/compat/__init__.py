"""Drop-in replacements for four Python rate limiters. A program changes one import line, and has one budget over all its
processes.

    from ratemate import RateLimit                          -> from shm_limit.compat.ratemate import RateLimit
    from flowguard import RateLimiter                       -> from shm_limit.compat.flowguard import RateLimiter
    from rate_limit.leaky_bucket import SyncLeakyBucket     -> from shm_limit.compat.algorithms import SyncLeakyBucket
    from nekkar.core.limiter import Nekkar                  -> from shm_limit.compat.nekkar import Nekkar

Names, parameters, defaults, return values and error messages are those of the originals; each module lists the differences. None
of them imports its original.

All of them take two keywords more: `name`, to share the budget with all programs that give the same name, and `directory`, where
the limiter's file is. Without a name, a limiter belongs to the program:

- A limiter that a module makes when it is imported is one limiter for all processes of the program, with every start method of
  multiprocessing: a spawned process that imports the module again gets the same one.
- A limiter that a function makes is shared with forked children and with processes to which it is passed (it can be pickled).

Its file is removed when the process that made it ends. If other processes still use it then, or if that process is killed, it is
removed when the same user makes the next limiter of that sort. `limit` of each object is the `shm_limit.RateLimit` behind it;
`Nekkar` has one for each name, `limit(name, rate_limit)`.
"""
