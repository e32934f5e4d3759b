"""Processes that share a bucket: forked and spawned, killed and stopped; and the clients of HTTP that PyrateLimiter has."""

import asyncio
import concurrent.futures
import contextlib
import http.server
import multiprocessing
import os
import random
import select
import signal
import threading
import time

import pytest
from pyrate_limiter import GCRA, Limiter, MultiprocessBucket, Rate, RateItem, limiter_factory

from pyrate_workers import acquire, acquire_in_tasks, hammer
from shm_limit.pyrate import ShmBucket


@contextlib.contextmanager
def forked(act, *args):
    """A forked child that does this until the block ends."""
    child = os.fork()
    if child == 0:
        try:
            act(*args)
        finally:
            os._exit(1)
    try:
        yield child
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.parametrize("work", [acquire, acquire_in_tasks])
def test_limiters_of_four_processes_wait_together(tmp_path, method, work):
    bucket = ShmBucket([Rate(10, 200)], name="api", directory=tmp_path)
    # Spawned processes begin late.
    with concurrent.futures.ProcessPoolExecutor(4, mp_context=multiprocessing.get_context(method)) as pool:
        list(pool.map(abs, range(4)))
        began = time.monotonic()
        admitted = sum(pool.map(work, [Limiter(bucket, buffer_ms=1)] * 4, [0.9] * 4))
        elapsed = time.monotonic() - began
    assert 10 <= admitted <= 10 * (elapsed / 0.2 + 1)
    # All that was admitted was counted by the limiter that they share.
    assert bucket.limit.stats()["admitted"] == admitted
    bucket.close()


def test_a_pool_with_the_peers_initializer(tmp_path):
    bucket = ShmBucket.init([Rate(30, 3_600_000)], name="pool", directory=tmp_path)
    with concurrent.futures.ProcessPoolExecutor(
        3, initializer=limiter_factory.init_global_limiter, initargs=(bucket,), mp_context=multiprocessing.get_context("spawn")
    ) as pool:
        admitted = sum(pool.map(_take, range(50)))
    assert admitted == 30 and bucket.count() == 30
    bucket.close()


def _take(_):
    return limiter_factory.LIMITER.try_acquire("item", blocking=False)


def test_the_peers_lock_stays_locked_when_its_holder_is_killed():
    """What the page says of MultiprocessBucket, and the next test of ours is about."""
    bucket = MultiprocessBucket.init([Rate(5, 1000)])

    def hold():
        bucket.limiter_lock().acquire()
        os.write(told, b".")
        time.sleep(60)

    tell, told = os.pipe()
    with forked(hold):
        assert select.select([tell], [], [], 30)[0] and os.read(tell, 1) == b"."
    assert not Limiter(bucket).try_acquire("item", timeout=0.2)
    os.close(tell)
    os.close(told)


@pytest.mark.parametrize("algorithm", [None, GCRA()])
def test_a_process_that_is_killed_in_a_put_blocks_no_other(tmp_path, algorithm):
    bucket = ShmBucket([Rate(1_000_000, 1_000)], algorithm, name="killed", directory=tmp_path)
    limiter = Limiter(bucket)
    for _ in range(20):
        with forked(hammer, bucket, 60), forked(hammer, bucket, 60, 3):
            time.sleep(random.uniform(0.001, 0.02))
        assert bucket.put(RateItem("item", bucket.now())) and limiter.try_acquire("item", timeout=5)
    bucket.close()


def test_a_process_that_is_stopped_in_a_put_blocks_no_other(tmp_path):
    bucket = ShmBucket([Rate(1_000_000, 1_000)], name="stopped", directory=tmp_path)
    for _ in range(10):
        with forked(hammer, bucket, 60) as child:
            time.sleep(random.uniform(0.005, 0.02))
            os.kill(child, signal.SIGSTOP)
            os.waitpid(child, os.WUNTRACED)
            for _ in range(100):
                assert bucket.put(RateItem("item", bucket.now()))
    bucket.close()


def test_a_forked_child_goes_on_with_the_handle():
    bucket = ShmBucket([Rate(3, 3_600_000)])
    assert bucket.put(RateItem("parent", bucket.now()))
    child = os.fork()
    if child == 0:
        code = 1
        with contextlib.suppress(BaseException):
            assert bucket.peek(0).name == "parent"
            assert bucket.put(RateItem("child", bucket.now()))
            assert bucket.count() == 2
            bucket.close()
            code = 0
        os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    # What the child did counts, and its `close` has removed nothing of its parent's.
    assert bucket.count() == 2 and bucket.put(RateItem("parent", bucket.now()))
    assert not bucket.put(RateItem("parent", bucket.now())) and os.path.exists(bucket.limit.path)
    bucket.close()


class Server(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(204)
        self.end_headers()

    def log_message(self, *args):
        pass


@pytest.fixture
def url():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    server.server_close()


def test_clients_of_http_share_the_budget(tmp_path, url):
    httpx, requests, aiohttp = (pytest.importorskip(name) for name in ("httpx", "requests", "aiohttp"))
    from pyrate_limiter.extras.aiohttp_limiter import RateLimitedSession
    from pyrate_limiter.extras.httpx_limiter import AsyncRateLimiterTransport, RateLimiterTransport
    from pyrate_limiter.extras.requests_limiter import RateLimitedRequestsSession

    bucket = ShmBucket([Rate(2, 250)], name="http", directory=tmp_path)
    limiter = Limiter(bucket, buffer_ms=1)
    began = time.monotonic()
    with httpx.Client(transport=RateLimiterTransport(limiter=limiter)) as client:
        assert [client.get(url).status_code for _ in range(2)] == [204] * 2
    with RateLimitedRequestsSession(limiter) as session:
        assert [session.get(url).status_code for _ in range(2)] == [204] * 2

    async def tasks():
        async with httpx.AsyncClient(transport=AsyncRateLimiterTransport(limiter=limiter)) as client:
            assert [(await client.get(url)).status_code for _ in range(2)] == [204] * 2
        session = RateLimitedSession(limiter)
        assert [(await session.get(url)).status for _ in range(2)] == [204] * 2
        await session.close()

    asyncio.run(tasks())
    assert time.monotonic() - began >= 0.75 and bucket.limit.stats()["admitted"] == 8
    bucket.close()
