"""Limiters without a name: which file each has, and when that is removed.

A limiter that a module makes when it is imported is made again by each process that imports the module. A process that multiprocessing
has spawned is to have its parent's limiter then. So the name is derived from what these processes have in common: their family
(`_family`), the module's file, the line, and how many limiters this line has made. Any other limiter has a random name: forked children
inherit its handle, and pickling passes it on.

Each process that has a handle keeps a shared `flock` on the file, which the kernel releases when the process ends. A forked child shares
that of its parent. A file on which no process has one is removed: by a process that drops its handle or ends, or by the next one that
makes a limiter without a name.
"""

from __future__ import annotations

import fcntl
import hashlib
import inspect
import multiprocessing
import os
import re
import secrets
import sys
import time
import weakref
from types import FrameType
from typing import TYPE_CHECKING, Callable, Optional

from ._native import NativeRateLimit

if TYPE_CHECKING:
    from ._rate_limit import RateLimit

_PREFIX = "private-"
_SHAPE = re.compile(_PREFIX + r"([A-Za-z0-9_.]{1,80}-)?[0-9]+-[0-9a-f]{24}", re.ASCII)
#: In the environment of a program's processes: their family.
_VARIABLE = "SHM_LIMIT_PRIVATE_FAMILY"
#: How many limiters each line of a module has made.
_made: dict[tuple[str, int], int] = {}
#: The family of this process and its forked children, once it is known.
_own_family: Optional[str] = None
#: Where this process has looked for what dead processes left.
_swept: set[tuple[int, str]] = set()

_COMPREHENSIONS = {"<listcomp>", "<dictcomp>", "<setcomp>", "<genexpr>"}


def is_unnamed(name: str) -> bool:
    """Whether this is the name of a limiter that was made without one."""
    return _SHAPE.fullmatch(name) is not None


def new_name() -> str:
    """The name of a limiter that is made now without one."""
    return _name_in_module() or f"{_PREFIX}{os.getpid()}-{secrets.token_hex(12)}"


def _name_in_module() -> Optional[str]:
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
    family = hashlib.sha256(_family().encode())
    family.update(f"\0{file}\0{line}\0{before}".encode(errors="surrogatepass"))
    readable = re.sub(r"[^A-Za-z0-9_.]", "_", os.path.basename(file))[:80]
    return f"{_PREFIX}{readable}-{line}-{family.hexdigest()[:24]}"


def _family() -> str:
    """What all processes have in common that multiprocessing starts for a program, and no process of another program.

    It is made of the key that multiprocessing gives to the descendants of a process. The server that forks workers (`forkserver`) has a
    key of its own, and a program may give itself another key later; so the first process leaves the family in the environment. (A
    program that sets a constant key before it makes a limiter shares this limiter with other runs of itself.)
    """
    global _own_family
    if _own_family is None:
        # A program that multiprocessing has not started does not belong to the one that has started it.
        inherited = os.environ.get(_VARIABLE) if _is_descendant() else None
        _own_family = inherited or hashlib.sha256(multiprocessing.current_process().authkey).hexdigest()
        os.environ[_VARIABLE] = _own_family
    return _own_family


def _is_descendant() -> bool:
    """Whether multiprocessing has started this process."""
    if multiprocessing.parent_process() is not None or getattr(multiprocessing.current_process(), "_inheriting", False):
        return True
    frame: Optional[FrameType] = sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__") != "multiprocessing.forkserver":
        frame = frame.f_back
    return frame is not None


def _is_function(frame: FrameType) -> bool:
    code = frame.f_code
    return bool(code.co_flags & inspect.CO_OPTIMIZED) and code.co_name not in _COMPREHENSIONS


def hold(open_it: Callable[[], RateLimit]) -> RateLimit:
    """Opens a limiter without a name, and keeps its file while this process, or a forked child of it, has the handle."""
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
    weakref.finalize(limit, _let_go, descriptor, os.fstat(descriptor), directory, limit.name)
    _sweep(directory)
    return limit


def _lock_shared(path: str) -> Optional[int]:
    """A descriptor with a shared lock on the file of this path; None if the file is being removed."""
    try:
        descriptor = _open(path)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(descriptor), os.stat(path)):
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _open(path: str) -> int:
    """Follows no link and waits for nothing: others may write to the directory."""
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY)


def _let_go(descriptor: int, file: os.stat_result, directory: str, name: str) -> None:
    """Closes this process's descriptor. The lock stays while a process that was forked meanwhile has its copy."""
    try:
        # A program that becomes a daemon may have closed all its descriptors, and this number may be another file by now.
        if os.path.samestat(os.fstat(descriptor), file):
            os.close(descriptor)
    except OSError:
        pass
    _remove_if_unused(directory, name)


def _sweep(directory: str) -> None:
    """Removes what dead processes left, once in each process."""
    if (os.getpid(), directory) in _swept:
        return
    _swept.add((os.getpid(), directory))
    try:
        names = os.listdir(directory)
    except OSError:
        # It may be one that this user can use and not list.
        return
    for name in names:
        if is_unnamed(name):
            _remove_if_unused(directory, name)


def _remove_if_unused(directory: str, name: str) -> None:
    path = os.path.join(directory, name)
    try:
        descriptor = _open(path)
    except OSError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Another process may have removed the file meanwhile, and a third one may have made a new one.
        if not os.path.samestat(os.fstat(descriptor), os.stat(path)):
            return
        limit = NativeRateLimit(name, None, directory=directory, on_lost="error")
        if limit.others() == 0:
            limit.retire()
    except Exception:
        # A process has it, or it is gone, or it is no limiter of this user.
        pass
    finally:
        os.close(descriptor)
