"""ASGI middleware, in asyncio and trio, without a server: the tests play its part."""

import os
import time

import anyio
import pytest

from shm_limit import KeyedRateLimit, Limit, RateLimit
from shm_limit.asgi import RateLimitMiddleware

loops = pytest.mark.parametrize("loop", ["asyncio", "trio"])


class Exchange:
    """A request and its response, as a server sees them."""

    def __init__(self, peer="192.0.2.7", kind="http", body=(b"",), **scope):
        self.scope = {"type": kind, "asgi": {"version": "3.0"}, "client": (peer, 4711), "headers": [], "path": "/", **scope}
        first = {"type": "websocket.connect"} if kind == "websocket" else None
        self.incoming = [first] if first else [
            {"type": "http.request", "body": chunk, "more_body": i + 1 < len(body)} for i, chunk in enumerate(body)
        ]
        self.sent = []
        self.hung_up = anyio.Event()
        self.received = 0

    async def receive(self):
        await anyio.sleep(0)
        self.received += 1
        if self.incoming:
            return self.incoming.pop(0)
        await self.hung_up.wait()
        return {"type": f"{self.scope['type']}.disconnect"}

    async def send(self, message):
        await anyio.sleep(0)
        self.sent.append(message)

    async def run(self, app):
        await app(self.scope, self.receive, self.send)
        return self

    @property
    def status(self):
        return self.sent[0]["status"]

    @property
    def headers(self):
        return {name.decode(): value.decode() for name, value in self.sent[0]["headers"]}

    @property
    def body(self):
        return b"".join(message["body"] for message in self.sent[1:])


async def respond(send, *chunks):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    for i, chunk in enumerate(chunks):
        await send({"type": "http.response.body", "body": chunk, "more_body": i + 1 < len(chunks)})


async def hello(scope, receive, send):
    await respond(send, b"hel", b"lo")


async def echo(scope, receive, send):
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message["body"]
        if not message.get("more_body"):
            break
    await respond(send, body)


def run(loop, main, *args):
    return anyio.run(main, *args, backend=loop)


def is_free(api):
    outcome = api.try_acquire()
    if outcome:
        outcome.release()
    return bool(outcome)


async def until(condition):
    with anyio.fail_after(30):
        while not condition():
            await anyio.sleep(0.005)


@loops
def test_admitted_and_denied(limit, loop):
    app = RateLimitMiddleware(hello, limit("2/m", burst=2))

    async def main():
        return [await Exchange().run(app) for _ in range(3)]

    first, _, denied = run(loop, main)
    assert (first.status, first.body) == (200, b"hello")
    fields = {"ratelimit-policy": '"default";q=2;w=60', "ratelimit": '"default";r=1;t=30'}
    assert first.headers == {"content-type": "text/plain", **fields}
    assert (denied.status, denied.body) == (429, b"") and denied.headers["ratelimit-policy"] == '"default";q=2;w=60'
    retry_after = denied.headers["retry-after"]
    assert 20 < int(retry_after) <= 30 and denied.headers["ratelimit"] == f'"default";r=0;t={retry_after}'


def test_each_client_has_a_budget(tmp_path):
    clients = KeyedRateLimit("2/h", burst=2, in_all=[Limit("5/h", burst=5)], name="clients", directory=tmp_path)
    app = RateLimitMiddleware(hello, clients)

    async def main(peers):
        return [await Exchange(peer).run(app) for peer in peers]

    of_one_network = ["2001:db8::1", "2001:db8::2", "2001:db8::3"]
    found = run("asyncio", main, ["192.0.2.7"] * 3 + of_one_network + ["192.0.2.8", "192.0.2.9", "testclient"])
    assert [one.status for one in found] == [200, 200, 429, 200, 200, 429, 200, 429, 500]
    assert found[0].headers["ratelimit"].split(", ")[1] == '"default-all";r=4;t=2880'


