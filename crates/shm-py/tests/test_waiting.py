"""Waiting in threads: the interpreter is free meanwhile, and signals end it."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from shm_limit import KeyedRateLimit


def test_other_threads_run_while_one_waits(limit):
    api = limit("2/s")
    api.wait()
    waiter = threading.Thread(target=api.wait)
    waiter.start()
    count = 0
    while waiter.is_alive():
        count += 1
        time.sleep(0.001)
    assert count > 50


def test_ctrl_c_ends_a_wait_and_gives_the_place_back(limit):
    api = limit("1/h")
    api.wait()
    began = time.monotonic()
    sent = threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGINT))
    sent.start()
    with pytest.raises(KeyboardInterrupt):
        api.wait()
    assert time.monotonic() - began < 5
    sent.join()
    assert api.status()["used"] == 1 and api.status()["queued"] == 0


def test_ctrl_c_ends_a_wait_for_a_key_at_once(tmp_path):
    users = KeyedRateLimit("1/h", name="users", directory=tmp_path)
    users.key("a").acquire()
    late = []
    for _ in range(5):
        sent = threading.Timer(0.03, lambda: os.kill(os.getpid(), signal.SIGINT))
        sent.start()
        try:
            users.key("a").acquire()
        except KeyboardInterrupt:
            late.append(time.monotonic())
        sent.join()
    assert len(late) == 5
    # (How late depends on the machine; a wait that looks ten times a second would take 70 ms more.)
    assert min(b - a for a, b in zip(late, late[1:])) < 0.09


def test_a_handler_that_returns_does_not_end_a_wait(limit):
    api = limit("5/s")
    api.wait()
    seen = []
    before = signal.signal(signal.SIGUSR1, lambda *_: seen.append(1))
    try:
        sent = threading.Timer(0.05, lambda: os.kill(os.getpid(), signal.SIGUSR1))
        sent.start()
        assert api.wait() > 0.1 and seen == [1]
        sent.join()
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_threads_share_the_rate(limit):
    api = limit("100/s")
    began = time.monotonic()
    threads = [threading.Thread(target=lambda: [api.wait() for _ in range(10)]) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert time.monotonic() - began >= 0.38
    assert api.stats()["admitted"] == 40


LEAVE = """
import threading, time
from shm_limit import RateLimit
limit = RateLimit("1/h")
limit.wait()
threading.Thread(target=limit.wait, daemon=True).start()
time.sleep(0.2)
print("done")
"""


def test_the_interpreter_ends_while_a_thread_waits():
    ran = subprocess.run([sys.executable, "-c", LEAVE], capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stdout.strip(), ran.stderr) == (0, "done", "")
