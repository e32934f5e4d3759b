"""Limiters without a name that a module makes when it is imported.

A process that is spawned imports the module again, and would have a limiter of its own. So the limiter's name is derived from
what these processes have in common: the key that multiprocessing gives to all descendants of a process, the module's file, the
line, and how many limiters this line has made. (Forked children inherit the handle, and need no name.)

Each process that has such a handle keeps a shared `flock` on the file, which the kernel releases when the process ends. A file on
which no process has one is removed: by a process that ends, or by the next one that makes such a limiter.
"""

from __future__ import annotations

import fcntl
import hashlib
import inspect
import multiprocessing
import os
import re
import sys
import time
import weakref
from types import FrameType
from typing import Callable, Optional

from .._native import NativeRateLimit
from .._rate_limit import RateLimit

_PREFIX = "import-"
#: How many limiters each line of a module has made.
_made: dict[tuple[str, int], int] = {}
#: Where this process has looked for what dead processes left.
_swept: set[tuple[int, str]] = set()

_COMPREHENSIONS = {"<listcomp>", "<dictcomp>", "<setcomp>", "<genexpr>"}


def name_of_this_call() -> Optional[str]:
    """The name of a limiter that is made by the module that runs now. None if a function makes it, or code that is in no file."""
    frame: Optional[FrameType] = sys._getframe(1)
    while frame is not None and str(frame.f_globals.get("__name__", "")).startswith("shm_limit."):
        frame = frame.f_back
    # The body of a class runs with its module, and so does a comprehension in it.
    while frame is not None and frame.f_code.co_name != "<module>" and not _is_function(frame):
        frame = frame.f_back
    if frame is None or frame.f_code.co_name != "<module>":
        return None
    file = frame.f_globals.get("__file__")
    if not isinstance(file, str) or not os.path.isfile(file):
        return None
    # The main module is imported by another path in a spawned process.
    file, line = os.path.realpath(file), frame.f_lineno
    before = _made.get((file, line), 0)
    _made[file, line] = before + 1
    family = hashlib.sha256(multiprocessing.current_process().authkey)
    family.update(f"\0{file}\0{line}\0{before}".encode(errors="surrogatepass"))
    readable = re.sub(r"[^A-Za-z0-9_.]", "_", os.path.basename(file))[:80]
    return f"{_PREFIX}{readable}-{line}-{family.hexdigest()[:24]}"


def _is_function(frame: FrameType) -> bool:
    code = frame.f_code
    return bool(code.co_flags & inspect.CO_OPTIMIZED) and code.co_name not in _COMPREHENSIONS


def hold(open_it: Callable[[], RateLimit]) -> RateLimit:
    """Opens the limiter, and keeps its file while this process, or a forked child of it, has the handle."""
    deadline = time.monotonic() + 1.0
    while True:
        limit = open_it()
        descriptor = _lock_shared(limit.path)
        if descriptor is not None:
            break
        # A process is removing the file, because nobody had it. If that process is stopped in the middle of it, go on without the
        # lock: the file of a limiter that has been used by a living process is not removed either.
        if time.monotonic() > deadline:
            return limit
        time.sleep(0.01)
    directory = os.path.dirname(limit.path)
    weakref.finalize(limit, _let_go, os.getpid(), descriptor, directory, limit.name)
    _sweep(directory)
    return limit


def _lock_shared(path: str) -> Optional[int]:
    """A descriptor with a shared lock on the file of this path; None if the file is being removed."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(descriptor), os.stat(path)):
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(descriptor)
    return None


def _let_go(pid: int, descriptor: int, directory: str, name: str) -> None:
    # A forked child keeps the lock that it shares with its parent until it ends.
    if pid != os.getpid():
        return
    os.close(descriptor)
    _remove_if_unused(directory, name)


def _sweep(directory: str) -> None:
    """Removes what dead processes left, once in each process."""
    if (os.getpid(), directory) in _swept:
        return
    _swept.add((os.getpid(), directory))
    for name in os.listdir(directory):
        if name.startswith(_PREFIX):
            _remove_if_unused(directory, name)


def _remove_if_unused(directory: str, name: str) -> None:
    try:
        descriptor = os.open(os.path.join(directory, name), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        limit = NativeRateLimit(name, None, directory=directory, on_lost="error")
        if limit.others() == 0:
            limit.retire()
    except Exception:
        # A process has it, or it is gone, or it is no limiter of this user.
        pass
    finally:
        os.close(descriptor)
