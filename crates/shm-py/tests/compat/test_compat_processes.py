"""The drop-ins over processes: with every start method, killed, and as limiters that a module makes when it is imported."""

import os
import signal
import subprocess
import sys
import time

import pytest

from shm_limit import RateLimit as Limiter
from shm_limit.compat.algorithms import BucketConfig, SyncLeakyBucket
from shm_limit.compat.flowguard import RateLimiter
from shm_limit.compat.nekkar import Nekkar
from shm_limit.compat.ratemate import RateLimit

#: A program whose module makes limiters of five calls, and that tries them in a pool. Under spawn and forkserver each process
#: imports the module again.
POOL = """
import concurrent.futures, multiprocessing, sys
from shm_limit.compat.algorithms import BucketConfig, SyncTokenBucket
from shm_limit.compat.flowguard import RateLimiter
from shm_limit.compat.nekkar import Nekkar
from shm_limit.compat.ratemate import RateLimit

class Held:
    rate = RateLimit(5, 3600, greedy=True)

of_line = [RateLimiter(hour=5, blocking=False) for _ in range(2)]
bucket = SyncTokenBucket(BucketConfig(5, 36000))
named = Nekkar().limit("api", 5, 0)

def make():
    return RateLimit(5, 3600, greedy=True)

def acquired():
    try:
        bucket.acquire(timeout=0)
    except TimeoutError:
        return False
    return True

def take(passed):
    tries = [lambda: bool(Held.rate.limit.try_acquire()), of_line[0].acquire, of_line[1].acquire, acquired,
             lambda: bool(named.try_acquire()), lambda: bool(passed.limit.try_acquire())]
    return [sum(attempt() for _ in range(4)) for attempt in tries]

if __name__ == "__main__":
    passed = make()
    with concurrent.futures.ProcessPoolExecutor(3, mp_context=multiprocessing.get_context(sys.argv[1])) as pool:
        results = list(pool.map(take, [passed] * 6))
    print([sum(column) for column in zip(*results)])
"""


@pytest.fixture
def program(tmp_path):
    file = tmp_path / "program.py"
    file.write_text(POOL)
    return file


def test_pools_share_the_limiters_of_a_module(start, program, directory):
    # At the same time: each run of a program has limiters of its own, except for the named one.
    running = [
        (method, start(program, method, SHM_LIMIT_DIR=str(own)))
        for method in ("fork", "spawn", "forkserver")
        if (own := directory / method).mkdir() is None
    ]
    for method, process in running:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert out.strip() == "[5, 5, 5, 5, 5, 5]", method
        # The files of all but the named limiter are removed.
        assert os.listdir(directory / method) == ["nekkar-api"]


def test_runs_of_a_program_have_limiters_of_their_own(start, tmp_path, directory):
    file = tmp_path / "program.py"
    file.write_text(
        "import os, sys\n"
        "from shm_limit.compat.ratemate import RateLimit\n"
        "rate = RateLimit(1, 3600)\n"
        "rate.wait()\n"
        "print(rate.limit.name, flush=True)\n"
        "if sys.argv[1:]: os.kill(os.getpid(), 9)\n"
    )
    killed, _ = start(file, "die").communicate(timeout=60)
    assert killed.startswith("private-program.py-3-") and killed.strip() in os.listdir(directory)
    other, _ = start(file).communicate(timeout=60)
    assert other.startswith("private-program.py-3-") and other != killed
    # The second run removed its own, and what the killed one had left.
    assert os.listdir(directory) == []


def test_a_living_process_keeps_its_limiter_though_others_come_and_go(start, tmp_path, directory):
    file = tmp_path / "program.py"
    file.write_text(
        "import sys\n"
        "from shm_limit.compat.ratemate import RateLimit\n"
        "rate = RateLimit(1, 3600)\n"
        "print(rate.limit.name, flush=True)\n"
        "sys.stdin.read()\n"
        "assert rate.limit.name in __import__('os').listdir(sys.argv[1])\n"
    )
    read, write = os.pipe()
    # It has not used its limiter yet, so nothing but the lock on the file tells that it lives.
    with subprocess.Popen([sys.executable, file, directory], stdin=read, stdout=subprocess.PIPE, text=True) as living:
        os.close(read)
        try:
            name = living.stdout.readline().strip()
            for _ in range(2):
                other = subprocess.run(
                    [sys.executable, file, directory], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60
                )
                assert other.returncode == 0, other.stderr
            assert os.listdir(directory) == [name]
        finally:
            # It ends when its input does.
            os.close(write)
    assert living.returncode == 0
    assert os.listdir(directory) == []


def test_a_child_that_outlives_its_parent_keeps_the_limiter(start, tmp_path, directory):
    file = tmp_path / "program.py"
    file.write_text(
        "import os, sys, time\n"
        "from shm_limit.compat.ratemate import RateLimit\n"
        "rate = RateLimit(2, 3600, greedy=True)\n"
        "rate.wait()\n"
        "parent = os.getpid()\n"
        "if os.fork() == 0:\n"
        "    while os.getppid() == parent: time.sleep(0.01)\n"
        "    print([bool(rate.limit.try_acquire()) for _ in range(2)], rate.count, flush=True)\n"
    )
    out, err = start(file).communicate(timeout=60)
    assert out.strip() == "[True, False] 2", err


WAITERS = {
    "ratemate": lambda: RateLimit(1, 3600).wait,
    "flowguard": lambda: RateLimiter(hour=1).acquire,
    "algorithms": lambda: SyncLeakyBucket(BucketConfig(1, 3600)).acquire,
    "nekkar": lambda: Nekkar()(name="api", rate_limit=1, interval=0)(lambda: None),
}


@pytest.mark.parametrize("package", WAITERS)
def test_a_process_that_is_killed_in_a_wait_leaves_nothing(forked, directory, package):
    call = WAITERS[package]()
    limit = Limiter.attach(os.listdir(directory)[0])
    call()
    child = forked(call)
    deadline = time.monotonic() + 30
    while limit.status()["queued"] == 0 and time.monotonic() < deadline:
        time.sleep(0.005)
    assert limit.status()["queued"] == 1
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    # The next caller finds that it is dead, and gives back its turn.
    longest = 60 if package == "nekkar" else 3600
    one = {"units": 1} if package == "algorithms" else 1
    while limit.acquire(one, timeout=0.05).retry_after > longest and time.monotonic() < deadline:
        time.sleep(0.01)
    assert limit.try_acquire(one).retry_after <= longest
    assert limit.status()["used"] == 1 and limit.status()["queued"] == 0
