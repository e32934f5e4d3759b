"""Clients: turns, permits, pauses and retries, for httpx and requests alike."""

import contextlib
import gc
import io
import multiprocessing
import os
import pickle
import signal
import socket
import threading
import time

import anyio
import httpx
import pytest
import requests
import urllib3

import shm_limit.httpx
import shm_limit.requests
from clients import ALL, IN_TASKS, IN_THREADS, Requests, Sync
from shm_limit import KeyedRateLimit, Limit, RateLimit, RateLimited

all_clients = pytest.mark.parametrize("client", ALL)
in_threads = pytest.mark.parametrize("client", IN_THREADS)
in_tasks = pytest.mark.parametrize("client", IN_TASKS)


GARBAGE = "\xff\xfe;;\"garbage"


def paused_for(limit):
    """How long the limiter, which has not been used up, is paused."""
    denied = limit.try_acquire()
    return 0 if denied else denied.retry_after


def get_many(client, limit, url, results):
    limited, got = client(limit, timeout=0), 0
    for _ in range(5):
        try:
            got += limited.send(url).status_code == 200
        except RateLimited:
            pass
    results.put(got)


@all_clients
def test_processes_share_one_budget(limit, server, client):
    api = limit("7/h", burst=7)
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    children = [context.Process(target=get_many, args=(client, api, server.url(), results)) for _ in range(3)]
    for child in children:
        child.start()
    try:
        assert sum(results.get(timeout=60) for _ in children) == 7
    finally:
        for child in children:
            child.join(10)
            child.kill()
    assert len(server.requests) == 7


@all_clients
def test_a_denied_request_is_not_sent(limit, server, client):
    limited = client(limit("1/h"), timeout=0)
    assert limited.send(server.url()).status_code == 200
    with pytest.raises(client.denied) as raised:
        limited.send(server.url())
    assert isinstance(raised.value, RateLimited) and isinstance(raised.value, client.of_peer)
    assert raised.value.request.method == "GET" and "api" in str(raised.value)
    assert 3000 < raised.value.retry_after <= 3600 and raised.value.denied_by == "limits"
    assert len(server.requests) == 1


@all_clients
def test_a_full_line_denies(limit, server, client):
    limited = client(limit("1/h"), max_waiters=0)
    limited.send(server.url())
    with pytest.raises(client.denied) as raised:
        limited.send(server.url())
    assert raised.value.denied_by == "line" and len(server.requests) == 1


@all_clients
def test_redirects_take_turns(limit, server, client):
    limited = client(limit("2/h", burst=2, permits=1), timeout=0)
    assert limited.send(server.url(status=302, Location="/")).status_code == 200
    assert len(server.requests) == 2
    with pytest.raises(client.denied):
        limited.send(server.url())


@all_clients
@pytest.mark.parametrize(
    "fields, pause",
    [
        (dict(status=429, Retry_After=30), 30),
        (dict(status=503, Retry_After=30), 30),
        (dict(status=200, RateLimit='"default";r=0;t=30'), 30),
        (dict(status=403, X_RateLimit_Remaining=0, X_RateLimit_Reset=30), 30),
        # A year: no server gets more than an hour at once.
        (dict(status=429, Retry_After=31536000), 3600),
        (dict(status=429, Retry_After="9" * 5000), 3600),
        (dict(status=429, Retry_After="Fri, 31 Dec 9999 23:59:59 GMT"), 3600),
        # It does not say for how long.
        (dict(status=429), 1),
        (dict(status=429, Retry_After=-5), 1),
        (dict(status=429, Retry_After=GARBAGE, RateLimit=GARBAGE, X_RateLimit_Reset=GARBAGE, Date=GARBAGE), 1),
        (dict(status=503), 0),
        (dict(status=429, Retry_After="Thu, 01 Jan 1970 00:00:00 GMT"), 1),
        (dict(status=503, Retry_After="Thu, 01 Jan 1970 00:00:00 GMT"), 0),
        (dict(status=200, RateLimit='"default";r=3;t=30'), 0),
    ],
)
def test_every_process_pauses_as_long_as_the_server_says(limit, server, client, fields, pause):
    api = limit("1000/s", burst=1000)
    began = time.monotonic()
    limited = client(RateLimit.attach("api", directory=os.path.dirname(api.path)))
    assert limited.send(server.url(**fields)).status_code == fields["status"]
    left = paused_for(api)
    assert left <= pause and left >= pause - (time.monotonic() - began) - 0.01
    api.resume()
    assert api.try_acquire()


