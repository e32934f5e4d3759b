"""One budget for processes: forked, spawned, killed; and handles that travel."""

import concurrent.futures
import fcntl
import gc
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time

import pytest

from shm_limit import RateLimit, _unnamed


def take(limit):
    return sum(bool(limit.try_acquire()) for _ in range(20))


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize("named", [True, False])
def test_pools_share_one_budget(limit, method, named):
    api = limit("30/h", burst=30) if named else RateLimit("30/h", burst=30)
    context = multiprocessing.get_context(method)
    with concurrent.futures.ProcessPoolExecutor(3, mp_context=context) as pool:
        assert sum(pool.map(take, [api] * 6)) == 30
    assert not api.try_acquire()


def test_a_forked_child_inherits_the_handle_and_not_the_permit(limit):
    api = limit(permits=1)
    held = api.try_acquire()
    child = os.fork()
    if child == 0:
        # Its copy of the admission releases nothing.
        held.release()
        os._exit(3 if api.try_acquire() else 0)
    assert os.waitpid(child, 0)[1] == 0
    assert not api.try_acquire()
    held.release()
    assert api.try_acquire()


def test_a_killed_waiter_takes_nothing_with_it(limit):
    api = limit("1/h")
    api.wait()
    child = os.fork()
    if child == 0:
        api.wait()
        os._exit(1)
    deadline = time.monotonic() + 30
    while api.status()["queued"] == 0 and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    # When it should have looked and did not, the next caller finds that it is dead, and gives back its turn.
    while api.acquire(timeout=0.05).retry_after > 3600 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert 3500 < api.try_acquire().retry_after <= 3600
    assert api.status()["used"] == 1 and api.status()["queued"] == 0


def wait_until(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert condition()


def test_a_stopped_waiter_delays_nobody(limit):
    api = limit("10/s")
    api.wait()
    child = os.fork()
    if child == 0:
        for _ in range(10_000):
            api.wait()
        os._exit(0)
    try:
        wait_until(lambda: api.stats()["waited"] > 2)
        os.kill(child, signal.SIGSTOP)
        os.waitpid(child, os.WUNTRACED)
        # The turns that a stopped process would have are delivered to those who live.
        began, before = time.monotonic(), api.stats()["admitted"]
        waited = [api.wait() for _ in range(12)]
        assert max(waited) < 30 and api.stats()["admitted"] == before + 12
        assert time.monotonic() - began > 1.0
        os.kill(child, signal.SIGCONT)
        wait_until(lambda: api.stats()["admitted"] > before + 14)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_a_permit_returns_from_a_process_that_is_killed(limit, end):
    api = limit("1000/s", burst=1000, permits=1)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        with api:
            os.write(writer, b"x")
            time.sleep(1000)
    assert os.read(reader, 1) == b"x" and not api.try_acquire()
    os.kill(child, end)
    os.waitpid(child, 0)
    assert api.acquire(timeout=30)
    os.close(reader)
    os.close(writer)


def test_a_pickled_handle_opens_the_same_limiter(limit):
    api = limit("2/h", burst=2)
    other = pickle.loads(pickle.dumps(api))
    assert api.try_acquire() and other.try_acquire() and not api.try_acquire()


PRIVATE = """
import os, sys
from shm_limit import RateLimit
limit = RateLimit("5/s")
limit.wait()
print(limit.path, flush=True)
if len(sys.argv) > 1:
    os.kill(os.getpid(), 9)
"""


def test_private_limiters_are_removed_when_their_process_ends():
    run = lambda *args: subprocess.run([sys.executable, "-c", PRIVATE, *args], capture_output=True, text=True)
    ended, killed = run().stdout.strip(), run("die").stdout.strip()
    assert ended and not os.path.exists(ended) and os.path.exists(killed)
    # The next process that has a private limiter removes what the dead one left.
    run()
    assert not os.path.exists(killed)


OUTLIVED = """
import os, sys, time
from shm_limit import RateLimit
limit = RateLimit("10/h", burst=10)
assert sum(bool(limit.try_acquire()) for _ in range(6)) == 6
if os.fork() == 0:
    # It has not used its copy of the handle when its parent ends.
    while os.getppid() == int(sys.argv[1]):
        time.sleep(0.01)
    time.sleep(0.2)
    print(limit.path, sum(bool(limit.try_acquire()) for _ in range(20)), flush=True)
    sys.exit()
"""


def test_a_private_limiter_lasts_as_long_as_a_forked_child():
    code = OUTLIVED.replace("int(sys.argv[1])", "parent").replace("limit = ", "parent = os.getpid()\nlimit = ")
    path, admitted = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.split()
    assert admitted == "4" and not os.path.exists(path)


AT_IMPORT = """
import multiprocessing, sys
from shm_limit import RateLimit

limit = RateLimit("10/h", burst=10)
others = [RateLimit("1/h") for _ in range(2)]

def take(_):
    return sum(bool(limit.try_acquire()) for _ in range(5)), sum(bool(other.try_acquire()) for other in others)

if __name__ == "__main__":
    with multiprocessing.get_context(sys.argv[1]).Pool(3) as pool:
        taken = pool.map(take, range(9), chunksize=1)
    print(sum(of for of, _ in taken), sum(of for _, of in taken))
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_limiter_without_a_name_that_a_module_makes_is_shared(tmp_path, method):
    (tmp_path / "program.py").write_text(AT_IMPORT)
    run = [sys.executable, str(tmp_path / "program.py"), method]
    # Two programs of the same file are not related.
    first, second = (subprocess.Popen(run, stdout=subprocess.PIPE, text=True) for _ in range(2))
    assert [first.communicate()[0].split(), second.communicate()[0].split()] == [["10", "2"]] * 2


def test_a_closed_descriptor_of_a_private_limiter_is_nobody_elses(tmp_path):
    limit = RateLimit("1/h")
    numbers = [int(number) for number in os.listdir("/proc/self/fd")]
    mine = {fd for fd in numbers if os.path.exists(f"/proc/self/fd/{fd}") and os.path.samefile(f"/proc/self/fd/{fd}", limit.path)}
    (number,) = mine
    path = limit.path
    with open(tmp_path / "file", "w") as file:
        # The number is another file now, as after a program has become a daemon.
        os.dup2(file.fileno(), number)
    del limit
    gc.collect()
    os.fstat(number)
    os.close(number)
    assert not os.path.exists(path)


PRELOADED = """
import multiprocessing, sys
import limited

if __name__ == "__main__":
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["limited"])
    with context.Pool(3) as pool:
        print(sum(pool.map(limited.take, range(9), chunksize=1)) + limited.take(0))
