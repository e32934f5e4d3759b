"""The admissions of `with` and `async with` blocks, each of which ends in the thread or task in which it began."""

from __future__ import annotations

import contextvars
import threading
from typing import Any, Callable, Union

from ..._decorate import Function, decorate
from ..._native import Admission, Denied
from ..._rate_limit import RateLimit

#: Of the task that runs: its admissions, the innermost block's last.
_in_task: contextvars.ContextVar[tuple[Admission, ...]] = contextvars.ContextVar("shm_limit.compat.flowguard", default=())


class Blocks:
    """Blocks that hold a permit of a limiter, and functions whose calls do.

    Denied, they raise a `ValueError` with this message.
    """

    def __init__(self, limit: RateLimit, blocking: bool, message: str) -> None:
        self._limit = limit
        self._blocking = blocking
        self._message = message
        self._in_thread = threading.local()

    def __enter__(self) -> None:
        admission = self._admission(self._limit.acquire() if self._blocking else self._limit.try_acquire())
        self._in_thread.__dict__.setdefault("admissions", []).append(admission)

    def __exit__(self, *exception: object) -> None:
        self._in_thread.admissions.pop().release()

    async def __aenter__(self) -> None:
        outcome = await self._limit.acquire_async() if self._blocking else self._limit.try_acquire()
        # Tasks copy their context, so the tuple is not changed, but replaced.
        _in_task.set((*_in_task.get(), self._admission(outcome)))

    async def __aexit__(self, *exception: object) -> None:
        *outer, admission = _in_task.get()
        _in_task.set(tuple(outer))
        admission.release()

    def _admission(self, outcome: Union[Admission, Denied]) -> Admission:
        if isinstance(outcome, Denied):
            raise ValueError(self._message)
        return outcome

    def decorate(self, function: Function) -> Function:
        """The function behind the limiter; a coroutine function waits without a thread."""
        # It uses the limiter only in `with` and `async with` statements.
        decorate_by: Callable[[Any, Function], Function] = decorate
        return decorate_by(self, function)
