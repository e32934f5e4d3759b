"""The recipe for a model API, with a server that counts what it is asked for."""

import http.server
import json
import os
import subprocess
import sys
import threading

import pytest

from pages import blocks, environment, program, run
from shm_limit import RateLimit

CALLS = """
import sys, model
for i in range(10):
    assert model.complete(f"{sys.argv[1]}-{i}") == f"echo of {sys.argv[1]}-{i}"
"""


class Model(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        prompt = request["messages"][0]["content"]
        with self.server.lock:
            self.server.requests += 1
            refused = self.server.requests == self.server.refuses
            used = 20 + len(prompt) + self.server.requests % 5
            if not refused:
                self.server.used += used
        answer = {"choices": [{"message": {"content": f"echo of {prompt}"}}], "usage": {"total_tokens": used}}
        body = b"{}" if refused else json.dumps(answer).encode()
        self.send_response(429 if refused else 200)
        if refused:
            self.send_header("Retry-After", "1")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def api():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Model)
    server.daemon_threads, server.block_on_close = True, False
    server.requests, server.used, server.refuses, server.lock = 0, 0, None, threading.Lock()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


def model(directory, api, change=lambda code: code):
    """Writes the page's program, whose API is the test's."""
    code = program("A model API", "model.py").replace("https://api.example.com", f"http://127.0.0.1:{api.server_port}")
    (directory / "model.py").write_text(change(code))


def without_refill(code):
    """Next to nothing comes back while the test runs."""
    assert '"500/m", burst=20' in code and "60_000, per=60," in code
    return code.replace('"500/m", burst=20', '"1/h", burst=40').replace("60_000, per=60,", "60_000, per=6_000_000,")


def run_all(directory, processes):
    start = lambda i: subprocess.Popen(
        [sys.executable, "-c", CALLS, str(i)], cwd=directory, env=environment(directory), stderr=subprocess.PIPE, text=True
    )
    children = [start(i) for i in range(processes)]
    try:
        for child in children:
            _, errors = child.communicate(timeout=60)
            assert child.returncode == 0, errors
    finally:
        for child in children:
            child.kill()
            child.wait(10)


def test_processes_share_requests_and_tokens(tmp_path, api):
    model(tmp_path, api, without_refill)
    run_all(tmp_path, 3)
    assert api.requests == 30
    limit = RateLimit.attach("model", directory=tmp_path)
    # Each of the requests took an estimate of more than 500 tokens, and all of it but the actual number is back.
    assert 600 < api.used < 1200
    left = 60_000 - api.used
    assert not limit.try_acquire({"calls": 1, "tokens": left + 50})
    assert limit.try_acquire({"calls": 1, "tokens": left})
    calls = 0
    while limit.try_acquire({"calls": 1, "tokens": 0}):
        calls += 1
    assert calls == 40 - 30 - 1


def test_a_refused_request_is_sent_again(tmp_path, api):
    api.refuses = 3
    model(tmp_path, api)
    run_all(tmp_path, 2)
    assert api.requests == 21


def test_around_another_client(tmp_path):
    [code] = [block.code for block in blocks("python/recipes.md") if block.heading == "A model API" and not block.file]
    assert run(code, tmp_path) == "forty-two\n"
    limit = RateLimit.attach("model", directory=tmp_path)
    assert os.path.exists(limit.path) and limit.stats()["admitted"] == 1
