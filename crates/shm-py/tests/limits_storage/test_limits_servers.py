"""Flask-Limiter under gunicorn, and slowapi, with one limit over all workers."""

import os
import signal
import subprocess
import sys
import time

import pytest
from test_gunicorn import get

pytest.importorskip("flask_limiter")
pytest.importorskip("slowapi")
pytest.importorskip("gunicorn")

FLASK = """
from flask import Flask
from flask_limiter import Limiter
import shm_limit.limits

app = Flask(__name__)
limiter = Limiter(
    lambda: "everybody", app=app, storage_uri="shm://api", strategy="{strategy}", default_limits=["10 per hour"], headers_enabled=True
)

@app.route("/")
def index():
    return "served"
"""


@pytest.fixture(autouse=True)
def _within_an_hour():
    while time.time() % 3600 > 3570:
        time.sleep(0.1)


def serve(tmp_path, name, code, *options):
    directory = tmp_path / name
    directory.mkdir()
    (directory / "app.py").write_text(code)
    command = [sys.executable, "-m", "gunicorn", "--workers", "4", "--bind", f"unix:{directory}/socket", *options, "app:app"]
    environment = {**os.environ, "SHM_LIMIT_DIR": str(directory)}
    with open(directory / "log", "w") as log:
        return subprocess.Popen(command, cwd=directory, env=environment, stderr=log, stdout=log)


def test_four_workers_of_flask_limiter_share_one_limit(tmp_path):
    servers = {}
    try:
        for strategy in ("fixed-window", "moving-window", "sliding-window-counter"):
            options = ["--preload"] if strategy == "moving-window" else []
            servers[strategy] = serve(tmp_path, strategy, FLASK.format(strategy=strategy), *options)
        for strategy, server in servers.items():
            path = tmp_path / strategy / "socket"
            deadline = time.monotonic() + 60
            while not path.exists() and time.monotonic() < deadline and server.poll() is None:
                time.sleep(0.05)
            responses = [get(str(path)) for _ in range(40)]
            codes = [response.status for response in responses]
            log = (tmp_path / strategy / "log").read_text()
            assert codes.count(200) == 10 and codes.count(429) == 30, (strategy, codes, log)
            remaining = [int(response.headers["X-RateLimit-Remaining"]) for response in responses]
            assert remaining == [*range(9, -1, -1), *[0] * 30], (strategy, remaining)
            assert time.time() - 1 <= float(responses[-1].headers["X-RateLimit-Reset"]) <= time.time() + 3601
    finally:
        for server in servers.values():
            server.send_signal(signal.SIGTERM)
        for server in servers.values():
            server.wait(60)


SLOWAPI = """
import sys
from slowapi import Limiter, _rate_limit_exceeded_handler
from slowapi.errors import RateLimitExceeded
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient
import shm_limit.limits

limiter = Limiter(key_func=lambda: "everybody", storage_uri="shm://api", strategy=sys.argv[1], headers_enabled=True)

@limiter.limit("10/hour")
async def index(request):
    return PlainTextResponse("served")

app = Starlette(routes=[Route("/", index)])
app.state.limiter = limiter
app.add_exception_handler(RateLimitExceeded, _rate_limit_exceeded_handler)
client = TestClient(app)
print(*(client.get("/").status_code for _ in range(8)))
"""


@pytest.mark.parametrize("strategy", ["fixed-window", "moving-window", "sliding-window-counter"])
def test_processes_with_slowapi_share_one_limit(tmp_path, strategy):
    pytest.importorskip("httpx")
    environment = {**os.environ, "SHM_LIMIT_DIR": str(tmp_path)}
    runs = [
        subprocess.Popen([sys.executable, "-c", SLOWAPI, strategy], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    outputs = [run.communicate(timeout=120) for run in runs]
    codes = " ".join(out for out, _ in outputs).split()
    assert (codes.count("200"), codes.count("429")) == (10, 6), outputs
