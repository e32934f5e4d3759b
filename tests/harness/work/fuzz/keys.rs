//! Hostile bytes in a keyed limiter: rows, the bits of the chunks, what is counted about keys, and anything else, under every
//! operation on keys.

use super::act::{Player, forked};
use super::spoil::{self, Spoiler};
use super::{Corruptor, self_begin, self_end};
use harness::fuzz_progress::Progress;
use harness::raw::MappedWords;
use harness::{Rng, policy};
use shm_lib::{Cost, Error, KeyedRateLimit, Outcome, Rate};
use std::path::Path;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

const POLICIES: [(&str, u64); 9] = [
    ("key-bucket:10/s:5", 0),
    ("key-bucket:1000/s:1", 0),
    ("key-bucket:10/366d:10", 0),
    ("key-fixed:7/2s", 0),
    ("key-sliding:7/s", 0),
    ("key-bucket:100/s:9+key-sliding:50/s+key-bucket:9/s:30+key-fixed:30/5s", 0),
    ("bucket:1000/s:50+key-bucket:100/s:5", 0),
    ("greedy:100/s+key-sliding:10/s", 3),
    ("key-bucket:100/s:5+key-bucket:100/s:20@tokens", 2),
];

/// A single hostile word in a table, in the bits of its chunks or in what is counted about keys costs at most the burst of one key, and
/// a reset repairs it.
fn audit(progress: &Progress, dir: &Path, rng: &mut Rng) {
    const KEYS: u64 = 30;
    const BURST: u64 = 10;
    let text = ["key-bucket:10/366d:10", "key-sliding:10/366d"][rng.below(2) as usize];
    let limit = KeyedRateLimit::builder("f").directory(dir).capacity(KEYS);
    let limit = limit.open_policy(policy::parse(text, 0)).expect("a limiter");
    let words = MappedWords::map_all(limit.path()).expect("its file");
    let mut spoiler = Spoiler::new(&words);
    let all = || {
        let one = |key: u64| {
            // What it admits until it denies, or until the damage is found.
            (0..3 * BURST)
                .take_while(|_| limit.key(key).try_acquire(1).is_ok_and(|o| o.is_admitted()))
                .count()
        };
        (0..KEYS).map(one).sum::<usize>() as u64
    };
    assert_eq!(all(), KEYS * BURST);
    for _ in 0..=rng.below(4) {
        let at = spoiler.spoil_word_of_keys(rng);
        Player::timed(progress, "key audit", Duration::ZERO, || {
            let got = all();
            assert!(got <= BURST, "{got} admitted after the word at {at} was changed: {text}");
            Ok(got > 0)
        });
        Player::timed(progress, "key mend", Duration::ZERO, || {
            limit.all_keys().reset().unwrap_or_else(|e| panic!("after the word at {at} was changed: {e}"));
            assert_eq!(all(), KEYS * BURST, "after the word at {at} was changed, and a reset: {text}");
            Ok(true)
        });
    }
}

/// A keyed limiter, its users, and what is done to its bytes.
pub(super) fn play(progress: &Progress, dir: &Path, rng: &mut Rng, corpus: &[Vec<u8>]) {
    if rng.below(5) == 0 {
        return audit(progress, dir, rng);
    }
    let (text, permits) = POLICIES[rng.below(POLICIES.len() as u64) as usize];
    let capacity = [10, 100, 5_000, 200_000][rng.below(4) as usize];
    let opened = KeyedRateLimit::builder("f").directory(dir).seats(4).capacity(capacity);
    let opened = opened.open_policy(policy::parse(text, permits)).expect("a limiter");
    let mut user = User { progress, dir, limit: Some(opened), has_units: text.contains('@') };
    (0..rng.below(60)).for_each(|_| user.act(rng, true));
    let file = dir.join("f");
    match rng.below(4) {
        0 => {
            // Written before it is opened again.
            let stay = rng.below(2) == 0;
            if !stay {
                user.limit = None;
            }
            if let Ok(bytes) = std::fs::read(&file) {
                let op = self_begin(progress, "spoil");
                let spoiled = spoil::file(rng, bytes, corpus, !stay);
                spoil::write(&file, &spoiled, stay);
                self_end(progress, op);
            }
            user.attach();
            (0..10 + rng.below(40)).for_each(|_| user.act(rng, false));
        }
        1 => {
            let Ok(words) = MappedWords::map_all(&file) else { return };
            let vandal = Corruptor::start_with(&words, rng.below(u64::MAX), spoil::words_of_keys);
            (0..20 + rng.below(200)).for_each(|_| user.act(rng, false));
            drop(vandal);
        }
        _ => {
            let Ok(words) = MappedWords::map_all(&file) else { return };
            let mut spoiler = Spoiler::new(&words);
            for _ in 0..10 + rng.below(80) {
                match rng.below(4) {
                    0 => spoiler.spoil(rng),
                    1 | 2 => spoiler.spoil_keys(rng),
                    _ => {}
                }
                user.act(rng, false);
            }
        }
    }
}

