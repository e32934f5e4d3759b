"""Servers and workers under test. They are ended by their process IDs, also after a failure."""

import contextlib
import os
import signal
import subprocess
import time

import httpx

from pages import environment


@contextlib.contextmanager
def running(command, directory, is_ready):
    """Runs the command until the end of the block; `log` returns what it printed."""
    path = directory / "log"
    with open(path, "w") as log:
        # In a group of its own, which has all of its workers.
        options = dict(cwd=directory, env=environment(directory), stdout=log, stderr=log, start_new_session=True)
        process = subprocess.Popen(command, **options)
    try:
        deadline = time.monotonic() + 60
        while not is_ready(path.read_text()):
            assert process.poll() is None and time.monotonic() < deadline, path.read_text()
            time.sleep(0.05)
        yield path.read_text
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            pass
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(20)


@contextlib.contextmanager
def serving(command, directory, option, workers=4):
    """Runs a server on a Unix socket until the end of the block, which begins when its workers have started."""
    socket = directory / "socket"
    bind = f"unix:{socket}" if option == "--bind" else str(socket)
    started = {"--bind": "Booting worker", "--uds": "Application startup complete"}[option]
    ready = lambda log: socket.exists() and log.count(started) >= workers
    with running([*command, option, bind], directory, ready) as log:
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(socket)), base_url="http://server", timeout=60) as client:
            yield client, log
