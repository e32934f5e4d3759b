"""Flask under gunicorn and FastAPI under uvicorn, as on the page of recipes: one budget for four workers."""

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from pages import command, program, without_refill
from running import serving
from shm_limit import RateLimit

pytest.importorskip("gunicorn")
pytest.importorskip("uvicorn")

FLASK, FASTAPI = "gunicorn and Flask", "uvicorn and FastAPI"


def get_many(client, path, times):
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(lambda _: client.get(path), range(times)))


def statuses(responses):
    return sorted(response.status_code for response in responses)


@pytest.mark.parametrize("options", [[], ["--preload"]], ids=["plain", "preload"])
def test_flask_under_gunicorn(tmp_path, options):
    (tmp_path / "app.py").write_text(without_refill(program(FLASK)))
    with serving([*command(FLASK), *options], tmp_path, "--bind") as (client, log):
        responses = get_many(client, "/", 60)
        assert statuses(responses) == [200] * 20 + [429] * 40, log()
        denied = next(response for response in responses if response.status_code == 429)
        # 100 an hour: the next one is available after 36 s.
        assert 20 < int(denied.headers["retry-after"]) <= 36
        assert denied.headers["ratelimit-policy"] == '"default";q=100;w=3600'


def test_fastapi_under_uvicorn(tmp_path):
    (tmp_path / "app.py").write_text(without_refill(program(FASTAPI)))
    with serving(command(FASTAPI), tmp_path, "--uds") as (client, log):
        # The tasks of four processes wait for "upstream", within two seconds; the middleware admits 20 requests in all.
        assert statuses(get_many(client, "/upstream", 15)) == [200] * 10 + [503] * 5, log()
        responses = get_many(client, "/", 30)
        assert statuses(responses) == [200] * 5 + [429] * 25, log()
        served = next(response for response in responses if response.status_code == 200)
        assert served.json() == {"served": True} and served.headers["ratelimit-policy"] == '"default";q=100;w=3600'


OF_FLASK = """
import os, time
from flask import Flask, Response
from shm_limit import RateLimit
from shm_limit.wsgi import RateLimitMiddleware

app = Flask(__name__)
limit = RateLimit("10000/s", burst=1000, permits=1, name="site", on_mismatch="keep")
app.wsgi_app = RateLimitMiddleware(app.wsgi_app, limit, mode="wait", timeout=20)

@app.get("/")
def index():
    return str(os.getpid())

@app.get("/endless")
def endless():
    def chunks():
        while True:
            yield f"{os.getpid():10}"
            time.sleep(0.05)
    return Response(chunks())
"""

OF_FASTAPI = """
import asyncio, os
from fastapi import FastAPI
from fastapi.responses import PlainTextResponse, StreamingResponse
from shm_limit import RateLimit
from shm_limit.asgi import RateLimitMiddleware

app = FastAPI()
limit = RateLimit("10000/s", burst=1000, permits=1, name="site", on_mismatch="keep")
app.add_middleware(RateLimitMiddleware, limit=limit, mode="wait", timeout=20)

@app.get("/")
async def index():
    return PlainTextResponse(str(os.getpid()))

@app.get("/endless")
async def endless():
    async def chunks():
        while True:
            yield f"{os.getpid():10}"
            await asyncio.sleep(0.05)
    return StreamingResponse(chunks())
"""


SERVERS = [(OF_FLASK, FLASK, "--bind"), (OF_FASTAPI, FASTAPI, "--uds")]


@pytest.mark.parametrize("code, heading, option", SERVERS, ids=["flask", "fastapi"])
def test_permits_come_back_from_clients_that_hang_up_and_from_killed_workers(tmp_path, code, heading, option):
    (tmp_path / "app.py").write_text(code)
    with serving(command(heading), tmp_path, option) as (client, log):
        # A server may begin to listen before its workers have opened the limiter.
        assert client.get("/").status_code == 200, log()
        limit = RateLimit.attach("site", directory=tmp_path)
        # A client that hangs up in the middle of a response.
        with client.stream("GET", "/endless") as response:
            # When the iterator is garbage, httpx closes the connection.
            chunks = response.iter_raw()
            next(chunks)
            denied = limit.try_acquire()
            assert not denied and denied.denied_by == "permits"
        assert client.get("/").status_code == 200, log()
        # A worker that is killed in the middle of a response.
        with client.stream("GET", "/endless") as response:
            chunks = response.iter_raw()
            worker = int(next(chunks)[:10])
            os.kill(worker, signal.SIGKILL)
            began = time.monotonic()
            responses = get_many(client, "/", 8)
            assert statuses(responses) == [200] * 8 and time.monotonic() - began < 20, log()
        assert str(worker) not in [response.text for response in responses]


def test_a_client_of_uvicorn_that_hangs_up_while_it_waits_takes_nothing(tmp_path):
    code = without_refill(program(FASTAPI)).replace("limit=site", 'limit=site, mode="wait"').replace("burst=20", "burst=2")
    (tmp_path / "app.py").write_text(code)
    with serving([*command(FASTAPI)[:3], "app:app"], tmp_path, "--uds", workers=1) as (client, log):
        limit = RateLimit.attach("site", directory=tmp_path)
        assert [client.get("/").status_code for _ in range(2)] == [200, 200]
        with pytest.raises(Exception, match="timed out"):
            client.get("/", timeout=0.5)
        deadline = time.monotonic() + 30
        while limit.status()["queued"] and time.monotonic() < deadline:
            time.sleep(0.01)
        status = limit.status()
        assert (status["queued"], status["used"]) == (0, 2), log()
