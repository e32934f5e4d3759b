"""The README's application under gunicorn: one budget for all workers."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from test_readme import BLOCKS

pytest.importorskip("gunicorn")


class Connection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=30)
        self.path = path

    def connect(self):
        deadline = time.monotonic() + 30
        while True:
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(30)
            try:
                return self.sock.connect(self.path)
            except ConnectionRefusedError:
                # The server has made the file, and does not listen yet.
                self.sock.close()
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)


def get(path):
    connection = Connection(path)
    connection.request("GET", "/")
    response = connection.getresponse()
    response.read()
    connection.close()
    return response


@pytest.mark.parametrize("options", [[], ["--preload"]])
def test_four_workers_share_one_budget(tmp_path, options):
    # No turn comes back while the test runs.
    (tmp_path / "app.py").write_text(BLOCKS[2].replace("per=1,", "per=3600,"))
    path = str(tmp_path / "socket")
    command = [sys.executable, "-m", "gunicorn", "--workers", "4", "--bind", f"unix:{path}", *options, "app:application"]
    environment = {**os.environ, "SHM_LIMIT_DIR": str(tmp_path)}
    with open(tmp_path / "log", "w") as log:
        server = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=log, stdout=log)
        try:
            deadline = time.monotonic() + 60
            while not os.path.exists(path) and time.monotonic() < deadline and server.poll() is None:
                time.sleep(0.05)
            responses = [get(path) for _ in range(40)]
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(60)
    codes = [response.status for response in responses]
    assert codes.count(200) == 10 and codes.count(429) == 30, (codes, (tmp_path / "log").read_text())
    assert int(responses[-1].headers["Retry-After"]) > 300