"""


def test_what_a_forkserver_preloads_is_the_parents_limiter(tmp_path):
    code = 'from shm_limit import RateLimit\nlimit = RateLimit("10/h", burst=10)\n'
    code += "def take(_): return sum(bool(limit.try_acquire()) for _ in range(5))\n"
    (tmp_path / "limited.py").write_text(code)
    (tmp_path / "program.py").write_text(PRELOADED)
    run = subprocess.run([sys.executable, str(tmp_path / "program.py")], capture_output=True, text=True)
    assert run.stdout.split() == ["10"], run.stderr


def test_only_limiters_without_a_name_are_swept(tmp_path):
    environment = {**os.environ, "SHM_LIMIT_DIR": str(tmp_path)}
    run = lambda code: subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    take = "from shm_limit import RateLimit; print(bool(RateLimit('1/h', name='private-api').try_acquire()))"
    # Links are not followed, and a pipe that nobody writes to is not waited for.
    os.mkfifo(tmp_path / ("private-1-" + 24 * "0"))
    os.symlink("nowhere", tmp_path / ("private-2-" + 24 * "0"))
    assert run(take).stdout == "True\n"
    assert run("from shm_limit import RateLimit; print(bool(RateLimit('1/h').try_acquire()))").stdout == "True\n"
    assert run(take).stdout == "False\n"
    with pytest.raises(ValueError, match="without a name"):
        RateLimit("1/h", name="private-1-" + 24 * "a", directory=tmp_path)


def test_a_file_that_was_made_anew_is_not_removed_with_the_old_one(limit, monkeypatch, tmp_path):
    name = "private-1-" + 24 * "a"
    RateLimit._open(name, ["1/h"], {"directory": str(tmp_path), "on_lost": "error"})
    flock = fcntl.flock
    made = []

    def replaced_meanwhile(descriptor, operation):
        flock(descriptor, operation)
        os.unlink(tmp_path / name)
        made.append(RateLimit._open(name, ["1/h"], {"directory": str(tmp_path), "on_lost": "error"}))

    monkeypatch.setattr(_unnamed.fcntl, "flock", replaced_meanwhile)
    _unnamed._remove_if_unused(str(tmp_path), name)
    assert os.path.exists(tmp_path / name) and made[0].try_acquire()
