from collections.abc import Awaitable
from datetime import timedelta
from ipaddress import IPv4Address, IPv6Address
from typing import Final, Literal, Optional, TypedDict, Union, final

from typing_extensions import Self, disjoint_base

from ._errors import RateLimited

__all__ = [
    "Acquiring",
    "Admission",
    "Denied",
    "Limit",
    "LimitOfKey",
    "NativeKeyedRateLimit",
    "NativeRateLimit",
    "Reservation",
    "Wakeups",
]

_Seconds = Union[int, float, timedelta]
_Cost = Union[int, dict[str, int]]
_Key = Union[str, bytes, int, IPv4Address, IPv6Address, tuple["_Key", ...]]

class _Status(TypedDict):
    available: int
    used: int
    queued: int
    next_in: float

class _Stats(TypedDict):
    admitted: int
    calls: int
    denied: int
    waited: int
    waited_time: float

class _KeyStatus(TypedDict):
    known: bool
    available: int
    used: int
    next_in: float

class _TableStatus(TypedDict):
    capacity: int
    live: int
    bytes: int
    allocated: int

@final
class Admission:
    @property
    def waited(self) -> float: ...
    @property
    def at_ns(self) -> int: ...
    @property
    def shadowed(self) -> bool: ...
    def release(self) -> None: ...
    def settle(self, actual: _Cost) -> dict[str, tuple[float, int]]: ...
    def give_back(self) -> None: ...
    def __bool__(self) -> Literal[True]: ...
    def __enter__(self) -> Admission: ...
    def __exit__(self, *_exception: object) -> None: ...

@final
class Denied:
    @property
    def retry_after(self) -> Optional[float]: ...
    @property
    def denied_by(self) -> str: ...
    @property
    def denied_limit(self) -> Optional[int]: ...
    def exception(self) -> RateLimited: ...
    def __bool__(self) -> Literal[False]: ...

@final
class Reservation:
    @property
    def at_ns(self) -> int: ...
    def wait_time(self) -> float: ...
    def wait(self) -> Admission: ...
    def commit(self) -> Admission: ...
    def cancel(self) -> bool: ...

@final
class Limit:
    def __new__(
        cls,
        max_count: Union[int, str],
        per: Optional[_Seconds] = None,
        *,
        burst: Optional[int] = None,
        greedy: bool = False,
        window: Optional[str] = None,
        zone: Optional[str] = None,
        unit: Optional[str] = None,
        guard: Optional[_Seconds] = None,
    ) -> Limit: ...
    def __eq__(self, other: object, /) -> bool: ...
    __hash__: Final[None]  # type: ignore[assignment]

@disjoint_base
class NativeRateLimit:
    def __new__(
        cls,
        name: str,
        limits: Optional[list[Union[Limit, str]]],
        *,
        permits: Optional[int] = None,
        max_waiters: Optional[int] = None,
        shadow: bool = False,
        directory: Optional[str] = None,
        mode: Optional[int] = None,
        seats: Optional[int] = None,
        on_mismatch: str = "error",
        on_lost: str = "reopen",
    ) -> Self: ...
    @property
    def name(self) -> str: ...
    @property
    def path(self) -> str: ...
    def try_acquire(self, n: Optional[_Cost] = None) -> Union[Admission, Denied]: ...
    def acquire(
        self,
        n: Optional[_Cost] = None,
        timeout: Optional[_Seconds] = None,
        max_waiters: Optional[int] = None,
    ) -> Union[Admission, Denied]: ...
    def wait(self) -> float: ...
    def acquire_now(
        self,
        n: Optional[_Cost] = None,
        timeout: Optional[_Seconds] = None,
        max_waiters: Optional[int] = None,
    ) -> Union[Admission, Denied, None]: ...
    def __enter__(self) -> Admission: ...
    def __exit__(self, *_exception: object) -> None: ...
    def charge(self, n: Optional[_Cost] = None) -> None: ...
    def reserve(self, n: Optional[_Cost] = None) -> Reservation: ...
    def schedule(self, k: int) -> list[float]: ...
    def pause_for(self, seconds: _Seconds) -> None: ...
    def resume(self) -> None: ...
    def change(self, max_count: Union[int, str], per: Optional[_Seconds] = None) -> None: ...
    def reset(self) -> None: ...
    def retire(self) -> None: ...
    def status(self) -> _Status: ...
    def stats(self) -> _Stats: ...
    def policy(self) -> str: ...
    def others(self) -> int: ...

@disjoint_base
class NativeKeyedRateLimit:
    def __new__(
        cls,
        name: str,
        limits: Optional[list[Union[Limit, str]]],
        *,
        in_all: list[Union[Limit, str]] = ...,
        permits: Optional[int] = None,
        max_waiters: Optional[int] = None,
        shadow: bool = False,
        capacity: Optional[int] = None,
        refuse_new_keys: bool = False,
        hide_names: bool = False,
        directory: Optional[str] = None,
        mode: Optional[int] = None,
        seats: Optional[int] = None,
        on_mismatch: str = "error",
        on_lost: str = "reopen",
    ) -> Self: ...
    @property
    def name(self) -> str: ...
    @property
    def path(self) -> str: ...
    def key(self, key: _Key) -> LimitOfKey: ...
    def change(self, max_count: Union[int, str], per: Optional[_Seconds] = None) -> None: ...
    def all_keys(self) -> NativeRateLimit: ...
    def most_denied(self, n: int) -> list[tuple[list[str], int]]: ...
    def table_status(self) -> _TableStatus: ...
    def policy(self) -> str: ...

@final
class LimitOfKey:
    def try_acquire(self, n: Optional[_Cost] = None) -> Union[Admission, Denied]: ...
    def acquire(
        self,
        n: Optional[_Cost] = None,
        timeout: Optional[_Seconds] = None,
        max_waiters: Optional[int] = None,
    ) -> Union[Admission, Denied]: ...
    def acquire_async(
        self,
        n: Optional[_Cost] = None,
        timeout: Optional[_Seconds] = None,
        max_waiters: Optional[int] = None,
    ) -> Awaitable[Union[Admission, Denied]]: ...
    def charge(self, n: Optional[_Cost] = None) -> None: ...
    def reset(self) -> bool: ...
    def status(self) -> list[_KeyStatus]: ...

@final
class Wakeups:
    def __new__(cls) -> Wakeups: ...
    def fileno(self) -> int: ...
    def take(self) -> list[int]: ...

@final
class Acquiring:
    def __new__(
        cls,
        limit: Union[NativeRateLimit, LimitOfKey],
        n: _Cost,
        timeout: Optional[_Seconds],
        max_waiters: Optional[int],
        wakeups: Wakeups,
        id: int,
    ) -> Acquiring: ...
    def poll(self) -> Optional[Union[Admission, Denied]]: ...
    def cancel(self) -> None: ...