struct User<'a> {
    progress: &'a Progress,
    dir: &'a Path,
    limit: Option<KeyedRateLimit>,
    has_units: bool,
}

impl User<'_> {
    fn attach(&mut self) {
        let mut handle = None;
        Player::timed(self.progress, "attach", Duration::ZERO, || {
            let attached = KeyedRateLimit::builder("f").directory(self.dir).attach();
            attached.map(|limit| handle = Some(limit)).map(|()| true)
        });
        if handle.is_some() {
            self.limit = handle;
        }
    }

    fn act(&mut self, rng: &mut Rng, is_mild: bool) {
        let ops: &[&str] = &[
            "key try",
            "key try",
            "key try",
            "key try",
            "key try",
            "key many",
            "key many",
            "key wait",
            "key task",
            "key charge",
            "key reset",
            "key status",
            "key table",
            "key denied",
            "key change",
            "key reset all",
            "key pause",
            "key at",
            "key inspect",
            "key settle",
            "key fork",
        ];
        let most = if is_mild { 12 } else { ops.len() as u64 };
        let op = ops[rng.below(most) as usize];
        if !is_mild && rng.below(20) == 0 {
            return self.attach();
        }
        let Some(limit) = self.limit.clone() else { return };
        let key = limit.key(rng.below(300));
        let n = 1 + rng.below(3);
        let n = if rng.below(30) == 0 { rng.below(u64::MAX) } else { n };
        let cost = match self.has_units && rng.below(2) == 0 {
            true => Cost::from(n).and(shm_lib::Unit::named("tokens").expect("a unit"), n),
            false => Cost::from(n),
        };
        let wait = Duration::from_micros(rng.below(3_000));
        let came = |outcome: Outcome| outcome.is_admitted();
        let done = |result: Result<(), Error>| result.map(|()| true);
        Player::timed(self.progress, op, wait, || match op {
            "key try" => key.try_acquire(cost).map(came),
            "key many" => {
                let keys: Vec<u64> = (0..rng.below(40)).map(|_| rng.below(300)).collect();
                limit.try_acquire_many(keys, cost).map(|outcomes| outcomes.iter().any(Outcome::is_admitted))
            }
            "key wait" => key.acquire(1 + n % 2).timeout(wait).wait().map(came),
            "key task" => {
                let end = Instant::now() + wait;
                let mut future = pin!(key.acquire(1).or_denied().into_future());
                loop {
                    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                        Poll::Ready(outcome) => break outcome.map(came),
                        Poll::Pending if Instant::now() >= end => break Ok(false),
                        Poll::Pending => std::thread::sleep(Duration::from_micros(100)),
                    }
                }
            }
            "key charge" => done(key.charge(rng.below(12))),
            "key reset" => key.reset(),
            "key status" => key.status().map(|limits| limits.iter().all(|limit| limit.available > 0)),
            "key table" => limit.table_status().map(|table| table.live > 0),
            "key denied" => Ok(limit.most_denied(64).iter().any(|key| !key.key.is_empty())),
            "key change" => done(limit.change(1 + rng.below(100), Duration::from_secs(1))),
            "key reset all" => done(limit.all_keys().reset()),
            "key pause" => {
                let paused = limit.all_keys().pause_for(Duration::from_micros(rng.below(2_000)));
                paused.and_then(|()| limit.all_keys().resume().map(|()| true))
            }
            "key at" => {
                key.at(Rate::per_second(1 + rng.below(50))?, 1 + rng.below(9)).try_acquire(1).map(came)
            }
            "key inspect" => limit.all_keys().inspect().map(|seen| !format!("{seen:?}").is_empty()),
            "key settle" => match key.try_acquire(1)?.admission() {
                Some(mut admission) => key.settle(&mut admission, rng.below(6)).map(|_| true),
                None => Ok(false),
            },
            "key fork" => Ok(forked(|| {
                let _ = limit.key(7).try_acquire(1);
                let _ = limit.key(7).acquire(1).timeout(Duration::from_millis(1)).wait();
            })),
            other => unreachable!("no such operation: {other}"),
        });
    }
}
