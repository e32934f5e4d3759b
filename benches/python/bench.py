"""Speed of the Python package beside its peers: `cargo xtask bench python`.

Every table comes from interleaved rounds: each round times every subject once, and a figure is the median of its rounds. So what else
the machine does meets all subjects alike. Read the ratios.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.metadata
import logging
import multiprocessing
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Iterator
from typing import Any, Callable, Optional

from shm_limit import KeyedRateLimit, Limit, RateLimit

HUGE = 10**9
DIRECTORY = tempfile.mkdtemp(prefix="shm-limit-bench-", dir="/dev/shm")
PEERS = ["ratemate", "flowguard", "limits", "pyrate-limiter", "aiolimiter", "redis"]

#: A subject: what is timed, how often it runs in a round, and what it is compared with.
Call = Callable[[], Any]


def loop_time(call: Call, times: int) -> float:
    """Nanoseconds of one call."""
    clock, rounds = time.perf_counter_ns, range(times)
    begun = clock()
    for _ in rounds:
        call()
    return (clock() - begun) / times


def table(title: str, subjects: dict[str, tuple[Call, int]], against: dict[str, tuple[str, str]], rounds: int = 41) -> dict[str, float]:
    """Times the subjects, and prints them: `against` says with which subject another is compared, and the target for the ratio."""
    taken: dict[str, list[float]] = {name: [] for name in subjects}
    for _ in range(rounds):
        for name, (call, times) in subjects.items():
            taken[name].append(loop_time(call, times))
    medians = {name: statistics.median(times) for name, times in taken.items()}
    show(title, medians, against)
    return medians


def show(title: str, medians: dict[str, float], against: dict[str, tuple[str, str]]) -> None:
    print(f"\n| {title} | ns | ratio | target |\n|---|---|---|---|")
    for name, median in medians.items():
        other, target = against.get(name, ("", ""))
        ratio = f"{median / medians[other]:.3g} × {other}" if other in medians else ""
        print(f"| {name} | {median:,.0f} | {ratio} | {target} |", flush=True)


def limiter(name: str, *args: Any, **kwargs: Any) -> RateLimit:
    return RateLimit(*args, name=name, directory=DIRECTORY, **kwargs)


class Empty:
    def method(self) -> None:
        pass


class Decision:
    """The least that a limiter in Python can do: read the clock, compare, and write one number."""

    def __init__(self) -> None:
        self.at = 0.0

    def try_acquire(self) -> bool:
        now = time.monotonic()
        if self.at <= now + 1:
            self.at = max(self.at, now) + 1e-9
            return True
        return False


def one_process() -> None:
    import flowguard
    import ratemate

    shm = limiter("one", HUGE, burst=HUGE)
    denied = limiter("denied", 1, 3600)
    denied.try_acquire()
    table(
        "one limit",
        {
            "baseline: an empty method": (Empty().method, 5000),
            "baseline: a decision in Python": (Decision().try_acquire, 5000),
            "shm-limit, try_acquire()": (shm.try_acquire, 5000),
            "shm-limit, denied": (denied.try_acquire, 5000),
            "shm-limit, wait()": (shm.wait, 5000),
            "ratemate, wait()": (ratemate.RateLimit(HUGE, 1).wait, 200),
            "Flowguard, acquire()": (flowguard.RateLimiter(sec=HUGE).acquire, 2000),
            "Flowguard, denied": (spent(flowguard).acquire, 2000),
        },
        {
            "shm-limit, try_acquire()": ("baseline: an empty method", "2"),
            "ratemate, wait()": ("shm-limit, wait()", "at least 20"),
            "Flowguard, acquire()": ("shm-limit, try_acquire()", "at least 1"),
            "Flowguard, denied": ("shm-limit, denied", "at least 1"),
        },
    )
    windows = [Limit(HUGE, per, window="fixed") for per in (1, 60, 3600, 86400)]
    four = limiter("four", limits=windows)
    permits = limiter("permits", HUGE, burst=HUGE, permits=4)
    peer = flowguard.RateLimiter(sec=HUGE, max_burst=4)

    def acquire_and_release() -> None:
        permits.try_acquire().release()  # type: ignore[union-attr]

    def peer_acquire_and_release() -> None:
        peer.acquire()
        peer.release()

    def block() -> None:
        with permits:
            pass

    def peer_block() -> None:
        with peer:
            pass

    table(
        "windows and permits",
        {
            "shm-limit, four windows": (four.try_acquire, 3000),
            "Flowguard, four windows": (flowguard.RateLimiter(sec=HUGE, min=HUGE, hour=HUGE, day=HUGE).acquire, 2000),
            "shm-limit, acquired and released": (acquire_and_release, 2000),
            "Flowguard, acquired and released": (peer_acquire_and_release, 2000),
            "shm-limit, `with`": (block, 2000),
            "Flowguard, `with`": (peer_block, 2000),
        },
        {
            "Flowguard, four windows": ("shm-limit, four windows", "at least 1"),
            "Flowguard, acquired and released": ("shm-limit, acquired and released", "at least 1"),
            "Flowguard, `with`": ("shm-limit, `with`", "at least 1"),
        },
    )


def spent(flowguard: Any) -> Any:
    """A limiter of Flowguard that denies for hours."""
    limit = flowguard.RateLimiter(day=1, blocking=False)
    limit.acquire()
    return limit


@contextlib.contextmanager
def redis_server() -> Iterator[Optional[str]]:
    program = shutil.which("redis-server") or shutil.which("valkey-server")
    if program is None:
        print("\nSKIPPED: there is no redis-server here (apt-get install redis-server)")
        yield None
        return
    port = 20000 + os.getpid() % 10000
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", DIRECTORY]
    server = subprocess.Popen([program, *options], stdout=subprocess.DEVNULL)
    try:
        import redis

        client = redis.Redis(port=port)
        for _ in range(100):
            with contextlib.suppress(redis.exceptions.ConnectionError):
                client.ping()
                break
            time.sleep(0.05)
        yield f"redis://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def keys() -> None:
    import limits
    from limits.storage import storage_from_string

    users = [f"user-{n}" for n in range(10_000)]
    rng = random.Random(1)
    choose = iter(lambda: users[int(rng.random() * 10_000)], None).__next__
    item = limits.parse("200000/minute")
    keyed = KeyedRateLimit(10**6, per=60, burst=10**6, name="keys", directory=DIRECTORY, capacity=20_000)
    one = keyed.key("alice")

    # A moving window has an entry for each hit.
    few = limits.parse("100/second")

    def hit(strategy: Any, storage: str, of: Any = item) -> Call:
        limit = strategy(storage_from_string(storage))
        return lambda: limit.hit(of, choose())

    with redis_server() as redis:
        subjects: dict[str, tuple[Call, int]] = {
            "baseline: choosing a key": (choose, 3000),
            "shm-limit, key(user).try_acquire()": (lambda: keyed.key(choose()).try_acquire(), 3000),
            "shm-limit, one key, try_acquire()": (one.try_acquire, 3000),
            "limits, memory, fixed window": (hit(limits.strategies.FixedWindowRateLimiter, "memory://"), 300),
            "limits, memory, moving window": (hit(limits.strategies.MovingWindowRateLimiter, "memory://", few), 300),
            "limits, memory, sliding counter": (hit(limits.strategies.SlidingWindowCounterRateLimiter, "memory://"), 300),
        }
        ours = "shm-limit, key(user).try_acquire()"
        against = {name: (ours, "at least 5") for name in subjects if name.startswith("limits, memory")}
        if redis is not None:
            name = "limits, Redis on loopback, fixed window"
            subjects[name] = (hit(limits.strategies.FixedWindowRateLimiter, redis), 50)
            against[name] = (ours, "at least 50")
        with contextlib.suppress(ImportError):
            import shm_limit.limits  # noqa: F401

            os.environ["SHM_LIMIT_DIR"] = DIRECTORY
            for kind, strategy, of in [
                ("fixed window", limits.strategies.FixedWindowRateLimiter, item),
                ("moving window", limits.strategies.MovingWindowRateLimiter, few),
                ("sliding counter", limits.strategies.SlidingWindowCounterRateLimiter, item),
            ]:
                subjects[f"shm_limit.limits, {kind}"] = (hit(strategy, "shm://bench", of), 300)
                against[f"shm_limit.limits, {kind}"] = (f"limits, memory, {kind}", "")
        table("one of 10,000 keys", subjects, against, rounds=31)


def pyrate() -> None:
    import pyrate_limiter as peer

    logging.getLogger("pyrate_limiter").setLevel(logging.ERROR)
    rates = [peer.Rate(1_000_000, peer.Duration.SECOND)]
    path = os.path.join(DIRECTORY, "pyrate.sqlite")
    sqlite = peer.SQLiteBucket.init_from_file(rates, db_path=path, use_file_lock=True)
    shm = limiter("pyrate", HUGE, burst=HUGE)
    buckets = {
        "PyrateLimiter, in memory": peer.InMemoryBucket(rates),
        "PyrateLimiter, multiprocess": peer.MultiprocessBucket.init(rates),
        "PyrateLimiter, SQLite with a file lock": sqlite,
    }
    with contextlib.suppress(ImportError):
        from shm_limit.pyrate import ShmBucket

        os.environ["SHM_LIMIT_DIR"] = DIRECTORY
        buckets["PyrateLimiter with shm_limit.pyrate"] = ShmBucket(rates, name="bucket")
    subjects: dict[str, tuple[Call, int]] = {"shm-limit, try_acquire()": (shm.try_acquire, 3000)}
    against = {}
    with contextlib.ExitStack() as open_limiters:
        for name, bucket in buckets.items():
            limit = open_limiters.enter_context(peer.Limiter(bucket))
            subjects[name] = (lambda limit=limit: limit.try_acquire("x"), 100)
            shared = "multiprocess" in name or "SQLite" in name
            against[name] = ("shm-limit, try_acquire()", "at least 200" if shared else "")
        table("PyrateLimiter", subjects, against, rounds=21)


async def in_tasks() -> None:
    import aiolimiter
    import flowguard

    shm = limiter("async", HUGE, burst=HUGE)
    subjects: dict[str, tuple[Callable[[], Awaitable[Any]], int]] = {
        "baseline: an empty coroutine": (nothing, 3000),
        "shm-limit, await acquire_async()": (shm.acquire_async, 2000),
        "aiolimiter, await acquire()": (aiolimiter.AsyncLimiter(HUGE, 1).acquire, 1000),
        "Flowguard, await acquire()": (flowguard.AsyncRateLimiter(sec=HUGE).acquire, 100),
    }
    taken: dict[str, list[float]] = {name: [] for name in subjects}
    for _ in range(31):
        for name, (call, times) in subjects.items():
            begun = time.perf_counter_ns()
            for _ in range(times):
                await call()
            taken[name].append((time.perf_counter_ns() - begun) / times)
    ours = "shm-limit, await acquire_async()"
    against = {name: (ours, "at least 10") for name in subjects if "await acquire()" in name}
    show("in a task of asyncio", {name: statistics.median(times) for name, times in taken.items()}, against)


async def nothing() -> None:
    pass


def processes() -> None:
    import ratemate

    context = multiprocessing.get_context("fork")
    peer = ratemate.RateLimit(HUGE, 1)
    subjects: dict[str, Callable[[], Call]] = {
        "shm-limit, try_acquire()": lambda: limiter("one", HUGE, burst=HUGE).try_acquire,
        "shm-limit, key(user).try_acquire(), a key each": own_key,
        "ratemate, wait()": lambda: peer.wait,
    }
    print("\n| thousand calls per second, all processes together | 1 | 2 | 3 | 4 |\n|---|---|---|---|---|")
    for name, make in subjects.items():
        figures = [together(context, make, n) for n in (1, 2, 3, 4)]
        print(f"| {name} |" + "".join(f" {figure:,.0f} |" for figure in figures), flush=True)


def own_key() -> Call:
    keyed = KeyedRateLimit(10**6, per=60, burst=10**6, name="keys", directory=DIRECTORY, capacity=20_000)
    name = str(os.getpid())
    return lambda: keyed.key(name).try_acquire()


def together(context: Any, make: Callable[[], Call], n: int) -> float:
    """The median of rounds of half a second, in thousand calls per second."""
    rounds = []
    for _ in range(5):
        start, counts = context.Barrier(n), context.Queue()

        def work() -> None:
            call, done = make(), 0
            start.wait()
            end = time.monotonic() + 0.5
            while time.monotonic() < end:
                for _ in range(100):
                    call()
                done += 100
            counts.put(done)

        workers = [context.Process(target=work) for _ in range(n)]
        for worker in workers:
            worker.start()
        rounds.append(sum(counts.get() for _ in workers) / 0.5 / 1000)
        for worker in workers:
            worker.join()
    return statistics.median(rounds)


PARTS: dict[str, Callable[[], None]] = {
    "single": one_process,
    "keys": keys,
    "pyrate": pyrate,
    "async": lambda: asyncio.run(in_tasks()),
    "processes": processes,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], help="default: all")
    parts = parser.parse_args().parts or list(PARTS)
    versions = ", ".join(f"{peer} {importlib.metadata.version(peer)}" for peer in PEERS)
    print(f"CPython {platform.python_version()}, {os.cpu_count()} cores; {versions}")
    try:
        for part in parts:
            PARTS[part]()
    finally:
        shutil.rmtree(DIRECTORY, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
