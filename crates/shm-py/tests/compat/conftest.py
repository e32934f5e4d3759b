"""Limiters in a directory of each test's own; the originals, to compare with; and programs that run as processes of their own."""

import importlib
import os
import pathlib
import signal
import subprocess
import sys

import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parents[4]
#: The packages that the drop-ins replace, with what they need. None of them is part of this repository.
ORIGINALS = ["ratemate==0.1.0", "flowguard==0.1.3", "nekkar==0.0.1", "pymemcache==4.0.0"]


@pytest.fixture(autouse=True)
def directory(tmp_path, monkeypatch):
    """Where the limiters of a test are."""
    here = tmp_path / "limiters"
    here.mkdir()
    monkeypatch.setenv("SHM_LIMIT_DIR", str(here))
    return here


@pytest.fixture(scope="session")
def originals():
    """The folder of the original packages, fetched once."""
    folder = REPOSITORY / "target" / "python" / "originals"
    for package in ORIGINALS:
        name, version = package.split("==")
        if not (folder / f"{name}-{version}.dist-info").exists():
            install = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps"]
            fetched = subprocess.run([*install, "--target", folder, package], capture_output=True, text=True)
            if fetched.returncode != 0:
                pytest.skip(f"{package} cannot be fetched: {fetched.stderr.strip()[-300:]}")
    return folder


@pytest.fixture
def original(originals, monkeypatch):
    """Imports a module of an original package."""
    monkeypatch.syspath_prepend(str(originals))
    return importlib.import_module


@pytest.fixture
def forked():
    """Runs a function in a forked child, and returns its PID. Children that are left are killed."""
    children = []

    def fork(function):
        child = os.fork()
        if child == 0:
            try:
                function()
            except BaseException:
                import traceback

                traceback.print_exc()
                os._exit(70)
            os._exit(0)
        children.append(child)
        return child

    yield fork
    for child in children:
        try:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        except (ProcessLookupError, ChildProcessError):
            pass


@pytest.fixture
def start(directory):
    """Starts a Python program as a process. What still runs at the end is killed."""
    processes = []

    def start(*args, **environment):
        process = subprocess.Popen(
            [sys.executable, *map(str, args)],
            env={**os.environ, "PYTHONWARNINGS": "default", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()
