"""Waiting for a turn while the client may hang up.

An ASGI server does not cancel a request when its client hangs up: it sends the message `http.disconnect`. So while a request
waits for its turn, its messages are received, and kept for the application.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Coroutine, MutableMapping
from typing import Any, Callable, Optional, TypeVar

from .._aio import _is_trio
from .incoming import Passed

__all__ = ["Inbox", "unless_hung_up"]

Message = MutableMapping[str, Any]
Decided = TypeVar("Decided")

#: So much of a body is received while its request waits. With more than that, it is not seen that the client hangs up.
_MOST_BYTES = 64 * 1024
#: What a message takes besides its body, about: a server may send any number of messages whose bodies are empty.
_BYTES_OF_MESSAGE = 512
_HANG_UPS = ("http.disconnect", "websocket.disconnect")


class Inbox:
    """A request's messages: first those that came while it waited."""

    def __init__(self, receive: Callable[[], Awaitable[Message]]) -> None:
        self._receive = receive
        self._kept: deque[Message] = deque()
        self._bytes = 0
        #: The message that is being received, which nobody has yet.
        self.pending: Optional[asyncio.Task[Message]] = None

    async def receive(self) -> Message:
        """The next message, for the application."""
        if self._kept:
            return self._kept.popleft()
        if self.pending is not None:
            pending, self.pending = self.pending, None
            return await pending
        return await self._receive()

    async def next(self) -> Message:
        """The next message of the server."""
        return await self._receive()

    def keep(self, message: Message) -> bool:
        """Keeps a message for the application. Returns whether it says that the client has hung up."""
        self._kept.append(message)
        self._bytes += len(message.get("body", b"")) + _BYTES_OF_MESSAGE
        return message["type"] in _HANG_UPS

    def is_full(self) -> bool:
        """Whether no more should be kept."""
        return self._bytes >= _MOST_BYTES

    def close(self) -> None:
        """The request has ended."""
        if self.pending is not None:
            self.pending.cancel()


async def unless_hung_up(deciding: Coroutine[Any, Any, Decided], inbox: Inbox) -> Optional[Decided]:
    """The decision; None if the client hangs up before it is made. Then nothing was taken."""
    return await (_in_trio if _is_trio() else _in_asyncio)(deciding, inbox)


async def _in_asyncio(deciding: Coroutine[Any, Any, Decided], inbox: Inbox) -> Optional[Decided]:
    decision = asyncio.ensure_future(deciding)
    try:
        # Most requests need not wait: their task ends with its first step.
        await asyncio.sleep(0)
        while not decision.done():
            if inbox.is_full():
                await asyncio.wait([decision])
                break
            if inbox.pending is None:
                inbox.pending = asyncio.ensure_future(inbox.next())
            await asyncio.wait([decision, inbox.pending], return_when=asyncio.FIRST_COMPLETED)
            if decision.done() or not inbox.pending.done():
                continue
            pending, inbox.pending = inbox.pending, None
            if inbox.keep(pending.result()):
                await _give_up(decision)
                return None
        return decision.result()
    except BaseException:
        await _give_up(decision)
        raise


async def _give_up(decision: asyncio.Future[Any]) -> None:
    """Ends a wait. If it was admitted in the same moment, gives back what it took."""
    decision.cancel()
    await asyncio.wait([decision])
    if not decision.cancelled() and decision.exception() is None:
        _give_back(decision.result())


async def _in_trio(deciding: Coroutine[Any, Any, Decided], inbox: Inbox) -> Optional[Decided]:
    import trio

    decided: list[Decided] = []
    # The nursery would wrap them.
    raised: list[Exception] = []
    hung_up = False

    async def decide() -> None:
        try:
            decided.append(await deciding)
        except Exception as error:
            raised.append(error)
        nursery.cancel_scope.cancel()

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(decide)
            # Most requests need not wait: their task ends with its first step.
            await trio.lowlevel.checkpoint()
            try:
                while not hung_up and not inbox.is_full():
                    hung_up = inbox.keep(await inbox.next())
            except Exception as error:
                raised.append(error)
            if hung_up or raised:
                nursery.cancel_scope.cancel()
        if raised:
            raise raised[0]
    except BaseException:
        hung_up = True
        raise
    finally:
        if hung_up:
            for one in decided:
                _give_back(one)
    return None if hung_up else decided[0]


def _give_back(decided: object) -> None:
    if isinstance(decided, Passed) and decided.admission is not None:
        decided.admission.give_back()