@loops
def test_a_permit_is_held_until_the_response_has_been_sent(limit, loop):
    api = limit("100000/s", burst=1000, permits=1)
    held = []

    async def app(scope, receive, send):
        assert scope["shm_limit.admission"].holds_permit
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        held.append(not is_free(api))
        await send({"type": "http.response.body", "body": b"b"})
        # A task for after the response.
        held.append(not is_free(api))

    assert run(loop, Exchange().run, RateLimitMiddleware(app, api)).body == b"ab"
    assert held == [True, False] and is_free(api)


@loops
def test_a_permit_is_free_after_an_exception_and_a_cancellation(limit, loop):
    api = limit("100000/s", burst=1000, permits=1)

    async def raises(scope, receive, send):
        await send({"type": "http.response.start", "status": 200})
        raise KeyError("in the middle")

    async def sleeps(scope, receive, send):
        assert not is_free(api)
        await anyio.sleep(60)

    async def main():
        with pytest.raises(KeyError):
            await Exchange().run(RateLimitMiddleware(raises, api))
        assert is_free(api)
        with anyio.move_on_after(0.05) as scope:
            await Exchange().run(RateLimitMiddleware(sleeps, api))
        assert scope.cancelled_caught and is_free(api)

    run(loop, main)


@loops
def test_a_client_that_hangs_up_frees_its_permit(limit, loop):
    api = limit("100000/s", burst=1000, permits=1)

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200})
        while (await receive())["type"] != "http.disconnect":
            pass

    async def main():
        exchange = Exchange()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(exchange.run, RateLimitMiddleware(app, api, mode="wait"))
            await until(lambda: exchange.sent)
            assert not is_free(api)
            exchange.hung_up.set()
        assert is_free(api)

    run(loop, main)


@loops
def test_requests_wait_and_their_bodies_are_kept(limit, loop):
    api = limit("20/s")
    app = RateLimitMiddleware(echo, api, mode="wait", timeout=10)

    async def main():
        began = time.monotonic()
        exchanges = [Exchange(body=(b"one ", b"two ", b"%d" % i)) for i in range(4)]
        async with anyio.create_task_group() as tasks:
            for exchange in exchanges:
                tasks.start_soon(exchange.run, app)
        assert time.monotonic() - began >= 0.149
        return exchanges

    exchanges = run(loop, main)
    assert [exchange.status for exchange in exchanges] == [200] * 4
    assert sorted(exchange.body for exchange in exchanges) == [b"one two %d" % i for i in range(4)]


@loops
def test_a_wait_is_bounded(limit, loop):
    app = RateLimitMiddleware(hello, limit("1/h"), mode="wait", timeout=1)
    full = RateLimitMiddleware(hello, limit("1/h", name="full"), mode="wait", max_waiters=0)

    async def main():
        return [(await Exchange().run(wrapped)).status for wrapped in (app, app, full, full)]

    assert run(loop, main) == [200, 429, 200, 429]


@loops
def test_a_client_that_hangs_up_while_it_waits_takes_nothing(limit, loop):
    api = limit("1/h")
    calls = []

    async def app(scope, receive, send):
        calls.append(scope)
        await respond(send, b"")

    async def main():
        wrapped = RateLimitMiddleware(app, api, mode="wait")
        await Exchange().run(wrapped)
        exchange = Exchange(body=(b"a", b"b"))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(exchange.run, wrapped)
            await until(lambda: exchange.received == 3)
            assert api.status()["queued"] == 1
            exchange.hung_up.set()
        assert not exchange.sent and len(calls) == 1
        assert (api.status()["queued"], api.status()["used"]) == (0, 1)
        # The server ends a request that waits.
        with anyio.move_on_after(0.05) as scope:
            await Exchange().run(wrapped)
        assert scope.cancelled_caught and (api.status()["queued"], api.status()["used"]) == (0, 1)

    run(loop, main)


@loops
def test_of_a_large_body_only_a_part_is_received_while_it_waits(limit, loop):
    api = limit("1/s")
    app = RateLimitMiddleware(echo, api, mode="wait")
    large = Exchange(body=[b"x" * 10_000] * 100)

    async def main():
        await Exchange().run(app)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(large.run, app)
            await until(lambda: api.status()["queued"] == 1 and large.received >= 7)
            await anyio.sleep(0.02)
            received.append(large.received)

    received = []
    run(loop, main)
    assert received == [7] and large.body == b"x" * 1_000_000


