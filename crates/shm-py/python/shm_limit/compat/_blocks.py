"""`with` and `async with` blocks that hold a permit."""

from __future__ import annotations

import contextvars
import os
import threading
from typing import Any, Union, cast

from .._decorate import Function, decorate
from .._native import Admission, Denied
from .._rate_limit import RateLimit
from ._permits import Permits

#: In which processes the blocks began in which this task is, the innermost last.
_in_task: contextvars.ContextVar[tuple[int, ...]] = contextvars.ContextVar("shm_limit.compat", default=())


class Blocks:
    """Blocks that hold a permit of a limiter, and functions whose calls do.

    A block may end in another thread than it began, as in web frameworks. Denied, it raises a `ValueError` with this message.
    """

    def __init__(self, limit: RateLimit, blocking: bool = True, message: str = "Failed to acquire permit") -> None:
        self._limit = limit
        self._blocking = blocking
        self._message = message
        self._permits = Permits()
        self._in_thread = threading.local()

    def __enter__(self) -> None:
        if self._blocking:
            self._limit.__enter__()
            return
        self._keep(self._limit.try_acquire())
        self._in_thread.__dict__.setdefault("began", []).append(os.getpid())

    def __exit__(self, *exception: object) -> None:
        if self._blocking:
            self._limit.__exit__(*exception)
            return
        began = self._in_thread.__dict__.get("began")
        self._leave(began.pop() if began else os.getpid())

    async def __aenter__(self) -> None:
        self._keep(await self._limit.acquire_async() if self._blocking else self._limit.try_acquire())
        # Tasks copy their context, so the tuple is not changed, but replaced.
        _in_task.set((*_in_task.get(), os.getpid()))

    async def __aexit__(self, *exception: object) -> None:
        began = _in_task.get()
        _in_task.set(began[:-1])
        self._leave(began[-1] if began else os.getpid())

    def _keep(self, outcome: Union[Admission, Denied]) -> None:
        if isinstance(outcome, Denied):
            raise ValueError(self._message)
        self._permits.add(outcome)

    def _leave(self, began_in: int) -> None:
        # A block that was forked into this process has its parent's permit.
        if began_in == os.getpid():
            self._permits.release()

    def decorate(self, function: Function) -> Function:
        """The function behind the limiter; a coroutine function waits without a thread."""
        # It uses the limiter only in `with` and `async with` statements.
        return decorate(cast(Any, self), function)
