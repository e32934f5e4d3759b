"""PyrateLimiter's own tests, with our bucket in the place of theirs.

They are fetched from the package index into target/python (skipped if that cannot be reached), and run as they are, with a
plugin: see pyrate_peer_plugin.py, and pyrate_peer_exceptions.py for those that cannot pass.
"""

import concurrent.futures
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile

import pytest

from pyrate_peer_exceptions import CANNOT

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parents[3]
KEPT = ROOT / "target" / "python"
VERSION = "4.5.1"
#: Run at the same time: most of their time they sleep.
GROUPS = [
    [f"test_multiprocessing.py::{name}" for name in ("test_mp_bucket_async", "test_mp_bucket_failures")],
    [f"test_multiprocessing.py::{name}" for name in ("test_mp_bucket", "test_limiter_delay", "test_bucket_full")],
    ["test_bucket_factory.py", "test_multi_bucket.py", "test_closing.py", "test_lock_release.py"],
    ["test_bucket_all.py", "test_limiter.py", "test_blocking_timeouts.py"],
    ["test_acquire_path.py", "test_retry_after.py", "test_fixed_window.py", "test_gcra.py", "test_coverage_extras.py"]
    + ["test_leaker_async_detection.py"],
]
#: Backends that are not here, and the fixture's variants that would only make our bucket once more.
MARKERS = "not (sqlite or filelocksqlite or mpbucket or redis or asyncredis or postgres)"
#: How many of their tests make a bucket of ours and run. If there were fewer, the plugin would not do what it is for.
WITH_OURS = 113


@pytest.fixture(scope="module")
def peers_tests(tmp_path_factory):
    archive = KEPT / f"pyrate_limiter-{VERSION}.tar.gz"
    if not archive.exists():
        KEPT.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
        command += ["--no-binary", "pyrate-limiter", "--dest", str(KEPT), f"pyrate-limiter=={VERSION}"]
        fetched = subprocess.run(command, capture_output=True, text=True)
        if fetched.returncode != 0:
            pytest.skip(f"PyrateLimiter's tests could not be fetched: {fetched.stderr.strip()[-300:]}")
    directory = tmp_path_factory.mktemp("peer")
    with tarfile.open(archive) as source:
        source.extractall(directory)
    # Without its sources and settings beside them: the installed package is meant, and the plugin says how they run.
    shutil.copytree(directory / f"pyrate_limiter-{VERSION}" / "tests", directory / "tests")
    (directory / "limiters").mkdir()
    return directory


def run(directory, tests, report):
    environment = {**os.environ, "SHM_LIMIT_DIR": str(directory / "limiters")}
    environment.update(PYRATE_REPORT=str(report), PYTHONPATH=str(HERE))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "pyrate_peer_plugin", "-W", "ignore"]
    command += ["-m", MARKERS, "-k", "not sqlite", *tests]
    ran = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, timeout=300)
    return json.loads(report.read_text()) if report.exists() else {}, ran.stdout + ran.stderr


def failed(report):
    return [test for test, result in report.items() if "failed" in result.get("outcomes", [])]


def run_group(directory, group):
    report, output = run(directory, [f"tests/{test}" for test in group], directory / f"{abs(hash(group[0]))}.json")
    again = failed(report)
    for attempt in range(2):
        # As in the peer's own settings: its tests measure time, on a machine that others use.
        if again:
            later, more = run(directory, again, directory / f"{abs(hash(group[0]))}-{attempt}.json")
            again, output = failed(later), output + more
    return report, again, output


def test_the_peers_tests_pass_with_our_bucket(peers_tests):
    with concurrent.futures.ThreadPoolExecutor(len(GROUPS)) as pool:
        results = list(pool.map(lambda group: run_group(peers_tests, group), GROUPS))
    for report, still_failing, output in results:
        assert report and not still_failing, output[-6000:]
    all_tests = [result for report, _, _ in results for result in report.values()]
    with_ours = sum(1 for result in all_tests if result["buckets"] and "skipped" not in result["outcomes"])
    assert with_ours >= WITH_OURS
    # Their processes have ended, and the next one removes what the workers of their pools, which end at once, have left.
    sweep = "import shm_limit; assert shm_limit.RateLimit(1).try_acquire()"
    subprocess.run([sys.executable, "-c", sweep], env={**os.environ, "SHM_LIMIT_DIR": str(peers_tests / "limiters")}, check=True)
    assert not list((peers_tests / "limiters").iterdir())


def test_the_exceptions_exist_and_are_listed_on_the_page(peers_tests):
    page = (ROOT / "docs" / "python" / "pyrate.md").read_text()
    for test, reason in CANNOT.items():
        file, name = test.split("::")
        assert re.search(rf"def {name}\(", (peers_tests / "tests" / file).read_text()), f"{test} is not a test any more"
        assert f"`{name}`" in page, f"{test} is not on the page, which should say: {reason}"
