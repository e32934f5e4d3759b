"""Many processes at once: never over, whatever the start method, and whoever is killed."""

import multiprocessing
import os
import signal
import time

import pytest
from limits import parse
from limits.storage import storage_from_string
from limits.strategies import STRATEGIES

import shm_limit.limits  # noqa: F401

METHODS = {"fixed": "fixed-window", "moving": "moving-window", "sliding": "sliding-window-counter"}


def note(path, line):
    """Appends a line, in one step."""
    with open(path, "ab", buffering=0) as file:
        file.write(line)


def hit_often(storage, path, times, text, cost):
    """Notes what is admitted, by strategy."""
    limiters = {kind: STRATEGIES[name](storage) for kind, name in METHODS.items()}
    item = parse(text)
    for _ in range(times):
        for kind, limiter in limiters.items():
            if limiter.hit(item, "alice", cost=cost):
                note(f"{path}/{kind}", b"x")


def hit_and_time(storage, path, seconds, text):
    limiter = STRATEGIES["moving-window"](storage)
    item = parse(text)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        before = time.monotonic_ns()
        if limiter.hit(item, "alice"):
            note(f"{path}/times", b"%d %d\n" % (before, time.monotonic_ns()))


def started(method, target, arguments, number=4):
    context = multiprocessing.get_context(method)
    processes = [context.Process(target=target, args=arguments) for _ in range(number)]
    [process.start() for process in processes]
    return processes


def ended(processes, codes=(0,)):
    try:
        [process.join(120) for process in processes]
        assert all(process.exitcode in codes for process in processes), [process.exitcode for process in processes]
    finally:
        for process in processes:
            if process.is_alive():
                process.kill()
                process.join()


@pytest.fixture
def path(tmp_path):
    while time.time() % 3600 > 3570:
        time.sleep(0.1)
    (tmp_path / "notes").mkdir()
    return tmp_path / "notes"


def admitted(path):
    return {kind: (path / kind).stat().st_size if (path / kind).exists() else 0 for kind in METHODS}


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_all_processes_get_the_limit_and_no_more(storage, path, method):
    store = storage()
    # Opened before the fork, and pickled for a spawned process.
    hit_often(store, path, 3, "300/hour", 1)
    ended(started(method, hit_often, (store, path, 200, "300/hour", 1)))
    assert admitted(path) == {"fixed": 300, "moving": 300, "sliding": 300}


def test_costs_of_several_are_never_over(storage, path):
    ended(started("fork", hit_often, (storage(), path, 100, "200/hour", 3)))
    number = admitted(path)
    assert number["fixed"] == number["sliding"] == 66
    # Where processes race for the last entries, each loser may have taken some.
    assert 66 - 4 <= number["moving"] <= 66


def test_killed_processes_lose_what_they_took_and_block_nobody(storage, path):
    store = storage()
    killed = started("fork", hit_often, (store, path, 10**9, "30000/hour", 1), 3)
    deadline = time.monotonic() + 60
    while min(admitted(path).values()) < 1_000 and time.monotonic() < deadline:
        time.sleep(0.01)
    for process in killed:
        os.kill(process.pid, signal.SIGKILL)
    ended(killed, (-signal.SIGKILL,))
    so_far = admitted(path)
    assert all(0 < number < 30_000 for number in so_far.values()), so_far
    ended(started("fork", hit_often, (store, path, 16_000, "30000/hour", 1), 2))
    # Each killed process may have taken one that it did not note.
    assert all(30_000 - 3 <= number <= 30_000 for number in admitted(path).values()), admitted(path)


def test_no_moving_window_has_more_however_it_lies(storage, path):
    ended(started("fork", hit_and_time, (storage(), path, 3.5, "40/second")))
    times = sorted(tuple(map(int, line.split())) for line in (path / "times").read_text().splitlines())
    assert 4 * 40 - 20 <= len(times) <= 4 * 40
    for begin, _ in times:
        inside = [1 for before, after in times if before >= begin and after < begin + 1_000_000_000]
        assert len(inside) <= 40


def test_a_forked_child_uses_the_handles_of_its_parent(storage, path):
    store = storage()
    limiter = STRATEGIES["moving-window"](store)
    item = parse("2000/hour")
    assert limiter.hit(item, "alice", cost=1000)
    ended(started("fork", hit_often, (store, path, 600, "2000/hour", 1)))
    assert admitted(path)["moving"] == 1000
    assert not limiter.hit(item, "alice")
    limiter.clear(item, "alice")
    assert limiter.hit(item, "alice", cost=2000)
