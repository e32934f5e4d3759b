"""The clock of the limiters, in the milliseconds of PyrateLimiter."""

from __future__ import annotations

import time

from pyrate_limiter import AbstractClock

__all__ = ["BootClock", "boot_clock", "down", "up"]

_NS = 1_000_000


class BootClock(AbstractClock):
    """Milliseconds since the host was started, the same in all processes. The clock does not follow changes of the wall clock,
    and goes on while the host is suspended.
    """

    def now(self) -> int:
        return down(time.clock_gettime_ns(time.CLOCK_BOOTTIME))


boot_clock = BootClock()


def down(ns: int) -> int:
    """An instant in milliseconds, not after it."""
    return ns // _NS


def up(ns: int) -> int:
    """An instant in milliseconds, not before it."""
    return -(-ns // _NS)
