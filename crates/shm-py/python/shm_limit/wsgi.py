"""WSGI middleware (Flask, Django, gunicorn, uWSGI): one limit for the requests of all worker processes.

    from shm_limit import RateLimit
    from shm_limit.wsgi import RateLimitMiddleware

    limit = RateLimit(100, per=1, burst=20, name="site", on_mismatch="keep")
    application = RateLimitMiddleware(application, limit)     # Flask: app.wsgi_app = RateLimitMiddleware(app.wsgi_app, limit)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from http import HTTPStatus
from typing import Any, Callable, Optional

from ._http.budgets import CostOf, KeyOf, Limiter
from ._http.incoming import Incoming, Refused, Request
from ._native import Admission
from ._rate_limit import Seconds

__all__ = ["RateLimitMiddleware"]

#: What the environment has a request's admission by.
ADMISSION = "shm_limit.admission"


class RateLimitMiddleware:
    """Limits the requests of a WSGI application.

    Each request takes from the limiter. A denied one gets `429 Too Many Requests` with `Retry-After` and an empty body. Responses
    have the fields `RateLimit` and `RateLimit-Policy`, as those of the Rust crate `shm-tower`; not in shadow mode.

    limit: a RateLimit, for all requests together; or a KeyedRateLimit, for each client.
    key: finds a request's key for a KeyedRateLimit, from the environment; default: `ClientIp()`. If it returns None, the request
    takes only from the limits of all keys.
    mode: "reject": a request whose turn is not now gets 429. "wait": it waits, and occupies its thread; WSGI servers do not tell
    when the client hangs up meanwhile.
    timeout, max_waiters: bounds of a wait, as for `RateLimit.acquire`. A request that cannot keep them gets 429 at once.
    on_error: what happens when the limiter cannot decide, because it was removed or damaged, say: "fail_closed": 503.
    "fail_open": the request is passed without a limit. Either is logged. A cost that the limiter can never admit, and a request
    without a client address, get 500.
    cost: what a request takes: a cost, or a function of the environment. A request without a key must not cost units that only
    keys have.
    policy_name: the limits' name in the fields.

    If the limiter has permits, a request holds one until its response is closed, has ended, or raises; also if the client hangs
    up, since servers close the response then. The application finds its admission in the environment as "shm_limit.admission".
    """

    def __init__(
        self,
        app: Callable[..., Iterable[bytes]],
        limit: Limiter,
        *,
        key: Optional[KeyOf[Request]] = None,
        mode: str = "reject",
        timeout: Optional[Seconds] = None,
        max_waiters: Optional[int] = None,
        on_error: str = "fail_closed",
        cost: CostOf[Request] = 1,
        policy_name: str = "default",
    ) -> None:
        self._app = app
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

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        decided = self._incoming.decide(environ)
        if isinstance(decided, Refused):
            status = f"{decided.status} {HTTPStatus(decided.status).phrase}"
            # PEP 333 wants a type also of an empty body, and some servers check that.
            start_response(status, [*decided.fields, ("Content-Type", "text/plain"), ("Content-Length", "0")])
            return []

        def start_with_fields(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
            return start_response(status, [*headers, *self._incoming.fields(decided)], *exc_info)

        admission = decided.admission
        environ[ADMISSION] = admission
        try:
            body = self._app(environ, start_with_fields)
        except BaseException:
            if admission is not None:
                admission.release()
            raise
        # Without a permit there is nothing to hold, and servers may have a faster way for the application's own iterable.
        return body if admission is None or not admission.holds_permit else _Body(body, admission)


class _Body:
    """A response's body, which holds the permit of its request."""

    def __init__(self, body: Iterable[bytes], admission: Admission) -> None:
        self._body = body
        self._admission = admission
        self._chunks: Optional[Iterator[bytes]] = None

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            if self._chunks is None:
                self._chunks = iter(self._body)
            return next(self._chunks)
        except BaseException:
            # Also at the end.
            self._admission.release()
            raise

    def close(self) -> None:
        try:
            close = getattr(self._body, "close", None)
            if close is not None:
                close()
        finally:
            self._admission.release()
