"""The limiters behind a storage: one for each strategy and period, each with a table of keys.

All requests of one strategy and period share a table, whatever their limits, because the limit comes with the request. Each request
is one step of shared memory, or one for each call of a moving window, so no process ever waits for another one.

| strategy | table | a request |
|---|---|---|
| fixed window | counts of fixed windows (over a day: those of a sliding counter) | adds to the key's count, and returns it |
| sliding window counter | counts of the present window and the one before | adds to the count if the weighted sum allows it |
| moving window | entries: keys that are taken at most once per period | takes an entry of the key that is free |
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Sequence
from typing import Any, Optional

from limits.limits import GRANULARITIES

from .._errors import InvalidRequestError, NotFoundError
from .._keyed import KeyedRateLimit
from .._native import KeyCounts, KeyLogs, default_directory
from ._options import Options

DIRECTORY_VARIABLE = "SHM_LIMIT_DIR"
#: The most that is counted at a time.
_MOST = 2**63 - 1
#: A table loses nothing while it is at most a quarter full of one key's entries.
_ENTRIES_FOR_EACH = 4
_DAY = 86_400

FIXED, MOVING, SLIDING = "fixed", "moving", "sliding"


class Counts:
    """Counts of keys, in windows of one length, each at most so many."""

    def __init__(self, name: str, limit: KeyedRateLimit, most: int, period: int) -> None:
        self.name, self.most = name, most
        self.keys = KeyCounts(limit, most, _endings(period))


class Logs:
    """Logs of keys, of one period, each with at most so many entries."""

    def __init__(self, name: str, limit: KeyedRateLimit, most: int) -> None:
        self.name, self.most = name, most
        self.keys = KeyLogs(limit)


class Tables:
    """All tables of a storage. Opens each when it is first used."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self._counts: dict[tuple[str, int], Counts] = {}
        self._logs: dict[int, Logs] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return (Tables, (self.options,))

    # -- Fixed windows

    def add(self, key: str, expiry: int, amount: int) -> int:
        """Adds to a key's count in the present window, and returns it; 2^63 - 1 if the request is denied whatever its limit."""
        counts = self._counts.get((FIXED, expiry)) or self._open_counts(FIXED, expiry)
        used = counts.keys.add(key, min(amount, _MOST)) if amount > 0 else None
        if used is not None:
            return used
        parsed = parse(key)
        if parsed is not None and parsed[1] != expiry:
            raise InvalidRequestError(
                f"the key {key!r} says that its window is {parsed[1]} s long, and it comes with {expiry} s; give both the same period"
            )
        if parsed is not None and parsed[0] >= counts.most:
            raise self._too_large(counts.name, key, parsed[0], counts.most, "use a longer period or a larger unit of cost")
        return counts.keys.add_without_limit(key, min(amount, _MOST)) if _takes(amount) else self.count(key)

    def count(self, key: str) -> int:
        """A key's count in the present window."""
        return self._look(key)[0]

    def expires_at(self, key: str) -> float:
        """When a key's window ends, in seconds since 1970; now if it has counted nothing."""
        return time.time() + self._look(key)[1]

    def _look(self, key: str) -> tuple[int, float]:
        """A key's count, and in how many seconds its window ends."""
        greatest = (0, 0.0)
        for counts in self._counts_of(key):
            used, _, ends_in = counts.keys.look(key)
            if used > greatest[0]:
                greatest = (used, ends_in)
        return greatest

    def clear(self, key: str) -> None:
        """Resets a key of all strategies."""
        for counts in self._counts_of(key):
            counts.keys.reset(key)
        parsed = parse(key)
        for period in self._periods(SLIDING) if parsed is None else [parsed[1]]:
            self.clear_windows(key, period)
        for period in self._periods(MOVING) if parsed is None else [parsed[1]]:
            logs = self._find_logs(period)
            if logs is not None:
                # Without the limit in its name, it may have as many as any.
                entries = logs.most if parsed is None else min(parsed[0], logs.most)
                if entries > 0:
                    logs.keys.reset(key, entries)

    # -- Sliding window counters

    def add_within(self, key: str, limit: int, expiry: int, amount: int) -> bool:
        """Adds to a key's count if the count, and what the window before weighs, are at most the limit then."""
        counts = self._counts.get((SLIDING, expiry)) or self._open_counts(SLIDING, expiry)
        if limit > counts.most:
            raise self._too_large(counts.name, key, limit, counts.most, 'use the strategy "fixed-window"')
        if not _takes(amount):
            return True
        return amount <= limit and counts.keys.add_within(key, amount, limit)

    def windows(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        """The count of the window before and how long it counts, and that of the present one and how long that counts."""
        used, before, ends_in = self._open_counts(SLIDING, expiry).keys.look(key)
        return before, (ends_in if before else 0.0), used, ends_in + expiry

    def clear_windows(self, key: str, expiry: int) -> None:
        """Resets a key of sliding window counters."""
        counts = self._find_counts(SLIDING, expiry)
        if counts is not None:
            counts.keys.reset(key)

    # -- Moving windows

    def take(self, key: str, limit: int, expiry: int, amount: int) -> bool:
        """Takes so many of the limit's entries, if that many are free."""
        logs = self._logs.get(expiry) or self._open_logs(expiry)
        if not _takes(amount):
            return True
        if amount > limit:
            return False
        if limit > logs.most:
            raise self._too_large(
                logs.name,
                key,
                limit,
                logs.most,
                f"start the workers with more room (entries={limit * _ENTRIES_FOR_EACH}) and then run `shm-limit remove {logs.name}`, or use "
                'the strategy "sliding-window-counter"',
            )
        return logs.keys.take(key, limit, amount)

    def log(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        """When the oldest admission in the window was, in seconds since 1970, and how many are in it."""
        logs = self._open_logs(expiry)
        taken, next_in = (0, 0.0) if limit <= 0 else logs.keys.look(key, min(limit, logs.most))
        now = time.time()
        return (now, 0) if taken == 0 else (now + next_in - expiry, taken)

    # -- All

    def reset(self) -> int:
        """Resets all tables of the name. Returns how many keys they had (of moving windows: how many admissions)."""
        number = 0
        for name in self._names():
            try:
                limit = KeyedRateLimit.attach(name, directory=self.options.directory)
            except NotFoundError:
                continue
            number += limit.table_status()["live"]
            limit.all_keys().reset()
        return number

    def check(self) -> bool:
        """Whether the tables can be used, or be made where there are none."""
        for name in self._names():
            KeyedRateLimit.attach(name, directory=self.options.directory).table_status()
        directory = self._directory()
        if self.options.directory is None and not os.environ.get(DIRECTORY_VARIABLE) and not os.path.exists(directory):
            directory = os.path.dirname(directory)  # The default directory is made when it is needed.
        return os.path.isdir(directory) and os.access(directory, os.W_OK | os.X_OK)

    # -- Opening tables

    def _directory(self) -> str:
        return default_directory() if self.options.directory is None else self.options.directory

    def _names(self) -> Iterator[str]:
        """The names of all tables that exist."""
        shape = re.compile(re.escape(self.options.name) + rf"\.({FIXED}|{MOVING}|{SLIDING})-[0-9]+s", re.ASCII)
        try:
            names = os.listdir(self._directory())
        except FileNotFoundError:
            return iter(())
        return (name for name in sorted(names) if shape.fullmatch(name))

    def _name(self, kind: str, period: int) -> str:
        return f"{self.options.name}.{kind}-{period}s"

    def _periods(self, kind: str) -> list[int]:
        start = f"{self.options.name}.{kind}-"
        return [int(name[len(start) : -1]) for name in self._names() if name.startswith(start)]

    def _exists(self, kind: str, period: int) -> bool:
        return os.path.exists(os.path.join(self._directory(), self._name(kind, period)))

    def _counts_of(self, key: str) -> Sequence[Counts]:
        """The tables in which a key of a fixed window may be."""
        parsed = parse(key)
        if parsed is not None:
            counts = self._counts.get((FIXED, parsed[1])) or self._find_counts(FIXED, parsed[1])
            return () if counts is None else (counts,)
        found = (self._find_counts(FIXED, period) for period in self._periods(FIXED))
        return [counts for counts in found if counts is not None]

    def _find_counts(self, kind: str, period: int) -> Optional[Counts]:
        if (kind, period) not in self._counts and not self._exists(kind, period):
            return None
        return self._open_counts(kind, period)

    def _find_logs(self, period: int) -> Optional[Logs]:
        return self._open_logs(period) if period in self._logs or self._exists(MOVING, period) else None

    def _open_counts(self, kind: str, period: int) -> Counts:
        counts = self._counts.get((kind, period))
        if counts is None:
            name = self._name(kind, period)
            # Fixed windows of a table are at most a day long; those of its sliding counters may be longer.
            window = FIXED if kind == FIXED and period <= _DAY else SLIDING
            most = KeyCounts.largest(window, period) if period > 0 else 0
            if most == 0:
                raise InvalidRequestError(f"limiter {name!r}: windows are 1 second to 366 days long, not {period} s; choose another period")
            limit = self._open(name, most, period, window=window, capacity=self.options.capacity)
            # Threads that open it at the same time have handles of the same table.
            counts = self._counts.setdefault((kind, period), Counts(name, limit, most, period))
        return counts

    def _open_logs(self, period: int) -> Logs:
        logs = self._logs.get(period)
        if logs is None:
            name = self._name(MOVING, period)
            limit = self._open(name, 1, period, burst=1, capacity=self.options.entries)
            # It may have been made with another capacity.
            most = max(limit.table_status()["capacity"] // _ENTRIES_FOR_EACH, 1)
            logs = self._logs.setdefault(period, Logs(name, limit, most))
        return logs

    def _open(self, name: str, most: int, period: int, **settings: Any) -> KeyedRateLimit:
        # As it is, if it exists: a worker that starts later accepts what an operator has changed.
        return KeyedRateLimit(
            most, per=period, name=name, directory=self.options.directory, mode=self.options.mode, on_mismatch="keep", **settings
        )

    def _too_large(self, name: str, key: str, limit: int, most: int, remedy: str) -> InvalidRequestError:
        return InvalidRequestError(f"limiter {name!r} cannot count the limit of {key!r}: {limit} is over {most}; {remedy}")


def parse(key: str) -> Optional[tuple[int, int]]:
    """The limit and the period, in seconds, that the key of a `RateLimitItem` ends with; None for other keys."""
    parts = key.rsplit("/", 3)
    item = GRANULARITIES.get(parts[-1])
    if item is None or len(parts) != 4 or not (_is_number(parts[1]) and _is_number(parts[2])):
        return None
    return int(parts[1]), int(parts[2]) * item.GRANULARITY.seconds


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _endings(period: int) -> list[str]:
    """How the keys of items with this period end, after their limit."""
    items = [(granularity, item.GRANULARITY.seconds) for granularity, item in GRANULARITIES.items()]
    return [f"/{period // seconds}/{granularity}" for granularity, seconds in items if period % seconds == 0]


def _takes(amount: int) -> bool:
    """Whether it takes something: 0 does not. Raises for a negative one, which would give something back."""
    if amount < 0:
        raise InvalidRequestError(f"a cost of {amount} would give something back, and what a key has used cannot be given back; use 0 or more")
    return amount > 0
