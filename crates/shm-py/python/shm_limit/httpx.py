"""Transports for httpx that wait for their turn: one budget for the requests of all processes.

    import httpx
    from shm_limit import RateLimit
    from shm_limit.httpx import AsyncLimitedTransport, LimitedTransport

    limit = RateLimit(10, per=1, name="api")
    client = httpx.Client(transport=LimitedTransport(limit))
    client = httpx.AsyncClient(transport=AsyncLimitedTransport(limit))   # asyncio or trio: no thread waits

Each request waits for its turn, in line with the callers of all processes; redirects are requests, too. If the limiter has
permits, a request holds one until its response is read or closed. When a server says that it has had enough, all processes
pause: see `LimitedTransport`.

httpx does not use its own `verify=`, `http2=`, `limits=` and proxies of the environment when it is given a transport: give them
to the transport that is wrapped, as in `LimitedTransport(limit, httpx.HTTPTransport(http2=True))`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from types import TracebackType
from typing import Optional

import anyio.to_thread
import httpx

from ._errors import RateLimited
from ._http.budgets import CostOf, KeyOf, Limiter
from ._http.outgoing import Outgoing, Turn, Verdict
from ._native import Admission, Denied
from ._rate_limit import Seconds

__all__ = ["AsyncLimitedTransport", "LimitedTransport", "RequestDenied", "admission_of"]

_EXTENSION = "shm_limit.admission"


class RequestDenied(RateLimited, httpx.TransportError):
    """A request was not sent: its turn would come after `timeout`, or too many callers wait.

    It is a `RateLimited`, with `retry_after` and `denied_by`, and an `httpx.TransportError`, with `request`.
    """


class LimitedTransport(httpx.BaseTransport):
    """A transport whose requests wait for their turn, for `httpx.Client(transport=…)`.

    limit: a RateLimit, or a KeyedRateLimit.
    transport: what sends the requests; default: `httpx.HTTPTransport()`. It is closed with this one.
    key: finds a request's key for a KeyedRateLimit; default: its host, with the port if it is not the scheme's. If it returns
    None, the request takes only from the limits of all keys.
    cost: what a request takes: a cost, or a function of the request. What was an estimate can be settled: see `admission_of`.
    timeout, max_waiters: as for `RateLimit.acquire`. A request whose turn would come later, or that finds so many callers
    waiting, is not sent and raises `RequestDenied`. By default, a request waits as long as it takes.

    Answers 429, and 503 with `Retry-After`, pause the limiter for all processes until the server wants requests again. So do the
    fields `RateLimit` and those of its earlier drafts (`RateLimit-Remaining: 0` with `RateLimit-Reset`, and the same with `X-`),
    when they say that no request is left for more than a second. A pause never shortens another one. With a KeyedRateLimit only
    the request's key is paused, by charging it with what it could use in that time; if several callers read such an answer at the
    same instant, each may charge it. A request without a key pauses all keys.

    max_pause: a server cannot ask for more; default: an hour. If it still refuses then, the next pause begins.
    default_pause: after an answer 429 that does not say for how long.
    obey_fields: whether to obey the fields as well as `Retry-After`.
    retries: how often to send a request again that got 429, or 503 with `Retry-After` if the method is idempotent, and whose body
    can be sent again; it waits for another turn, after the pause. Default: 0, as everywhere in httpx: the caller sees the answer.
    A request is not sent again if the pause is longer than `timeout`, or if it would not wait for the pause, as in shadow
    mode.
    """

    def __init__(
        self,
        limit: Limiter,
        transport: Optional[httpx.BaseTransport] = None,
        *,
        key: Optional[KeyOf[httpx.Request]] = None,
        cost: CostOf[httpx.Request] = 1,
        timeout: Optional[Seconds] = None,
        max_waiters: Optional[int] = None,
        retries: int = 0,
        max_pause: Seconds = 3600,
        default_pause: Seconds = 1,
        obey_fields: bool = True,
    ) -> None:
        self._outgoing = Outgoing[httpx.Request](
            limit,
            key=key,
            host=_host,
            cost=cost,
            timeout=timeout,
            max_waiters=max_waiters,
            retries=retries,
            max_pause=max_pause,
            default_pause=default_pause,
            obey_fields=obey_fields,
        )
        self._transport = httpx.HTTPTransport() if transport is None else transport

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Waits for a turn, and sends the request."""
        retries = self._outgoing.retries if _can_repeat(request) else 0
        while True:
            turn = _admitted(self._outgoing.take(request))
            response: Optional[httpx.Response] = None
            try:
                response = self._transport.handle_request(request)
                verdict = _verdict(self._outgoing, request, response)
                paused = self._outgoing.pause(turn, verdict.pause)
                if not (verdict.retry and paused and retries > 0):
                    return _held(response, turn, _Stream(response, turn))
                response.close()
            except BaseException:
                try:
                    if response is not None:
                        response.close()
                finally:
                    turn.release()
                raise
            turn.release()
            retries -= 1

    def close(self) -> None:
        """Closes the transport that sends the requests."""
        self._transport.close()

    def __enter__(self) -> LimitedTransport:
        self._transport.__enter__()
        return self

    def __exit__(
        self,
        exc_type: Optional[type[BaseException]] = None,
        exc_value: Optional[BaseException] = None,
        traceback: Optional[TracebackType] = None,
    ) -> None:
        self._transport.__exit__(exc_type, exc_value, traceback)