@loops
def test_of_empty_messages_only_some_are_received_while_it_waits(limit, loop):
    api = limit("1/s")
    app = RateLimitMiddleware(echo, api, mode="wait")
    many = Exchange(body=[b""] * 1000 + [b"end"])

    async def main():
        await Exchange().run(app)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(many.run, app)
            await until(lambda: api.status()["queued"] == 1 and many.received >= 128)
            await anyio.sleep(0.05)
            received.append(many.received)

    received = []
    run(loop, main)
    assert received == [128] and many.body == b"end" and many.received == 1001


@loops
def test_errors_of_the_server_and_of_functions_are_raised(limit, tmp_path, loop):
    api = limit("1/h")

    class Broken(Exchange):
        async def receive(self):
            raise KeyError("the server")

    def key(scope):
        raise KeyError("the function")

    async def main():
        await Exchange().run(RateLimitMiddleware(hello, api))
        with pytest.raises(KeyError, match="the server"):
            await Broken().run(RateLimitMiddleware(hello, api, mode="wait"))
        assert api.status()["queued"] == 0
        keyed = KeyedRateLimit("1/h", name="keyed", directory=tmp_path)
        with pytest.raises(KeyError, match="the function"):
            await Exchange().run(RateLimitMiddleware(hello, keyed, key=key, mode="wait"))

    run(loop, main)


@pytest.mark.parametrize("mode", ["reject", "wait"])
def test_other_scopes_are_passed(limit, mode):
    app = RateLimitMiddleware(hello_websocket, limit("1/h", permits=1), mode=mode)

    async def main():
        for kind in ("lifespan", "websocket", "lifespan", "websocket"):
            exchange = Exchange(kind=kind)
            await exchange.run(app)
            assert "headers" not in exchange.sent[0]

    run("asyncio", main)


async def hello_websocket(scope, receive, send):
    await receive() if scope["type"] == "websocket" else None
    await send({"type": "websocket.accept"})
    if "meanwhile" in scope:
        scope["meanwhile"]()


@loops
@pytest.mark.parametrize("mode", ["reject", "wait"])
def test_handshakes_can_be_limited(limit, loop, mode):
    api = limit("1/h", permits=1, burst=3)
    app = RateLimitMiddleware(hello_websocket, api, mode=mode, websockets=True, **({"timeout": 0.1} if mode == "wait" else {}))
    held = []

    async def main():
        await Exchange(kind="websocket", meanwhile=lambda: held.append(not api.try_acquire())).run(app)
        assert held == [True] and is_free(api) and is_free(api)
        closed = await Exchange(kind="websocket").run(app)
        answered = await Exchange(kind="websocket", extensions={"websocket.http.response": {}}).run(app)
        return closed, answered

    closed, answered = run(loop, main)
    assert closed.sent[0]["type"] == "websocket.close"
    assert answered.status == 429 and int(answered.headers["retry-after"]) > 3000


@pytest.mark.parametrize("on_error, status", [("fail_open", 200), ("fail_closed", 503)])
@pytest.mark.parametrize("mode", ["reject", "wait"])
def test_when_the_limiter_cannot_decide(limit, caplog, on_error, status, mode):
    api = limit("1/h", on_lost="error")
    app = RateLimitMiddleware(hello, api, on_error=on_error, mode=mode)
    RateLimit.attach("api", directory=os.path.dirname(api.path)).retire()
    found = run("asyncio", Exchange().run, app)
    assert found.status == status and "ratelimit" not in found.headers and "api" in caplog.text


def test_headers_of_the_application_stay(limit):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    headers = ((b"ratelimit", b'"inner";r=1;t=1'),)
    found = run("asyncio", Exchange().run, RateLimitMiddleware(app, limit("1/s", burst=5)))
    assert found.sent[0]["headers"][0] == headers[0] and len(found.sent[0]["headers"]) == 3 and len(headers) == 1
