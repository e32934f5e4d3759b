//! A pause of one key. Keys have no pause of their own, so the key is charged with what it could use in that time.

use shm_lib::{Error, ErrorKind, Key, KeyPolicy, KeyedRateLimit, Kind, Limit, OwnedKey, Result};
use std::time::Duration;

/// A bucket takes one step. What is charged in windows counts for whole windows, or less and less, so that half of what seems to be
/// lacking is charged in each step, in order not to charge too much.
const MOST_STEPS: u32 = 64;

/// Charges the key until one of its limits admits no call for this long.
pub(crate) fn pause(limit: &KeyedRateLimit, key: &OwnedKey, time: Duration) -> Result<()> {
    let end = shm_lib::now().plus(time);
    for _ in 0..MOST_STEPS {
        let policy = limit.all_keys().policy()?;
        let limits = policy.keys().into_iter().flat_map(KeyPolicy::limits);
        let mut least = None;
        for (one, status) in limits.zip(limit.key(Key::from(key)).status()?) {
            // Requests need not take from limits of other units.
            if !one.unit().is_calls() {
                continue;
            }
            let lacking = end.since(status.next_at.max(shm_lib::now()));
            if lacking.is_zero() {
                return Ok(());
            }
            let calls = status.available.saturating_add(calls_in(one, lacking));
            let calls = if matches!(one.kind(), Kind::Bucket { .. }) { calls } else { calls.div_ceil(2) };
            least = Some(least.map_or(calls, |least: u64| least.min(calls)));
        }
        let Some(calls) = least else {
            let why = "a key can be paused only if one of the limits per key counts calls";
            return Err(Error::new(ErrorKind::InvalidInput, why).at(limit.name(), limit.path()));
        };
        limit.key(Key::from(key)).charge(calls)?;
    }
    let why = "the key is not paused; it is used or reset all the time; pause the limiter instead";
    Err(Error::new(ErrorKind::Busy, why).at(limit.name(), limit.path()))
}

/// How many calls the limit admits in this time, rounded up.
fn calls_in(limit: Limit, time: Duration) -> u64 {
    let (max, per) = (u128::from(limit.rate().max()), limit.rate().per().as_nanos());
    u64::try_from((time.as_nanos() * max).div_ceil(per)).unwrap_or(u64::MAX)
}