class AsyncLimitedTransport(httpx.AsyncBaseTransport):
    """`LimitedTransport` for `httpx.AsyncClient(transport=…)`, in asyncio and trio: no thread waits.

    If the task is cancelled while its request waits, the request leaves the line and takes nothing; if later, its permit is free.
    The default transport is `httpx.AsyncHTTPTransport()`.
    """

    def __init__(
        self,
        limit: Limiter,
        transport: Optional[httpx.AsyncBaseTransport] = None,
        *,
        key: Optional[KeyOf[httpx.Request]] = None,
        cost: CostOf[httpx.Request] = 1,
        timeout: Optional[Seconds] = None,
        max_waiters: Optional[int] = None,
        retries: int = 0,
        max_pause: Seconds = 3600,
        default_pause: Seconds = 1,
        obey_fields: bool = True,
    ) -> None:
        self._outgoing = Outgoing[httpx.Request](
            limit,
            key=key,
            host=_host,
            cost=cost,
            timeout=timeout,
            max_waiters=max_waiters,
            retries=retries,
            max_pause=max_pause,
            default_pause=default_pause,
            obey_fields=obey_fields,
        )
        self._transport = httpx.AsyncHTTPTransport() if transport is None else transport

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Waits for a turn, and sends the request."""
        retries = self._outgoing.retries if _can_repeat(request) else 0
        while True:
            turn = _admitted(await self._outgoing.take_async(request))
            response: Optional[httpx.Response] = None
            try:
                response = await self._transport.handle_async_request(request)
                verdict = _verdict(self._outgoing, request, response)
                paused = False
                if verdict.pause > 0 or verdict.retry:
                    # In a thread, since it may have to wait for a process that changes the limiter.
                    paused = await anyio.to_thread.run_sync(self._outgoing.pause, turn, verdict.pause)
                if not (verdict.retry and paused and retries > 0):
                    return _held(response, turn, _AsyncStream(response, turn))
                await response.aclose()
            except BaseException:
                try:
                    if response is not None:
                        with anyio.CancelScope(shield=True):
                            await response.aclose()
                finally:
                    turn.release()
                raise
            turn.release()
            retries -= 1

    async def aclose(self) -> None:
        """Closes the transport that sends the requests."""
        await self._transport.aclose()

    async def __aenter__(self) -> AsyncLimitedTransport:
        await self._transport.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: Optional[type[BaseException]] = None,
        exc_value: Optional[BaseException] = None,
        traceback: Optional[TracebackType] = None,
    ) -> None:
        await self._transport.__aexit__(exc_type, exc_value, traceback)


def admission_of(response: httpx.Response) -> Optional[Admission]:
    """What admitted the response's request, for `settle(actual)`. None if the request took from no budget."""
    admission = response.extensions.get(_EXTENSION)
    return admission if isinstance(admission, Admission) else None


class _Stream(httpx.SyncByteStream):
    """A response's body, whose end or closing releases the permit."""

    def __init__(self, response: httpx.Response, turn: Turn) -> None:
        self._stream = response.stream
        self._turn = turn

    def __iter__(self) -> Iterator[bytes]:
        assert isinstance(self._stream, httpx.SyncByteStream)
        try:
            yield from self._stream
        finally:
            self._turn.release()

    def close(self) -> None:
        assert isinstance(self._stream, httpx.SyncByteStream)
        try:
            self._stream.close()
        finally:
            self._turn.release()


class _AsyncStream(httpx.AsyncByteStream):
    def __init__(self, response: httpx.Response, turn: Turn) -> None:
        self._stream = response.stream
        self._turn = turn

    async def __aiter__(self) -> AsyncIterator[bytes]:
        assert isinstance(self._stream, httpx.AsyncByteStream)
        try:
            async for chunk in self._stream:
                yield chunk
        finally:
            self._turn.release()

    async def aclose(self) -> None:
        assert isinstance(self._stream, httpx.AsyncByteStream)
        try:
            await self._stream.aclose()
        finally:
            self._turn.release()


def _host(request: httpx.Request) -> str:
    return request.url.netloc.decode("ascii", "replace")


def _admitted(taken: object) -> Turn:
    if isinstance(taken, Denied):
        denied = taken.exception()
        raise RequestDenied(str(denied), denied.retry_after, denied.denied_by, denied.denied_limit)
    assert isinstance(taken, Turn)
    return taken


def _can_repeat(request: httpx.Request) -> bool:
    # Other bodies are read as they are sent.
    return isinstance(request.stream, httpx.ByteStream)


def _verdict(outgoing: Outgoing[httpx.Request], request: httpx.Request, response: httpx.Response) -> Verdict:
    return outgoing.after(response.status_code, response.headers.get_list, request.method)


def _held(response: httpx.Response, turn: Turn, stream: object) -> httpx.Response:
    """The response, which holds the permit of its request."""
    response.extensions[_EXTENSION] = turn.admission
    if response.is_closed:
        # A transport for tests has read it already.
        turn.release()
    else:
        assert isinstance(stream, (httpx.SyncByteStream, httpx.AsyncByteStream))
        response.stream = stream
    return response
