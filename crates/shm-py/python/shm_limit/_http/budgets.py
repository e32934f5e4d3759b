"""Which budget a request takes from: that of a limiter, or that of one of its keys."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import Callable, Generic, Optional, TypeVar, Union

from .._native import LimitOfKey, NativeKeyedRateLimit, NativeRateLimit
from .._rate_limit import Cost

__all__ = ["Budget", "Budgets", "CostOf", "Key", "KeyOf", "Limiter"]

Request = TypeVar("Request")

Limiter = Union[NativeRateLimit, NativeKeyedRateLimit]
Budget = Union[NativeRateLimit, LimitOfKey]
Key = Union[str, bytes, int, IPv4Address, IPv6Address, tuple["Key", ...]]
#: Finds the key of a request. None: the request takes only from the limits of all keys, if there are some.
KeyOf = Callable[[Request], Optional[Key]]
CostOf = Union[Cost, Callable[[Request], Cost]]


class Budgets(Generic[Request]):
    """The budgets of one limiter."""

    def __init__(self, limit: Limiter, key: Optional[KeyOf[Request]], default_key: KeyOf[Request], cost: CostOf[Request]) -> None:
        if isinstance(limit, NativeKeyedRateLimit):
            self._key = default_key if key is None else key
        elif not isinstance(limit, NativeRateLimit):
            raise TypeError(f"limit must be a RateLimit or a KeyedRateLimit, not {type(limit).__name__}")
        elif key is not None:
            raise ValueError(f"limiter {limit.name!r} has no limits per key; leave key out, or use a KeyedRateLimit")
        self.limit = limit
        self._cost = cost

    def of(self, request: Request) -> Optional[Budget]:
        """The budget that the request takes from. None: there is nothing to take from."""
        if isinstance(self.limit, NativeRateLimit):
            return self.limit
        key = self._key(request)
        if key is not None:
            return self.limit.key(key)
        return None if self.limit.limits_only_keys() else self.limit.all_keys()

    def are_in_shadow(self) -> bool:
        """Whether the limiter is in shadow mode, and so delays and denies no request."""
        whole = self.limit.all_keys() if isinstance(self.limit, NativeKeyedRateLimit) else self.limit
        return whole.is_shadow()

    def cost(self, request: Request) -> Cost:
        """What the request takes."""
        return self._cost(request) if callable(self._cost) else self._cost