@all_clients
def test_a_pause_is_never_shortened(limit, server, client):
    api = limit("1000/s", burst=1000)
    limited = client(api)
    for path, status in [("/?status=429&Retry-After=3", 429), ("/?status=429&Retry-After=0", 429), ("/", 200)]:
        # The request was sent before another process paused the limiter.
        server.before_answer = lambda: api.pause_for(100)
        assert limited.send(f"http://127.0.0.1:{server.server_port}{path}").status_code == status
        assert 90 < paused_for(api) <= 100
        api.resume()


@all_clients
def test_bounds_of_pauses_are_options(limit, server, client):
    api = limit("1000/s", burst=1000)
    for options, fields, pause in [
        (dict(max_pause=7), dict(Retry_After=31536000), 7),
        (dict(default_pause=9), {}, 9),
        (dict(default_pause=0), {}, 0),
        (dict(max_pause=0), dict(Retry_After=30), 0),
        (dict(obey_fields=False), dict(RateLimit='"a";r=0;t=30'), 1),
    ]:
        client(api, **options).send(server.url(status=429, **fields))
        assert pause - 2 < paused_for(api) <= pause
        api.resume()
    longer_than_a_year, nan = dict(max_pause=367 * 86_400), dict(default_pause=float("nan"))
    for wrong in [longer_than_a_year, nan, dict(max_pause=-1), dict(retries=-1), dict(key=str)]:
        with pytest.raises(ValueError):
            client(api, **wrong).send(server.url())
    with pytest.raises(TypeError):
        client("api").send(server.url())


@all_clients
def test_an_answer_is_not_lost_if_the_limiter_cannot_be_paused(limit, server, client, caplog):
    api = limit("1000/s", on_lost="error")
    server.before_answer = lambda: RateLimit.attach("api", directory=os.path.dirname(api.path)).retire()
    assert client(api).send(server.url(status=429, Retry_After=30)).text == "answer"
    assert "no pause of 30.000 s" in caplog.text and "api" in caplog.text


@all_clients
def test_a_refused_request_is_sent_again(limit, server, client):
    api = limit("1000/s", burst=1000, permits=1)
    limited = client(api, retries=3)
    began = time.monotonic()
    response = limited.send(server.url("/first", status=429, Retry_After=1), "POST", b"body")
    assert response.status_code == 200 and response.text == "body" and time.monotonic() - began >= 0.99
    assert [body for _, _, body in server.requests] == [b"body"] * 2
    assert api.stats()["admitted"] == 2 and api.try_acquire().holds_permit


@all_clients
def test_retries_are_bounded(limit, server, client):
    api = limit("1000/s", burst=1000, permits=1)
    assert client(api, retries=3, default_pause=0).send(server.url(status=429)).status_code == 429
    assert len(server.requests) == 4
    # By default, the caller sees the answer.
    assert client(api, default_pause=0).send(server.url(status=429)).status_code == 429
    assert len(server.requests) == 5 and api.try_acquire()


@all_clients
def test_what_cannot_be_sent_again_is_not(limit, server, client):
    api = limit("1000/s", burst=1000, permits=1)
    limited = client(api, retries=3, default_pause=0, timeout=5)
    for method, fields, content, times in [
        ("POST", dict(status=429), iter([b"once"]), 1),
        # The server may have acted on it.
        ("POST", dict(status=503, Retry_After=0), b"body", 1),
        ("PUT", dict(status=503, Retry_After=0), b"body", 4),
        # The next turn would come too late.
        ("GET", dict(status=429, Retry_After=60), None, 1),
        # No limit is why.
        ("GET", dict(status=503), None, 1),
        ("GET", dict(status=500, Retry_After=0), None, 1),
    ]:
        server.requests.clear()
        assert limited.send(server.url(**fields), method, content).status_code == fields["status"]
        assert len(server.requests) == times
        api.resume()
    assert api.try_acquire()


