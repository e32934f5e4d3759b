"""The package's own tests of storages and strategies, as its authors publish them, run against `shm://` and `async+shm://`."""

import os
import pathlib
import re
import subprocess
import sys
import tarfile

import pytest

pytest.importorskip("limits")

HERE = pathlib.Path(__file__).parent
PEERS = HERE.parents[3] / "target" / "python" / "peers"
VERSION = "5.8.0"

#: Run at the same time, since most of their time is sleep.
GROUPS = [
    [f"tests/{kind}test_strategy.py", "-k", f"{strategy} and not huge"]
    for kind in ("", "aio/")
    for strategy in ("FixedWindow", "MovingWindow", "SlidingWindow")
] + [
    ["tests/test_storage.py"],
    ["tests/aio/test_storage.py"],
    [
        "tests/integration",
        "tests/test_storage_schema.py",
        "tests/test_limits.py",
        "tests/test_limit_granularities.py",
        "tests/test_ratelimit_parser.py",
        "tests/test_utils.py",
    ],
]
#: A million hits at once, which have to be done within their window of two seconds: not beside the others.
ALONE = ["tests/test_strategy.py", "tests/aio/test_strategy.py", "-k", "huge"]
#: What is left out, and why: tests/storage and tests/aio/storage name other storages, tests/benchmarks measure.
PASSED = 157


def sources():
    """The package's source distribution, unpacked."""
    unpacked = PEERS / f"limits-{VERSION}"
    if not unpacked.is_dir():
        PEERS.mkdir(parents=True, exist_ok=True)
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
        archive = [f"limits=={VERSION}", "--no-binary", "limits", "--dest", str(PEERS)]
        loaded = subprocess.run(pip + archive, capture_output=True, text=True)
        if loaded.returncode != 0:
            pytest.skip(f"the package's tests cannot be loaded: {loaded.stderr.strip().splitlines()[-1]}")
        with tarfile.open(PEERS / f"limits-{VERSION}.tar.gz") as tar:
            # The filter came with Python 3.11.4.
            tar.extractall(PEERS, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    return unpacked


def test_all_that_needs_no_server_passes(tmp_path):
    # Not beside the package's own sources: the installed one is meant.
    (tmp_path / "tests").symlink_to(sources() / "tests")
    (tmp_path / "empty.ini").write_text("[pytest]\n")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), str(tmp_path)]), "PYTHONDONTWRITEBYTECODE": "1"}
    options = ["-c", "empty.ini", "--rootdir", ".", "-q", "--tb=short", "-p", "peer_plugin", "-p", "no:cacheprovider"]
    outputs = []
    for groups in (GROUPS, [ALONE]):
        running = []
        try:
            for group in groups:
                base = ["--basetemp", str(tmp_path / f"base{len(outputs)}-{len(running)}")]
                command = [sys.executable, "-m", "pytest", *options, *base, *group]
                running.append(
                    subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
                )
            outputs += [(process.communicate(timeout=300)[0], process.returncode) for process in running]
        finally:
            for process in running:
                if process.poll() is None:
                    process.kill()
                    process.wait()
    report = "\n".join(output for output, _ in outputs)
    assert all(code == 0 for _, code in outputs), report
    assert sum(int(n) for n in re.findall(r"(\d+) passed", report)) == PASSED, report
    assert not re.search(r"\d+ (skipped|failed|error|xfailed|xpassed)", report), report
