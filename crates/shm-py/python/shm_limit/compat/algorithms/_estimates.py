"""Admissions whose cost was an estimate, until they are reconciled."""

from __future__ import annotations

import os
import threading

from ..._native import Admission

#: How many admissions are kept at least, the latest ones.
_KEPT = 4096


class Estimates:
    """The latest admissions of this process, from which something can be given back.

    Admissions are interchangeable: the bucket gets what any of them gives back.
    """

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._admissions: list[tuple[int, Admission]] = []

    def _begin_in_child(self) -> None:
        # What a forked child finds is its parent's, and a thread that it does not have may have held the lock.
        if self._pid != os.getpid():
            self._begin()

    def add(self, amount: int, admission: Admission) -> None:
        """Keeps an admission of this amount."""
        self._begin_in_child()
        with self._lock:
            self._admissions.append((amount, admission))
            if len(self._admissions) > 2 * _KEPT:
                del self._admissions[:_KEPT]

    def take(self, actual: int, estimated: int, name: str) -> list[tuple[Admission, int]]:
        """Which admissions to settle, and to what each, so that estimated - actual is given back: one of that estimate, or else the
        latest ones. They are not kept any longer.
        """
        self._begin_in_child()
        with self._lock:
            corrections = self._of_one(actual, estimated) or self._of_several(estimated - actual)
        if not corrections:
            raise ValueError(
                f"limiter {name!r}: cannot give back {estimated - actual}, since this process has not acquired that much that is not "
                "reconciled yet; call reconcile in the process that called acquire, once for each estimate"
            )
        return corrections

    def _of_one(self, actual: int, estimated: int) -> list[tuple[Admission, int]]:
        for i in range(len(self._admissions) - 1, -1, -1):
            amount, admission = self._admissions[i]
            if amount == estimated:
                del self._admissions[i]
                return [(admission, actual)]
        return []

    def _of_several(self, excess: int) -> list[tuple[Admission, int]]:
        """Which admissions to correct, and to what each: the latest ones to nothing, the first of them to what remains."""
        first, found = len(self._admissions), 0
        while found < excess and first > 0:
            first -= 1
            found += self._admissions[first][0]
        if found < excess:
            return []
        corrections = [(admission, 0) for _, admission in self._admissions[first:]]
        corrections[0] = (corrections[0][0], found - excess)
        del self._admissions[first:]
        return corrections