TOKENS = Limit(1000, per=60, unit="tokens")


@all_clients
@pytest.mark.parametrize(
    "limiter, settings, options",
    [
        (RateLimit, dict(limits=["1000/s"], shadow=True), {}),
        (RateLimit, dict(permits=5, shadow=True), {}),
        (KeyedRateLimit, dict(limits=["1000/s"], in_all=["1000/s"], permits=5, shadow=True), {}),
        (KeyedRateLimit, dict(limits=["1000/s"], in_all=["1000/s"], shadow=True), dict(key=lambda request: None)),
        (KeyedRateLimit, dict(limits=["1000/s"]), dict(key=lambda request: None)),
        (KeyedRateLimit, dict(limits=[TOKENS]), dict(cost={"tokens": 1})),
        (KeyedRateLimit, dict(limits=[TOKENS, "1000/s"]), dict(cost={"calls": 0, "tokens": 1})),
    ],
)
def test_what_would_not_wait_for_the_pause_is_not_sent_again(tmp_path, server, client, limiter, settings, options):
    limited = client(limiter(name="api", directory=tmp_path, **settings), retries=5, **options)
    assert limited.send(server.url(status=429, Retry_After=30)).status_code == 429
    assert len(server.requests) == 1


@all_clients
@pytest.mark.parametrize(
    "limiter, settings, options",
    [
        (RateLimit, dict(limits=[TOKENS]), dict(cost={"tokens": 1})),
        (RateLimit, dict(permits=5), {}),
        (KeyedRateLimit, dict(limits=[TOKENS, Limit("1000/s", burst=9)]), dict(cost={"calls": 1, "tokens": 1})),
        (KeyedRateLimit, dict(limits=["1000/s"], in_all=["1000/s"]), dict(key=lambda request: None)),
    ],
)
def test_what_waits_for_the_pause_is_sent_again(tmp_path, server, client, limiter, settings, options):
    limited = client(limiter(name="api", directory=tmp_path, **settings), retries=1, **options)
    began = time.monotonic()
    assert limited.send(server.url(status=429, Retry_After="0.2")).status_code == 429
    assert len(server.requests) == 2 and time.monotonic() - began >= 0.19


def is_free(api):
    outcome = api.try_acquire()
    if outcome:
        outcome.release()
    return bool(outcome)


@in_threads
def test_a_permit_is_held_until_the_response_is_read_or_closed(limit, server, client):
    api = limit("1000/s", burst=1000, permits=1)
    limited = client(api)
    with limited.stream(server.url()) as (response, read):
        assert not is_free(api)
        read()
        assert is_free(api)
    with limited.stream(server.url("/endless")) as (response, read):
        assert not is_free(api)
    assert is_free(api)
    # A HEAD has no body.
    assert limited.send(server.url(), "HEAD").status_code == 200 and is_free(api)
    response = limited.open(server.url("/endless"))
    lines = response.iter_lines()
    assert not is_free(api)
    response.close()
    assert is_free(api)
    limited.close()


@in_threads
def test_a_permit_is_free_when_its_response_is_garbage(limit, server, client):
    api = limit("1000/s", burst=1000, permits=1)
    limited = client(api)
    response = limited.open(server.url("/endless"))
    assert not is_free(api)
    del response
    gc.collect()
    assert is_free(api)


@in_threads
def test_a_permit_is_free_after_an_exception(limit, server, client):
    api = limit("1000/s", burst=1000, permits=1)
    limited = client(api)
    with pytest.raises(client.broken):
        limited.send(server.url("/broken"))
    assert is_free(api)
    response = limited.open(server.url("/broken"))
    with pytest.raises(client.broken):
        for _ in response.iter_content() if client is Requests else response.iter_bytes():
            pass
    assert is_free(api)
    with pytest.raises(client.refused):
        limited.send("http://127.0.0.1:9/")
    assert is_free(api)


