"""A pytest plugin for PyrateLimiter's own tests: where they say InMemoryBucket, MultiprocessBucket or StateBucket, they get a
ShmBucket.

So their fixture `create_bucket` makes our bucket, as do the tests that name a class; what the tests do with it is unchanged.
Tests that cannot pass are deselected, each with its reason. At the end, the plugin writes how many buckets of ours each test
has made, and what
came of it: a test that made none has tested nothing of ours.
"""

import asyncio
import importlib
import inspect
import json
import os

import pyrate_limiter
import pytest

from shm_limit.pyrate import ShmBucket

_CLOCK = "it makes up timestamps, or has a clock of its own: a put counts at the instant at which it is made"
_LEAK = "it expects that outdated items count until `leak` removes them: `count` has what is used now"
_POLICY = "it has an algorithm of its own, which is refused"
_STORE = "it is about the peer's store or clock, which a ShmBucket does not have"
_FALLBACK = "it is about `AbstractBucket.waiting` for buckets that record no wait: a ShmBucket has a `waiting` of its own"

#: The peer's tests that cannot pass with this bucket, and why.
CANNOT = {
    "test_acquire_path.py::test_waiting_clears_inclusive_lower_bound": _CLOCK,
    "test_blocking_timeouts.py::test_async_retry_uses_factory_clock_not_bucket_clock": _CLOCK,
    "test_bucket_all.py::test_bucket_02": _LEAK,
    "test_bucket_all.py::test_bucket_leak": _LEAK,
    "test_coverage_extras.py::test_bucket_async_wrapper_over_sync_bucket": _LEAK,
    "test_coverage_extras.py::test_wrapper_awaits_an_awaitable_waiting": _CLOCK,
    "test_fixed_window.py::test_backends_agree_on_fixed_window": _CLOCK,
    "test_fixed_window.py::test_fixed_window_allows_a_double_burst_across_a_boundary": _CLOCK,
    "test_fixed_window.py::test_multi_rate_reports_the_first_failing_window": _CLOCK,
    "test_fixed_window.py::test_window_resets_at_the_boundary": _CLOCK,
    "test_gcra.py::test_a_custom_state_algorithm_works_end_to_end": _POLICY,
    "test_gcra.py::test_async_wrapper_preserves_state_bucket_waiting": _CLOCK,
    "test_gcra.py::test_bucket_admits_a_burst_then_drips": _CLOCK,
    "test_gcra.py::test_bucket_count_falls_back_to_zero_without_a_consumed_impl": _POLICY,
    "test_gcra.py::test_bucket_waiting_re_derives_for_a_different_weight": _CLOCK,
    "test_gcra.py::test_count_is_units_owed_and_drains_with_time": _CLOCK,
    "test_gcra.py::test_default_clock_follows_the_store": _STORE,
    "test_gcra.py::test_replay_reports_zero_when_the_policy_gives_no_wait": _POLICY,
    "test_gcra.py::test_smooth_burst_of_one_never_bunches": _CLOCK,
    "test_gcra.py::test_sustained_throughput_matches_the_rate": _CLOCK,
    "test_gcra.py::test_the_contention_assertion_can_fail": _STORE,
    "test_limiter.py::test_bucket_no_schedule_leak": _LEAK,
    "test_retry_after.py::test_async_fallback_handles_an_empty_bucket": _FALLBACK,
    "test_retry_after.py::test_fallback_skips_the_lookup_when_the_policy_wants_no_entry": _FALLBACK,
    "test_retry_after.py::test_put_decision_on_denial_carries_the_wait": _CLOCK,
    "test_retry_after.py::test_put_decision_reports_unknown_wait_for_a_legacy_bucket": _FALLBACK,
    "test_retry_after.py::test_recorded_wait_is_not_reused_for_a_different_weight": _CLOCK,
    "test_retry_after.py::test_recorded_wait_survives_a_later_query_timestamp": _CLOCK,
    "test_retry_after.py::test_successful_put_clears_the_recorded_wait": _CLOCK,
    "test_retry_after.py::test_waiting_awaits_an_async_peek_in_the_fallback": _FALLBACK,
    "test_retry_after.py::test_waiting_does_not_touch_storage_when_put_recorded_a_wait": _CLOCK,
    "test_retry_after.py::test_waiting_falls_back_to_storage_when_nothing_was_recorded": _FALLBACK,
}

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
