"""The pages on migration: each program on them runs, before and after; and what they say is the same, is."""

import os
import pathlib
import re
import subprocess
import sys
import time

import pytest

ROOT = pathlib.Path(__file__).parents[4]
PAGES = {"pyrate": "pyrate_limiter", "ratelimit": "ratelimit", "aiolimiter": "aiolimiter"}


def blocks(page):
    return re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python" / f"{page}.md").read_text(), re.S)


@pytest.mark.parametrize("page", PAGES)
def test_each_block_runs(tmp_path, page):
    pytest.importorskip(PAGES[page])
    code = blocks(page)
    # Before, and after.
    assert len(code) >= 2 and "shm_limit" not in code[0] and "shm_limit" in code[1]
    programs = [
        subprocess.Popen(
            [sys.executable, "-c", block],
            env={**os.environ, "SHM_LIMIT_DIR": str(tmp_path)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for block in code
    ]
    for program in programs:
        errors = program.communicate(timeout=60)[1]
        assert program.returncode == 0, errors
    # The programs have made the limiters that the commands on the page name.
    commands = re.findall(r"^shm-limit \w+ (\w+)", (ROOT / "docs" / "python" / f"{page}.md").read_text(), re.M)
    assert commands and set(commands) <= set(os.listdir(tmp_path))


def test_the_pages_are_linked():
    text = (ROOT / "docs" / "python.md").read_text()
    for page in (ROOT / "docs" / "python").iterdir():
        assert f"(python/{page.name})" in text


def admitted(take, times):
    return [bool(take()) for _ in range(times)]


def test_windows_are_those_of_ratelimit(limit):
    ratelimit = pytest.importorskip("ratelimit")
    ours = limit(3, per=0.3, window="first-use")
    before = time.monotonic()
    theirs = ratelimit.limits(calls=3, period=0.3, raise_on_limit=False)(lambda: True)
    assert admitted(theirs, 5) == admitted(ours.try_acquire, 5) == [True] * 3 + [False] * 2
    wait = ours.try_acquire().retry_after
    # It ends `period` after its first call, and the whole window is free again.
    assert 0 < wait <= 0.3
    time.sleep(wait)
    assert time.monotonic() - before >= 0.3
    assert admitted(theirs, 5) == admitted(ours.try_acquire, 5) == [True] * 3 + [False] * 2


def test_the_bucket_is_that_of_aiolimiter(limit):
    aiolimiter = pytest.importorskip("aiolimiter")
    import asyncio

    async def both():
        ours, theirs = limit(10, per=60, burst=10), aiolimiter.AsyncLimiter(10, 60)
        for amount in (1, 4, 3):
            assert (ours.denial(amount) is None) == theirs.has_capacity(amount) is True
            await theirs.acquire(amount)
            await ours.acquire_async(amount)
        for amount in range(1, 10):
            assert (ours.denial(amount) is None) == theirs.has_capacity(amount) == (amount <= 2)
        for acquire in (ours.acquire_async, theirs.acquire):
            with pytest.raises(ValueError):
                await acquire(11)

    asyncio.run(both())
