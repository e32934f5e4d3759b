"""Named limits of calls a minute."""

from __future__ import annotations

import hashlib
import os
import warnings
from typing import Any, Callable, Optional, TypeVar, Union
from urllib.parse import quote

from ..._native import Limit
from ..._rate_limit import RateLimit
from .._opening import open_limit

Function = TypeVar("Function", bound=Callable[..., Any])

#: In seconds: what rate_limit counts in.
_MINUTE = 60

#: A limiter's name begins with it, so that other limiters are not meant.
_PREFIX = "nekkar-"
#: The longest name of a limiter, in bytes.
_LONGEST = 200


class Nekkar:
    """Limits functions by name, for all processes of this host.

        limiter = Nekkar()

        @limiter(name="orders", rate_limit=100)
        def get_orders(): ...

    cache, auto_race_condition_resistance: accepted and not used. With a cache it warns, because limits do not hold across hosts.
    directory: where the limiters' files are. Default: $SHM_LIMIT_DIR, or the user's own directory below /dev/shm.
    on_mismatch: if a name exists with another rate_limit or interval: "error", "keep" or "change".
    """

    def __init__(
        self,
        cache: Optional[object] = None,
        auto_race_condition_resistance: bool = True,
        *,
        directory: Union[str, os.PathLike[str], None] = None,
        on_mismatch: str = "error",
    ) -> None:
        del auto_race_condition_resistance
        self._directory = directory
        self._on_mismatch = on_mismatch
        if cache is not None:
            warnings.warn(
                f"shm_limit.compat.nekkar does not use the cache ({type(cache).__name__}): limits hold over all processes of "
                "this host, not across hosts. If all your executors run on this host, leave the cache out: Nekkar(). If not, stay "
                "with nekkar.",
                RuntimeWarning,
                stacklevel=2,
            )

    def __call__(self, name: str, rate_limit: int, interval: Optional[int] = None) -> Callable[[Function], Function]:
        """A decorator: each call of the function waits until it is within the limit.

        name: all functions with this name, in all processes of this user, share the limit.
        rate_limit: at most so many calls in any 60 seconds.
        interval: the least time between two calls, in milliseconds; 0 for none. Default: calls are evenly spaced over the minute.

        Errors: `MismatchError` if the name exists with other limits.
        """
        return self.limit(name, rate_limit, interval)

    def limit(self, name: str, rate_limit: int, interval: Optional[int] = None) -> RateLimit:
        """The limiter of this name, with which a program can pause, change or inspect it."""
        limits = [Limit(rate_limit, _MINUTE, greedy=True)]
        milliseconds = int(1000 * _MINUTE / rate_limit) if interval is None else interval
        if milliseconds > 0:
            limits.append(Limit(1, milliseconds / 1000, burst=1))
        return open_limit(limits, name=_name(name), directory=self._directory, on_mismatch=self._on_mismatch)


def _name(name: str) -> str:
    """The limiter's name: readable if that is possible."""
    quoted = _PREFIX + quote(name, safe=" @:+=,~")
    if len(quoted) <= _LONGEST:
        return quoted
    digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()
    return f"{quoted[: _LONGEST - len(digest) - 1]}-{digest}"
