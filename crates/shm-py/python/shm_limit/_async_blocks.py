"""The admissions of `async with` blocks."""

from __future__ import annotations

import contextvars
from typing import Optional

from ._native import Admission


class _Block:
    """A block that was entered, and the admission that it releases."""

    def __init__(self, admission: Admission) -> None:
        self.admission = admission
        self.is_open = True


#: The blocks of a task, of all limiters, the innermost last. Tasks copy their context, so it is replaced and not changed.
_of_task: contextvars.ContextVar[tuple[_Block, ...]] = contextvars.ContextVar("shm_limit", default=())


class AsyncBlocks:
    """The open blocks of a handle."""

    def __init__(self) -> None:
        # In the order in which they were entered.
        self._open: dict[_Block, None] = {}

    def enter(self, admission: Admission) -> None:
        """A block begins in this task."""
        block = _Block(admission)
        self._open[block] = None
        _of_task.set((*_open_ones(), block))

    def exit(self) -> Admission:
        """The innermost block of this handle in this task ends. A generator may be closed in another task than that which entered its
        block: then the innermost block of any task ends in its place, whose permit is of the same limiter."""
        own: Optional[_Block] = next((block for block in reversed(_of_task.get()) if block in self._open), None)
        block = next(reversed(self._open)) if own is None else own
        del self._open[block]
        block.is_open = False
        _of_task.set(_open_ones())
        return block.admission


def _open_ones() -> tuple[_Block, ...]:
    """Without those that ended in another task."""
    return tuple(block for block in _of_task.get() if block.is_open)
