"""Admissions whose cost was an estimate, until they are reconciled."""

from __future__ import annotations

import os
import threading
from collections import deque

from ..._native import Admission

#: How many admissions are kept, the latest ones.
_KEPT = 4096


class Estimates:
    """The latest admissions of this process, from which something can be given back.

    Admissions are interchangeable: the bucket gets what any of them gives back.
    """

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        #: Held while admissions are taken out. To add one needs no lock.
        self._taking = threading.Lock()
        self._admissions: deque[tuple[int, Admission]] = deque(maxlen=_KEPT)

    def _begin_in_child(self) -> None:
        # What a forked child finds is its parent's, and a thread that it does not have may have held the lock.
        if self._pid != os.getpid():
            self._begin()

    def add(self, amount: int, admission: Admission) -> None:
        """Keeps an admission of this amount."""
        self._begin_in_child()
        self._admissions.append((amount, admission))

    def take(self, actual: int, estimated: int, name: str) -> list[tuple[Admission, int]]:
        """Which admissions to settle, and to what each, so that estimated - actual is given back: one of that estimate, or else
        the latest ones. They are not kept any longer.
        """
        self._begin_in_child()
        with self._taking:
            latest = list(reversed(self._admissions.copy()))
            chosen = [one for one in latest if one[0] == estimated][:1] or _enough(latest, estimated - actual)
            for one in chosen:
                try:
                    self._admissions.remove(one)
                except ValueError:
                    # Another thread has added so many meanwhile that it is not kept any longer.
                    pass
        if not chosen:
            raise ValueError(
                f"limiter {name!r}: cannot give back {estimated - actual}, since this process has not acquired that much that is "
                "not reconciled yet; call reconcile in the process that called acquire, once for each estimate"
            )
        remains = sum(amount for amount, _ in chosen) - (estimated - actual)
        # All of them are settled to nothing, but for the oldest.
        return [(admission, 0) for _, admission in chosen[:-1]] + [(chosen[-1][1], remains)]


def _enough(latest: list[tuple[int, Admission]], excess: int) -> list[tuple[int, Admission]]:
    """So many of the latest that they have taken the excess; none if all of them have not."""
    found = 0
    for i, (amount, _) in enumerate(latest):
        found += amount
        if found >= excess:
            return latest[: i + 1]
    return []