@in_tasks
def test_permits_of_tasks(limit, server, client):
    api = limit("1000/s", burst=1000, permits=1)
    limited = client(api)

    async def main():
        async with limited.opened() as http:
            async with http.stream("GET", server.url()) as response:
                assert not is_free(api)
                await response.aread()
                assert is_free(api)
            async with http.stream("GET", server.url("/endless")):
                assert not is_free(api)
            assert is_free(api)
            with pytest.raises(httpx.RemoteProtocolError):
                await http.get(server.url("/broken"))
            assert is_free(api)
            with pytest.raises(httpx.ConnectError):
                await http.get("http://127.0.0.1:9/")
            assert is_free(api)

    limited.run(main)


@in_tasks
def test_a_permit_of_a_task_is_free_when_its_response_is_garbage(limit, server, client):
    api = limit("1000/s", burst=1000, permits=1)
    limited = client(api)

    async def main():
        async with limited.opened() as http:
            response = await http.send(http.build_request("GET", server.url("/endless")), stream=True)
            assert not is_free(api)
            del response
            gc.collect()
            assert is_free(api)

    limited.run(main)


@in_tasks
def test_a_task_that_is_cancelled_while_it_waits_takes_nothing(limit, server, client):
    api = limit("1/h", burst=1)
    limited = client(api)

    async def main():
        async with limited.opened() as http:
            await http.get(server.url())
            with anyio.move_on_after(0.1) as scope:
                await http.get(server.url())
            assert scope.cancelled_caught
            assert api.status()["queued"] == 0 and api.status()["used"] == 1

    limited.run(main)
    assert len(server.requests) == 1


@in_tasks
def test_a_task_that_is_cancelled_while_it_reads_frees_its_permit(limit, server, client):
    api = limit("1000/s", burst=1000, permits=1)
    limited = client(api)

    async def main():
        async with limited.opened() as http:
            # While the body is read.
            with anyio.move_on_after(0.2) as scope:
                await http.get(server.url("/endless"))
            assert scope.cancelled_caught and is_free(api)
            # While the server thinks.
            server.before_answer = lambda: server.end.wait(60)
            with anyio.move_on_after(0.2) as scope:
                await http.get(server.url())
            assert scope.cancelled_caught and is_free(api)

    limited.run(main)


@in_tasks
def test_tasks_share_a_permit(limit, server, client):
    api = limit("1000/s", burst=1000, permits=2)
    limited = client(api)
    now = most = 0

    def answer():
        nonlocal now, most
        with server.lock:
            now, most = now + 1, max(most, now + 1)
        time.sleep(0.01)
        with server.lock:
            now -= 1

    server.before_answer = answer

    async def main():
        async with limited.opened() as http, anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(http.get, server.url())

    limited.run(main)
    assert most == 2 and len(server.requests) == 20


@all_clients
def test_a_server_that_answers_garbage_leaves_the_permit_free(limit, client):
    api = limit("1000/s", burst=1000, permits=1)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer():
            for garbage in (b"\x00\xff" * 500, b"HTTP/1.1 200 OK\r\nRetry-After\r\n: \r\n\r\n", b"HTTP/9 \r\n\r\n", b""):
                connection, _ = listener.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(garbage)

        thread = threading.Thread(target=answer)
        thread.start()
        limited = client(api)
        for _ in range(4):
            # Some clients can read a part of it.
            with contextlib.suppress(client.of_peer):
                limited.send(f"http://127.0.0.1:{listener.getsockname()[1]}/")
            assert is_free(api)
        thread.join(30)


def hold(client, limit, url, ready):
    response = client(limit).open(url)
    ready.set()
    time.sleep(60)
    response.close()


@in_threads
def test_the_permit_of_a_killed_process_is_free(limit, server, client):
    api = limit("1000/s", burst=1000, permits=1)
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    child = context.Process(target=hold, args=(client, api, server.url("/endless"), ready))
    child.start()
    try:
        assert ready.wait(30) and not is_free(api)
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.join(30)
    assert client(api, timeout=30).send(server.url()).status_code == 200


