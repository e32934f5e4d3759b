"""An adapter for requests that waits for its turn: one budget for the requests of all processes.

    import requests
    from shm_limit import RateLimit
    from shm_limit.requests import LimitedAdapter

    session = requests.Session()
    session.mount("https://", LimitedAdapter(RateLimit(10, per=1, name="api")))

Each request waits for its turn, in line with the callers of all processes; redirects are requests, too. If the limiter has
permits, a request holds one until its response is read or closed. When a server says that it has had enough, all processes
pause: see `LimitedAdapter`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Optional, Union, cast
from urllib.parse import urlsplit

import requests
from requests.adapters import BaseAdapter, HTTPAdapter

from ._errors import RateLimited
from ._http.budgets import CostOf, KeyOf, Limiter
from ._http.outgoing import Outgoing, Turn
from ._native import Admission, Denied
from ._rate_limit import Seconds

__all__ = ["LimitedAdapter", "LimitedResponse", "RequestDenied", "admission_of"]

_Request = requests.PreparedRequest


class RequestDenied(RateLimited, requests.exceptions.RequestException):
    """A request was not sent: its turn would come after `timeout`, or too many callers wait.

    It is a `RateLimited`, with `retry_after` and `denied_by`, and a `requests.exceptions.RequestException`, with `request`.
    """


class LimitedResponse(requests.Response):
    """A response that holds the permit of its request until it is read to its end, closed, or garbage collected.

    What is read by `response.raw` does not count: close the response then, as `with session.get(url, stream=True) as response:`
    does.
    """

    _turn: Optional[Turn] = None

    def iter_content(self, chunk_size: Optional[int] = 1, decode_unicode: bool = False) -> Iterator[Any]:
        """`Response.iter_content`; at the end, the permit is released."""
        return self._until_read(super().iter_content(chunk_size, decode_unicode))

    def _until_read(self, chunks: Iterator[Any]) -> Iterator[Any]:
        try:
            yield from chunks
        except GeneratorExit:
            # The reader has stopped; the response is still open.
            raise
        except BaseException:
            self._release()
            raise
        self._release()

    def close(self) -> None:
        """Releases the connection and the permit."""
        try:
            super().close()
        finally:
            self._release()

    def _release(self) -> None:
        if self._turn is not None:
            self._turn.release()


class LimitedAdapter(BaseAdapter):
    """An adapter whose requests wait for their turn, for `session.mount("https://", …)`.

    limit: a RateLimit, or a KeyedRateLimit.
    adapter: what sends the requests; default: `HTTPAdapter()`. It is closed with this one.
    key: finds the key of a prepared request for a KeyedRateLimit; default: its host, with the port if the URL has one. If it
    returns None, the request takes only from the limits of all keys.
    cost: what a request takes: a cost, or a function of the prepared request. What was an estimate can be settled: see
    `admission_of`.
    timeout, max_waiters: as for `RateLimit.acquire`. A request whose turn would come later, or that finds so many callers
    waiting, is not sent and raises `RequestDenied`. By default, a request waits as long as it takes. (The `timeout` of a request
    is another one: it begins when the request is sent.)

    Answers 429, and 503 with `Retry-After`, pause the limiter for all processes until the server wants requests again. So do the
    fields `RateLimit` and those of its earlier drafts (`RateLimit-Remaining: 0` with `RateLimit-Reset`, and the same with `X-`),
    when they say that no request is left for more than a second. A pause never shortens another one. With a KeyedRateLimit only
    the request's key is paused, by charging it with what it could use in that time; if several callers read such an answer at the
    same instant, each may charge it. A request without a key pauses all keys.

    max_pause: a server cannot ask for more; default: an hour. If it still refuses then, the next pause begins.
    default_pause: after an answer 429 that does not say for how long.
    obey_fields: whether to obey the fields as well as `Retry-After`.
    retries: how often to send a request again that got 429, or 503 with `Retry-After` if the method is idempotent, and whose body
    can be sent again (none, bytes or text); it waits for another turn, after the pause. Default: 0, as everywhere in requests:
    the caller sees the answer. A request is not sent again if the pause is longer than `timeout`, or if it would not wait for the
    pause, as in shadow mode. Leave the `max_retries` of the `HTTPAdapter` for statuses at 0: what urllib3 sends again by itself
    takes no turn.
    """

    def __init__(
        self,
        limit: Limiter,
        adapter: Optional[BaseAdapter] = None,
        *,
        key: Optional[KeyOf[_Request]] = None,
        cost: CostOf[_Request] = 1,
        timeout: Optional[Seconds] = None,
        max_waiters: Optional[int] = None,
        retries: int = 0,
        max_pause: Seconds = 3600,
        default_pause: Seconds = 1,
        obey_fields: bool = True,
    ) -> None:
        super().__init__()
        self._outgoing = Outgoing[_Request](
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
        self._adapter = HTTPAdapter() if adapter is None else adapter

    def send(
        self,
        request: _Request,
        stream: bool = False,
        timeout: Union[None, float, tuple[float, float], tuple[float, None]] = None,
        verify: Union[bool, str] = True,
        cert: Union[None, bytes, str, tuple[Union[bytes, str], Union[bytes, str]]] = None,
        proxies: Optional[Mapping[str, str]] = None,
    ) -> requests.Response:
        """Waits for a turn, and sends the request."""
        # Other bodies are read as they are sent.
        retries = self._outgoing.retries if request.body is None or isinstance(request.body, (bytes, str)) else 0
        while True:
            turn = _admitted(self._outgoing.take(request), request)
            response: Optional[requests.Response] = None
            try:
                response = self._adapter.send(request, stream, timeout, verify, cert, proxies)
                verdict = self._outgoing.after(response.status_code, _values(response), request.method or "")
                paused = self._outgoing.pause(turn, verdict.pause)
                if not (verdict.retry and paused and retries > 0):
                    # Authentications such as HTTPDigestAuth send their next request by it, which must wait for its turn as well.
                    cast(Any, response).connection = self
                    return _held(response, turn)
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
        """Closes the adapter that sends the requests."""
        self._adapter.close()


def admission_of(response: requests.Response) -> Optional[Admission]:
    """What admitted the response's request, for `settle(actual)`. None if the request took from no budget."""
    turn = getattr(response, "_turn", None)
    return turn.admission if isinstance(turn, Turn) else None


