"""Limiters without a name. Each has a file like any other, whose name says which process has made it.

The process that made it removes the file when it drops its last handle or ends, unless other processes still use it. What is left,
because a process was killed or its children outlived it, is removed when the next limiter without a name is made by that user.
"""

from __future__ import annotations

import os
import secrets
import weakref
from typing import TYPE_CHECKING

from ._native import NativeRateLimit

if TYPE_CHECKING:
    from ._rate_limit import RateLimit

_PREFIX = "private-"
#: Where this process has looked for what dead processes left.
_swept: set[tuple[int, str]] = set()


def new_name() -> str:
    """A name that no other limiter has."""
    pid = os.getpid()
    return f"{_PREFIX}{pid}-{_started(pid)}-{secrets.token_hex(6)}"


def _started(pid: int) -> str:
    """When a process was started, in the kernel's ticks: tells it from later ones with its number. Empty if there is none."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
            return stat.read().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def adopt(limit: RateLimit) -> None:
    """Removes the file of this new limiter when the handle is dropped or the process ends. The first one of a process also removes
    those that dead processes left.
    """
    pid, directory = os.getpid(), os.path.dirname(limit.path)
    weakref.finalize(limit, _remove, pid, directory, limit.name)
    if (pid, directory) in _swept:
        return
    _swept.add((pid, directory))
    for other in os.listdir(directory):
        parts = other.split("-")
        if other.startswith(_PREFIX) and len(parts) == 4 and parts[1].isdigit() and _started(int(parts[1])) != parts[2]:
            _remove(pid, directory, other)


def _remove(pid: int, directory: str, name: str) -> None:
    # A forked child has a copy of its parent's handle.
    if pid != os.getpid():
        return
    try:
        limit = NativeRateLimit(name, None, directory=directory, on_lost="error")
        if limit.others() == 0:
            limit.retire()
    except Exception:
        # It is somebody else's, or gone.
        pass
