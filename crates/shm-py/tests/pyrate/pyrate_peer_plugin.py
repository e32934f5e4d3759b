"""A pytest plugin for PyrateLimiter's own tests: where they say InMemoryBucket, MultiprocessBucket or StateBucket, they get a
ShmBucket.

So their fixture `create_bucket` makes our bucket, as do the tests that name a class; what the tests do with it is unchanged.
Tests that cannot pass are deselected: see pyrate_peer_exceptions.py. At the end, the plugin writes how many buckets of ours each
test has made, and what came of it: a test that made none has tested nothing of ours.
"""

import asyncio
import importlib
import inspect
import json
import os

import pyrate_limiter
import pytest

from pyrate_peer_exceptions import CANNOT
from shm_limit.pyrate import ShmBucket

#: Of the buckets made by the test that runs.
_made = []
_report = {}


class Substitute(ShmBucket):
    """A ShmBucket in the place of InMemoryBucket and MultiprocessBucket."""

    def __init__(self, rates, algorithm=None):
        _made.append(1)
        super().__init__(rates, algorithm)


class StateSubstitute(Substitute):
    """In the place of StateBucket, which is told where to keep its state and what time it is. A ShmBucket has both in its
    file.
    """

    def __init__(self, rates, algorithm=None, store=None, clock=None):
        super().__init__(rates, algorithm or pyrate_limiter.GCRA())


_CLASSES = {"InMemoryBucket": Substitute, "MultiprocessBucket": Substitute, "StateBucket": StateSubstitute}

# Before the tests import them.
_BUCKETS = ["buckets", "buckets.in_memory_bucket", "buckets.mp_bucket", "buckets.state_bucket"]
for _module in ["", *(f".{name}" for name in [*_BUCKETS, "limiter", "limiter_factory"])]:
    _module = importlib.import_module("pyrate_limiter" + _module)
    for _name, _class in _CLASSES.items():
        if hasattr(_module, _name):
            setattr(_module, _name, _class)


def pytest_collection_modifyitems(config, items):
    kept, left = [], []
    for item in items:
        # Without the parameters.
        name = item.nodeid.rpartition("/")[2].partition("[")[0]
        (left if name in CANNOT else kept).append(item)
    config.hook.pytest_deselected(items=left)
    items[:] = kept


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    """Coroutines are tests, too: pytest-asyncio would do the same, and more."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in inspect.signature(pyfuncitem.obj).parameters}))
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    _made.clear()
    try:
        return (yield)
    finally:
        _report.setdefault(item.nodeid, {})["buckets"] = len(_made)


def pytest_runtest_logreport(report):
    outcomes = _report.setdefault(report.nodeid, {}).setdefault("outcomes", [])
    outcomes.append(report.outcome)


def pytest_sessionfinish():
    with open(os.environ["PYRATE_REPORT"], "w") as file:
        json.dump(_report, file)