@all_clients
def test_a_cost_is_settled(limit, server, client):
    api = limit(limits=[Limit("5/h", burst=5), Limit(1000, per=3600, unit="tokens", burst=1000)])
    body = (lambda request: request.body) if client is Requests else (lambda request: request.content)
    limited = client(api, cost=lambda request: {"calls": 1, "tokens": len(body(request))}, timeout=0)
    response = limited.send(server.url(), "POST", b"x" * 900)
    assert not api.try_acquire({"calls": 1, "tokens": 200})
    client.admission_of(response).settle({"calls": 1, "tokens": 300})
    assert api.try_acquire({"calls": 1, "tokens": 650})
    with pytest.raises(RateLimited):
        limited.send(server.url(), "POST", b"x" * 900)


@all_clients
def test_each_host_has_a_budget_and_pauses_of_its_own(tmp_path, server, client):
    hosts = KeyedRateLimit("100/s", burst=100, name="hosts", directory=tmp_path)
    limited = client(hosts, timeout=1)
    there = server.url(status=429, Retry_After=30)
    assert limited.send(there).status_code == 429
    with pytest.raises(client.denied) as raised:
        limited.send(server.url())
    assert raised.value.denied_by == "key" and 25 < raised.value.retry_after <= 31
    # Another name of the host is another key.
    assert limited.send(server.url().replace("127.0.0.1", "localhost")).status_code == 200
    denied = hosts.key(f"127.0.0.1:{server.server_port}").try_acquire()
    assert not denied and 25 < denied.retry_after <= 31
    assert hosts.key("127.0.0.1").try_acquire()


@in_threads
@pytest.mark.parametrize(
    "settings",
    [
        dict(limits=["3/s"]),
        dict(limits=["3/m"]),
        dict(limits=[Limit("70/m", burst=70)]),
        dict(limits=[Limit("5/s", window="fixed")]),
        dict(limits=[Limit("5/m", window="sliding")]),
        dict(limits=[Limit(1000, per=60, unit="tokens"), Limit("10/s", burst=50)]),
        dict(limits=["1/s"], in_all=["1000/s"], permits=1),
        dict(limits=[Limit("1000/h", burst=1000), Limit("5/s", burst=5)]),
    ],
)
def test_a_key_is_paused_whatever_its_limits_are(tmp_path, server, client, settings):
    keys = KeyedRateLimit(name="keys", directory=tmp_path, **settings)
    key = lambda request: "paused" if "Retry" in str(request.url) else "other"
    tokens = dict(cost={"calls": 1, "tokens": 1}) if "tokens" in repr(settings["limits"]) else {}
    limited = client(keys, key=key, timeout=70, **tokens)
    limited.send(server.url(status=429, Retry_After=100))
    after = max(limit["next_in"] for limit in keys.key("paused").status())
    # Not much longer: up to a window, or a call, more.
    assert 95 < after < 100 + 61
    # The answer of a request that was sent before asks for less: nothing more is charged.
    keys.key("paused").pause_for(50)
    assert max(limit["next_in"] for limit in keys.key("paused").status()) <= after
    assert limited.send(server.url()).status_code == 200


def test_a_key_without_a_limit_of_calls_cannot_be_paused(tmp_path, server, caplog):
    keys = KeyedRateLimit(limits=[Limit(1000, per=60, unit="tokens")], name="keys", directory=tmp_path)
    limited = Sync(keys, cost={"tokens": 1})
    assert [limited.send(server.url(status=429, Retry_After=30)).status_code for _ in range(2)] == [429, 429]
    assert "no pause of 30.000 s" in caplog.text and "counts calls" in caplog.text


@in_threads
def test_a_request_without_a_key_takes_from_the_limits_of_all_keys(tmp_path, server, client):
    keys = KeyedRateLimit("1/h", in_all=["1/h"], name="keys", directory=tmp_path)
    limited = client(keys, key=lambda request: None, timeout=0)
    assert limited.send(server.url(status=429, Retry_After=30)).status_code == 429
    with pytest.raises(client.denied):
        limited.send(server.url())
    assert keys.all_keys().status()["used"] == 1 and not keys.all_keys().try_acquire()
    free = client(KeyedRateLimit("1/h", name="only-keys", directory=tmp_path), key=lambda request: None, timeout=0)
    assert [free.send(server.url(status=429)).status_code for _ in range(3)] == [429] * 3


