//! Other limiters, each used as its documentation shows. All of them limit a single process.

use crate::subject::Subject;
use governor::clock::{Clock, MonotonicClock, QuantaClock};
use governor::{Quota, RateLimiter};
use std::num::NonZeroU32;
use std::time::{Duration, SystemTime};

pub(crate) const GOVERNOR: &str = "governor, quanta clock";
const UNLIMITED: u32 = 1_000_000_000;
const DAY: Duration = Duration::from_secs(86_400);

/// A quota that never denies if `open`, or otherwise one per day.
fn quota(open: bool) -> Quota {
    match open {
        true => Quota::per_second(NonZeroU32::new(UNLIMITED).expect("not zero")),
        false => Quota::with_period(DAY).expect("not zero"),
    }
}

fn governor<C: Clock + 'static>(name: &'static str, open: bool, clock: C) -> Subject {
    let limiter = RateLimiter::direct_with_clock(quota(open), clock);
    let _ = limiter.check();
    Subject::new(name, move || limiter.check().is_ok())
}

pub(crate) fn governor_quanta(open: bool) -> Subject {
    governor(GOVERNOR, open, QuantaClock::default())
}

pub(crate) fn governor_monotonic(open: bool) -> Subject {
    governor("governor, monotonic clock", open, MonotonicClock)
}

pub(crate) fn governor_keyed(open: bool) -> Subject {
    let limiter = RateLimiter::keyed(quota(open));
    let _ = limiter.check_key(&1u64);
    Subject::new("governor, keyed, one key, quanta clock", move || limiter.check_key(&1u64).is_ok())
}

pub(crate) fn ratelimit(open: bool) -> Subject {
    let rate = if open { UNLIMITED.into() } else { 1 };
    let builder = ratelimit::Ratelimiter::builder(rate).max_tokens(rate).initial_available(rate);
    let limiter = if open { builder } else { builder.period(DAY) }.build().expect("a limiter");
    let _ = limiter.try_wait();
    Subject::new("ratelimit", move || limiter.try_wait().is_ok())
}

pub(crate) fn leaky_bucket(open: bool) -> Subject {
    let most = if open { UNLIMITED as usize } else { 1 };
    let mut builder = leaky_bucket::RateLimiter::builder();
    builder.max(most).initial(most).refill(most).interval(if open { Duration::from_secs(1) } else { DAY });
    let limiter = builder.build();
    let _ = limiter.try_acquire(1);
    Subject::new("leaky-bucket", move || limiter.try_acquire(1))
}

/// For one thread: sharing it would need a lock.
pub(crate) fn throttlecrab(open: bool) -> Subject {
    let mut limiter = throttlecrab::RateLimiter::new(throttlecrab::PeriodicStore::new());
    let (burst, count, period) = if open { (1_000_000, 1_000_000_000, 1) } else { (1, 1, 86_400) };
    let mut decide = move || limiter.rate_limit("key", burst, count, period, 1, SystemTime::now());
    let _ = decide();
    Subject::new("throttlecrab, one key, one thread", decide)
}

/// A limiter to share among threads.
pub(crate) fn governor_shared()
-> RateLimiter<governor::state::NotKeyed, governor::state::InMemoryState, QuantaClock> {
    RateLimiter::direct_with_clock(quota(true), QuantaClock::default())
}
