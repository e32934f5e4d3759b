//! How full a limiter is.

use shm_lib::limit::LimitStatus;
use shm_lib::{Attached, Inspection, Limit};
use std::cmp::Reverse;
use std::time::Duration;

/// The limits of a limiter, each with its usage.
pub(crate) fn of(seen: &Inspection) -> impl Iterator<Item = (Limit, &LimitStatus)> {
    seen.policy.limits().zip(&seen.limits)
}

/// The index of the limit that is nearest to full: the one that admits last, and of several such limits the one with the
/// smallest part left. `None` if there is no limit.
pub(crate) fn tightest(seen: &Inspection) -> Option<usize> {
    let left = |(limit, status): (Limit, &LimitStatus)| {
        let part = |n: u64| (u128::from(n) << 64) / u128::from(limit.burst());
        (Reverse(status.next_at), part(status.available), Reverse(part(status.used)))
    };
    of(seen).map(left).enumerate().min_by_key(|&(_, left)| left).map(|(index, _)| index)
}

/// Whether all permits are held.
pub(crate) fn no_permit_left(seen: &Inspection) -> bool {
    seen.policy.permits().is_some_and(|n| seen.permits_held >= u64::from(n))
}

/// Whether no request would be admitted now.
pub(crate) fn is_full(seen: &Inspection) -> bool {
    // If there is a limit, a pause shows in what the limit has available.
    let paused = seen.limits.is_empty() && seen.paused_until.is_some();
    no_permit_left(seen) || paused || seen.limits.iter().any(|status| status.available == 0)
}

/// After how long one more call would be admitted, if a permit is free.
pub(crate) fn next_in(seen: &Inspection) -> Duration {
    let next_at = seen.limits.iter().map(|status| status.next_at).max().or(seen.paused_until);
    next_at.map_or(Duration::ZERO, |at| at.since(seen.now))
}

/// The number of permits that a process holds.
pub(crate) fn held_by(seen: &Inspection, process: &Attached) -> u64 {
    seen.permit_holders.iter().find(|(seat, _)| *seat == process.seat).map_or(0, |&(_, held)| held)
}