def test_httpx_transports_that_have_read_their_response_hold_no_permit(limit):
    api = limit("1000/s", burst=1000, permits=1)
    answer = lambda request: httpx.Response(200, json={"a": 1})
    with httpx.Client(transport=shm_limit.httpx.LimitedTransport(api, httpx.MockTransport(answer))) as client:
        response = client.get("http://example.org/")
        assert response.json() == {"a": 1} and is_free(api)


def test_requests_adapters_may_have_a_class_of_responses(limit):
    class Own(requests.Response):
        pass

    class Adapter(requests.adapters.BaseAdapter):
        def send(self, request, *args, **kwargs):
            response = Own()
            response.status_code, response.request, response.url = 200, request, request.url
            response._content = b"read"
            response._content_consumed = True
            return response

        def close(self):
            closed.append(True)

    api, closed = limit("1000/s", burst=1000, permits=1), []
    with requests.Session() as session:
        session.mount("http://", shm_limit.requests.LimitedAdapter(api, Adapter()))
        response = session.get("http://example.org/")
        assert isinstance(response, Own) and isinstance(response, shm_limit.requests.LimitedResponse) and response.text == "read"
        assert is_free(api)
    assert closed


def test_each_request_of_an_authentication_takes_a_turn(limit):
    class Adapter(requests.adapters.HTTPAdapter):
        """A server that wants digests, behind the responses that an HTTPAdapter builds."""

        def send(self, request, *args, **kwargs):
            sent.append((request.headers.get("Authorization", ""), api.stats()["admitted"], api.permits()))
            refused = not sent[-1][0].startswith("Digest ")
            fields = {"WWW-Authenticate": 'Digest realm="r", nonce="n", qop="auth"'} if refused else {}
            raw = urllib3.HTTPResponse(io.BytesIO(b"body"), fields, 401 if refused else 200, preload_content=False)
            return self.build_response(request, raw)

    api, sent = limit("3/h", burst=3, permits=1), []
    with requests.Session() as session:
        session.mount("http://", shm_limit.requests.LimitedAdapter(api, Adapter(), timeout=0))
        session.auth = requests.auth.HTTPDigestAuth("user", "password")
        response = session.get("http://example.org/")
        assert response.status_code == 200 and response.text == "body" and api.permits() == (0, 1)
        assert [(admitted, held) for _, admitted, held in sent] == [(1, (1, 1)), (2, (1, 1))]
        # The second request of another authentication would come too late.
        session.auth = requests.auth.HTTPDigestAuth("user", "password")
        with pytest.raises(shm_limit.requests.RequestDenied):
            session.get("http://example.org/")
        assert [admitted for _, admitted, _ in sent] == [1, 2, 3] and api.permits() == (0, 1)


def test_transports_have_defaults(limit, server):
    api = limit("1000/s", burst=1000)
    with httpx.Client(transport=shm_limit.httpx.LimitedTransport(api)) as client:
        assert client.get(server.url()).text == "answer"

    async def main():
        async with httpx.AsyncClient(transport=shm_limit.httpx.AsyncLimitedTransport(api)) as client:
            assert (await client.get(server.url())).text == "answer"

    anyio.run(main)
    assert api.stats()["admitted"] == 2


def test_sessions_can_be_pickled(limit, server):
    api = limit("1/h", burst=2)
    session = requests.Session()
    session.mount("http://", shm_limit.requests.LimitedAdapter(api, timeout=0))
    assert pickle.loads(pickle.dumps(session.get(server.url()))).text == "answer"
    again = pickle.loads(pickle.dumps(session))
    assert again.get(server.url()).text == "answer"
    with pytest.raises(RateLimited):
        again.get(server.url())


def test_exceptions_can_be_pickled():
    for module in (shm_limit.httpx, shm_limit.requests):
        error = pickle.loads(pickle.dumps(module.RequestDenied("limiter: denied", 1.5, "line")))
        assert (str(error), error.retry_after, error.denied_by) == ("limiter: denied", 1.5, "line")
