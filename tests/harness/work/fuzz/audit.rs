//! A single hostile word, anywhere but in the configuration, never costs more than one burst: a budget that refills in years is
//! used up, one word is changed, and what is admitted then is counted. (A change of the configuration changes the limit.)

use super::act::Player;
use super::spec::Spec;
use super::spoil::Spoiler;
use harness::Rng;
use harness::fuzz_progress::Progress;
use harness::raw::MappedWords;
use shm_lib::{Admission, ErrorKind, Outcome, RateLimit};
use std::path::Path;
use std::time::Duration;

pub(super) fn audit(progress: &Progress, dir: &Path, rng: &mut Rng) {
    let spec = Spec::slow(rng);
    let limit = spec.builder(dir).open_policy(spec.policy).expect("a limiter");
    let words = MappedWords::map_all(limit.path()).expect("its file");
    let mut spoiler = Spoiler::new(&words);
    // Turns of the ring of generations, and of the eras of a log.
    for _ in 0..rng.below(12) {
        let _ = limit.try_acquire(1);
        let _ = limit.reserve(1).map(|turn| rng.below(2) == 0 && turn.cancel());
        let again = if rng.below(2) == 0 { limit.reset() } else { limit.change_policy(spec.policy) };
        again.expect("a change");
    }
    // A permit is one that is held, whatever is done to its word.
    let permits = spec.policy.permits().map_or(u64::MAX, u64::from);
    for _ in 0..=rng.below(4) {
        let (used, _) = all_of(&limit, &spec);
        assert!(used <= spec.most(), "{used} before anything was changed");
        let at = spoiler.spoil_state(rng);
        let mut held = Vec::new();
        Player::timed(progress, "audit", Duration::ZERO, || {
            let (got, admitted, end) = many(&limit, 4 * spec.most() + 8);
            held.extend(admitted);
            assert!(
                got <= spec.most().min(permits.saturating_mul(2)),
                "{got} admitted after the word at {at} was changed: {spec:?}"
            );
            Ok(end.is_some())
        });
        drop(held);
        if !mended(progress, &limit, at) {
            break;
        }
    }
    drop(limit);
}

/// Takes until no more is admitted, giving permits back.
fn all_of(limit: &RateLimit, spec: &Spec) -> (u64, Option<ErrorKind>) {
    let mut got = 0;
    while got <= 4 * spec.most() {
        match limit.try_acquire(1) {
            Ok(Outcome::Admitted(_)) => got += 1,
            Ok(Outcome::Denied(_)) => return (got, None),
            Err(e) => return (got, Some(e.kind())),
        }
    }
    (got, None)
}

/// The same, keeping them.
fn many(limit: &RateLimit, most: u64) -> (u64, Vec<Admission>, Option<ErrorKind>) {
    let mut held = Vec::new();
    while (held.len() as u64) < most {
        match limit.try_acquire(1) {
            Ok(Outcome::Admitted(admission)) => held.push(admission),
            Ok(Outcome::Denied(_)) => return (held.len() as u64, held, None),
            Err(e) => return (held.len() as u64, held, Some(e.kind())),
        }
    }
    (most, held, None)
}

/// A reset repairs what was changed, as long as the epoch is still the number of a generation. Returns whether it does.
fn mended(progress: &Progress, limit: &RateLimit, at: u64) -> bool {
    let mut goes_on = false;
    Player::timed(progress, "mend", Duration::ZERO, || {
        if at == harness::file::offset::EPOCH {
            return limit.reset().map(|()| false);
        }
        limit.reset().unwrap_or_else(|e| panic!("after the word at {at} was changed: {e}"));
        let outcome =
            limit.try_acquire(1).unwrap_or_else(|e| panic!("reset after the word at {at} was changed: {e}"));
        assert!(outcome.is_admitted(), "nothing after a reset, after the word at {at} was changed");
        goes_on = true;
        Ok(true)
    });
    goes_on
}
