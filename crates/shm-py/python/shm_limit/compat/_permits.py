"""The admissions that this process holds for a limiter."""

from __future__ import annotations

import os
from collections import deque

from .._native import Admission


class Permits:
    """Admissions whose permits are given back one by one. One is as good as another, so any thread or task may give one back."""

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._held: deque[Admission] = deque()

    def add(self, admission: Admission) -> None:
        """Keeps an admission."""
        # What a forked child finds here is its parent's.
        if self._pid != os.getpid():
            self._begin()
        self._held.append(admission)

    def release(self) -> None:
        """Gives one permit back. Does nothing if this process holds none."""
        if self._pid != os.getpid():
            return
        try:
            admission = self._held.pop()
        except IndexError:
            return
        admission.release()
