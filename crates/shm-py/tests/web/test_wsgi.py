"""WSGI middleware, in the checks of `wsgiref.validate`."""

import gc
import io
import os
import threading
import time
import wsgiref.util
import wsgiref.validate

import pytest

from shm_limit import KeyedRateLimit, Limit, RateLimit
from shm_limit.client_ip import ClientIp
from shm_limit.wsgi import RateLimitMiddleware


def hello(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hel", b"lo"]


def call(app, peer="192.0.2.7", **environ):
    """The status, the headers and the iterable of a response."""
    found = {"REMOTE_ADDR": peer, "QUERY_STRING": "", "SCRIPT_NAME": "", "PATH_INFO": "/", "wsgi.input": io.BytesIO(), **environ}
    wsgiref.util.setup_testing_defaults(found)
    began = []

    def start_response(status, headers, exc_info=None):
        began[:] = [int(status[:3]), dict(headers)]
        return lambda data: None

    body = wsgiref.validate.validator(app)(found, start_response)
    return began, body


def get(app, **environ):
    began, body = call(app, **environ)
    content = b"".join(body)
    body.close()
    return (*began, content)


def limited(app, *args, **options):
    return RateLimitMiddleware(wsgiref.validate.validator(app), *args, **options)


def is_free(api):
    outcome = api.try_acquire()
    if outcome:
        outcome.release()
    return bool(outcome)


def test_admitted_and_denied(limit):
    app = limited(hello, limit("2/m", burst=2))
    status, headers, content = get(app)
    assert (status, content) == (200, b"hello") and headers["Content-Type"] == "text/plain"
    # One of two is left, and two take a minute.
    assert headers["RateLimit-Policy"] == '"default";q=2;w=60' and headers["RateLimit"] == '"default";r=1;t=30'
    assert "Retry-After" not in headers
    get(app)
    status, headers, content = get(app)
    assert (status, content, headers["Content-Length"]) == (429, b"", "0")
    assert headers["RateLimit-Policy"] == '"default";q=2;w=60'
    # The clock may have gone on by a second.
    assert 20 < int(headers["Retry-After"]) <= 30 and headers["RateLimit"] == f'"default";r=0;t={headers["Retry-After"]}'


def test_several_limits_and_permits_have_names(limit):
    api = limit(limits=[Limit("9/m", burst=9), Limit("90/h", burst=90), Limit("5/s", unit="tokens")], permits=1)
    app = limited(hello, api, policy_name='my "site"', cost={"calls": 1, "tokens": 1})
    began, body = call(app)
    policy = '"my \\"site\\"";q=9;w=60, "my \\"site\\"-2";q=90;w=3600, "my \\"site\\"-concurrency";q=1;qu="concurrent-requests"'
    assert began[1]["RateLimit-Policy"] == policy
    assert began[1]["RateLimit"] == '"my \\"site\\"";r=8;t=54, "my \\"site\\"-2";r=89;t=3560'
    time.sleep(0.3)
    status, headers, _ = get(app)
    assert (status, headers["RateLimit"], headers["Retry-After"]) == (429, '"my \\"site\\"-concurrency";r=0', "1")
    list(body)
    body.close()


def test_in_shadow_mode_nothing_is_denied_and_clients_are_told_nothing(limit):
    app = limited(hello, limit("1/h", shadow=True))
    for _ in range(3):
        status, headers, _ = get(app)
        assert status == 200 and not [name for name in headers if name.startswith("RateLimit")]


def test_each_client_has_a_budget(tmp_path):
    clients = KeyedRateLimit("2/h", burst=2, in_all=[Limit("5/h", burst=5)], name="clients", directory=tmp_path)
    app = limited(hello, clients)
    found = [get(app, peer="192.0.2.7") for _ in range(3)]
    assert [status for status, _, _ in found] == [200, 200, 429]
    names = found[0][1]["RateLimit"].split(", ")
    assert names[0].startswith('"default";r=1;t=1800;pk=:') and names[1] == '"default-all";r=4;t=2880'
    # It stands for the key, and does not reveal it.
    assert "192.0.2.7" not in str(found[0][1]) and found[0][1]["RateLimit"].split("pk=")[1][:14] in found[2][1]["RateLimit"]
    # Hosts of one IPv6 network share a budget.
    assert [get(app, peer=f"2001:db8::{i}")[0] for i in range(3)] == [200, 200, 429]
    assert get(app, peer="2001:db8:0:1::")[0] == 200
    status, headers, _ = get(app, peer="192.0.2.8")
    assert status == 429 and headers["RateLimit"].startswith('"default-all";r=0;t=')
    assert get(app, peer="")[0] == 500


def test_a_key_function_decides(tmp_path):
    clients = KeyedRateLimit("1/h", in_all=[Limit("3/h", burst=3)], name="clients", directory=tmp_path)
    app = limited(hello, clients, key=lambda environ: environ.get("HTTP_X_USER"))
    assert [get(app, HTTP_X_USER="alice")[0] for _ in range(2)] == [200, 429]
    # Without a key, only the limits of all keys count.
    found = [get(app) for _ in range(3)]
    assert [status for status, _, _ in found] == [200, 200, 429] and found[0][1]["RateLimit"] == '"default-all";r=1;t=1200'
    assert found[2][1]["RateLimit"].startswith('"default-all";r=0;t=')
    free = limited(hello, KeyedRateLimit("1/h", name="only-keys", directory=tmp_path), key=lambda environ: None)
    found = [get(free) for _ in range(3)]
    assert [status for status, _, _ in found] == [200] * 3 and "RateLimit" not in found[0][1]
    behind = limited(hello, clients, key=ClientIp(trusted_proxies=["127.0.0.1"]))
    assert get(behind, peer="127.0.0.1", HTTP_X_FORWARDED_FOR="192.0.2.1")[0] == 429
    assert clients.key("192.0.2.1").status()[0]["used"] == 0


def test_requests_wait(limit):
    app = limited(hello, limit("20/s"), mode="wait", timeout=5)
    began = time.monotonic()
    assert [get(app)[0] for _ in range(3)] == [200] * 3 and time.monotonic() - began >= 0.099
    impatient = limited(hello, limit("1/h", name="slow"), mode="wait", timeout=1)
    began = time.monotonic()
    assert [get(impatient)[0] for _ in range(2)] == [200, 429]
    full = limited(hello, limit("1/h", name="full"), mode="wait", max_waiters=0)
    assert [get(full)[0] for _ in range(2)] == [200, 429]


def test_a_permit_is_held_until_the_response_is_closed(limit):
    api = limit("1000/s", burst=1000, permits=1)
    held = []

    def app(environ, start_response):
        held.append(not is_free(api))
        assert environ["shm_limit.admission"].holds_permit
        start_response("200 OK", [("Content-Type", "text/plain")])
        yield b"a"
        held.append(not is_free(api))
        yield b"b"

    wrapped = limited(app, api)
    assert get(wrapped)[2] == b"ab" and held == [True, True] and is_free(api)
    # The client hangs up in the middle: servers close the response.
    began, body = call(wrapped)
    chunks = iter(body)
    next(chunks)
    assert not is_free(api)
    body.close()
    assert is_free(api)


def test_a_permit_is_free_after_an_exception_and_when_its_response_is_garbage(limit):
    api = limit("1000/s", burst=1000, permits=1)

    def at_once(environ, start_response):
        raise KeyError("at once")

    def in_the_middle(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        yield b"a"
        raise KeyError("in the middle")

    with pytest.raises(KeyError):
        RateLimitMiddleware(at_once, api)({"REQUEST_METHOD": "GET"}, lambda *args: None)
    assert is_free(api)
    body = RateLimitMiddleware(in_the_middle, api)({"REQUEST_METHOD": "GET"}, lambda *args: None)
    assert next(body) == b"a" and not is_free(api)
    with pytest.raises(KeyError):
        next(body)
    assert is_free(api)
    body = RateLimitMiddleware(in_the_middle, api)({"REQUEST_METHOD": "GET"}, lambda *args: None)
    assert not is_free(api)
    del body
    gc.collect()
    assert is_free(api)


def test_without_permits_the_applications_own_iterable_is_returned(limit):
    class Own(list):
        pass

    def app(environ, start_response):
        start_response("200 OK", [])
        return own

    own = Own()
    assert RateLimitMiddleware(app, limit("1000/s"))({}, lambda *args: None) is own


def test_exc_info_is_passed_on(limit):
    import sys

    def app(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        try:
            raise KeyError("late")
        except KeyError:
            start_response("500 Internal Server Error", [("Content-Type", "text/plain")], sys.exc_info())
        return [b"sorry"]

    status, headers, content = get(limited(app, limit("1000/s", burst=10)))
    assert (status, content) == (500, b"sorry") and headers["RateLimit-Policy"]


@pytest.mark.parametrize("on_error, status", [("fail_open", 200), ("fail_closed", 503)])
def test_when_the_limiter_cannot_decide(limit, caplog, on_error, status):
    api = limit("1/h", on_lost="error")
    app = limited(hello, api, on_error=on_error)
    RateLimit.attach("api", directory=os.path.dirname(api.path)).retire()
    assert get(app)[0] == status and "api" in caplog.text


def test_a_cost_that_can_never_be_admitted_is_an_error_of_the_server(limit, caplog):
    app = limited(hello, limit("1/h"), cost=2, on_error="fail_open")
    assert get(app)[0] == 500 and "the maximum is 1" in caplog.text
    costs = limited(hello, limit("9/h", burst=9, name="costs"), cost=lambda environ: 9 if environ["PATH_INFO"] == "/slow" else 1)
    assert [get(costs, PATH_INFO="/slow")[0], get(costs)[0]] == [200, 429]


def test_wrong_arguments(limit, tmp_path):
    api = limit("1/h")
    for wrong in [dict(mode="sleep"), dict(timeout=1), dict(max_waiters=1), dict(on_error="ignore"), dict(key=ClientIp())]:
        with pytest.raises(ValueError):
            RateLimitMiddleware(hello, api, **wrong)
    with pytest.raises(TypeError):
        RateLimitMiddleware(hello, "api")


def test_threads_share_permits(limit):
    api = limit("100000/s", burst=1000, permits=2)
    app = RateLimitMiddleware(lambda environ, start_response: work(start_response), api, mode="wait")
    now, most, lock = [0], [0], threading.Lock()

    def work(start_response):
        start_response("200 OK", [])
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.005)
        with lock:
            now[0] -= 1
        yield b"done"

    def request():
        body = app({"REQUEST_METHOD": "GET"}, lambda *args: None)
        list(body)
        body.close()

    threads = [threading.Thread(target=request) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert most == [2] and now == [0]
