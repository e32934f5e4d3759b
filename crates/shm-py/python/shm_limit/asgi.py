"""ASGI middleware (FastAPI, Starlette, Django, uvicorn, hypercorn): one limit for the requests of all worker processes.

    from shm_limit import RateLimit
    from shm_limit.asgi import RateLimitMiddleware

    limit = RateLimit(100, per=1, burst=20, name="site", on_mismatch="keep")
    app = RateLimitMiddleware(app, limit)                     # FastAPI: app.add_middleware(RateLimitMiddleware, limit=limit)
"""

from __future__ import annotations

from collections.abc import Awaitable, MutableMapping
from typing import Any, Callable, Optional, Union

from ._http.budgets import CostOf, KeyOf, Limiter
from ._http.hang_up import Inbox, unless_hung_up
from ._http.incoming import Incoming, Passed, Refused, Request
from ._rate_limit import Seconds

__all__ = ["RateLimitMiddleware"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

#: What the scope has a request's admission by.
ADMISSION = "shm_limit.admission"


class RateLimitMiddleware:
    """Limits the requests of an ASGI application.

    Each request takes from the limiter. A denied one gets `429 Too Many Requests` with `Retry-After` and an empty body. Responses
    have the fields `RateLimit` and `RateLimit-Policy`, as those of the Rust crate `shm-tower`; not in shadow mode.

    limit: a RateLimit, for all requests together; or a KeyedRateLimit, for each client.
    key: finds a request's key for a KeyedRateLimit, from the scope; default: `ClientIp()`. If it returns None, the request takes
    only from the limits of all keys.
    mode: "reject": a request whose turn is not now gets 429. "wait": it waits, without a thread; if the client hangs up
    meanwhile, it leaves the line and takes nothing.
    timeout, max_waiters: bounds of a wait, as for `RateLimit.acquire`. A request that cannot keep them gets 429 at once.
    on_error: what happens when the limiter cannot decide, because it was removed or damaged, say: "fail_closed": 503.
    "fail_open": the request is passed without a limit. Either is logged. A cost that the limiter can never admit, and a request
    without a client address, get 500.
    cost: what a request takes: a cost, or a function of the scope. A request without a key must not cost units that only keys
    have.
    policy_name: the limits' name in the fields.
    websockets: whether the handshake of a WebSocket is a request. Default: WebSockets are passed without a limit, as everything
    that is not a request: one would hold a permit for as long as it is connected. A denied handshake gets 429 if the server can
    send that (extension "websocket.http.response"), otherwise the server's 403.

    If the limiter has permits, a request holds one until its response has been sent, or the application has returned or raised.
    When the client hangs up, the server tells the application (Starlette cancels streaming responses then); the permit is held
    until it returns. The application finds its admission in the scope as "shm_limit.admission".
    """

    def __init__(
        self,
        app: App,
        limit: Limiter,
        *,
        key: Optional[KeyOf[Request]] = None,
        mode: str = "reject",
        timeout: Optional[Seconds] = None,
        max_waiters: Optional[int] = None,
        on_error: str = "fail_closed",
        cost: CostOf[Request] = 1,
        policy_name: str = "default",
        websockets: bool = False,
    ) -> None:
        self._app = app
        self._websockets = websockets
        self._incoming = Incoming(
            limit,
            key=key,
            mode=mode,
            timeout=timeout,
            max_waiters=max_waiters,
            on_error=on_error,
            cost=cost,
            policy_name=policy_name,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" and not (scope["type"] == "websocket" and self._websockets):
            await self._app(scope, receive, send)
            return
        if not self._incoming.waits:
            await self._answer(await self._incoming.decide_async(scope), scope, receive, send)
            return
        inbox = Inbox(receive)
        try:
            decided = await unless_hung_up(self._incoming.decide_async(scope), inbox)
            if decided is not None:
                await self._answer(decided, scope, inbox.receive, send)
        finally:
            inbox.close()

    async def _answer(self, decided: Union[Passed, Refused], scope: Scope, receive: Receive, send: Send) -> None:
        is_websocket = scope["type"] == "websocket"
        if isinstance(decided, Refused):
            await (_refuse_websocket if is_websocket else _refuse)(scope, decided, receive, send)
            return
        admission = decided.admission
        try:
            await self._app({**scope, ADMISSION: admission}, receive, self._sender(decided, send))
        finally:
            if admission is not None:
                admission.release()

    def _sender(self, passed: Passed, send: Send) -> Send:
        async def send_with_fields(message: Message) -> None:
            kind = message["type"]
            if kind == "http.response.start" or kind == "websocket.accept":
                fields = _headers(self._incoming.fields(passed))
                message = {**message, "headers": [*message.get("headers", ()), *fields]}
            await send(message)
            if kind == "http.response.body" and not message.get("more_body", False) and passed.admission is not None:
                # The application may have tasks left for after the response.
                passed.admission.release()

        return send_with_fields


def _headers(fields: list[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode("ascii"), value.encode("ascii")) for name, value in fields]


async def _refuse(scope: Scope, refused: Refused, receive: Receive, send: Send) -> None:
    headers = [*_headers(refused.fields), (b"content-length", b"0")]
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


async def _refuse_websocket(scope: Scope, refused: Refused, receive: Receive, send: Send) -> None:
    message = await receive()
    if message["type"] != "websocket.connect":
        return
    if "websocket.http.response" not in (scope.get("extensions") or {}):
        await send({"type": "websocket.close", "code": 1013, "reason": ""})
        return
    headers = [*_headers(refused.fields), (b"content-length", b"0")]
    await send({"type": "websocket.http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": b""})
