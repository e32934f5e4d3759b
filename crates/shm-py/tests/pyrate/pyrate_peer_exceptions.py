"""PyrateLimiter's own tests that cannot pass with a ShmBucket, and why."""

_CLOCK = "it makes up timestamps, or has a clock of its own: a put counts at the instant at which it is made"
_LEAK = "it expects that outdated items count until `leak` removes them: `count` has what is used now"
_POLICY = "it has an algorithm of its own, which is refused"
_STORE = "it is about the peer's store or clock, which a ShmBucket does not have"
_FALLBACK = "it is about `AbstractBucket.waiting` for buckets that record no wait: a ShmBucket has a `waiting` of its own"

#: The reason for each of them.
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