def _host(request: _Request) -> str:
    url = urlsplit(request.url or "")
    host = (url.hostname or "").lower()
    return host if url.port is None else f"{host}:{url.port}"


def _admitted(taken: Union[Turn, Denied], request: _Request) -> Turn:
    if isinstance(taken, Denied):
        denied = taken.exception()
        error = RequestDenied(str(denied), denied.retry_after, denied.denied_by, denied.denied_limit)
        error.request = request
        raise error
    return taken


def _values(response: requests.Response) -> Any:
    """All values of a header. requests joins those of several headers by commas, which dates contain as well."""
    of_raw = getattr(getattr(response.raw, "headers", None), "getlist", None)
    if of_raw is not None:
        return of_raw
    return lambda name: [response.headers[name]] if name in response.headers else []


def _held(response: requests.Response, turn: Turn) -> requests.Response:
    """The response, which holds the permit of its request."""
    if not isinstance(response, LimitedResponse):
        response.__class__ = _limited(type(response))
    assert isinstance(response, LimitedResponse)
    response._turn = turn
    if getattr(response, "_content_consumed", False):
        turn.release()
    return response


_classes: dict[type[requests.Response], type[LimitedResponse]] = {requests.Response: LimitedResponse}


def _limited(cls: type[requests.Response]) -> type[LimitedResponse]:
    """The class of a limited response, if an adapter has its own class of responses."""
    if cls not in _classes:
        _classes[cls] = type(f"Limited{cls.__name__}", (LimitedResponse, cls), {})
    return _classes[cls]
