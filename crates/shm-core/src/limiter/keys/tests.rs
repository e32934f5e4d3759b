//! Limits per key in a file, through the limiter.

use super::super::*;
use super::{KeyAsk, KeyOf};
use crate::clock::set::{SetClock, SetWall};
use crate::clock::{self, Nanos};
use crate::limit::Cost;
use crate::limit::{KeyPolicy, Limit, Rate, Unit};
use std::time::Duration;
use tempfile::TempDir;

fn rate(text: &str) -> Rate {
    text.parse().unwrap()
}

fn bucket(text: &str, burst: u64) -> Limit {
    Limit::with_burst(rate(text), burst).unwrap()
}

fn keys(limits: &[Limit]) -> KeyPolicy {
    KeyPolicy::new(limits).unwrap()
}

struct Scene {
    dir: TempDir,
}

impl Scene {
    fn new() -> Scene {
        Scene { dir: tempfile::tempdir().unwrap() }
    }

    fn open(&self, policy: impl Into<Policy>, capacity: u64) -> Limiter {
        let settings = Settings { capacity, ..Settings::new(policy.into()) };
        Limiter::open(&Directory::at(self.dir.path()), &Name::new("api").unwrap(), &settings).unwrap()
    }

    fn per_key(&self, limits: &[Limit]) -> Limiter {
        self.open(Policy::of_keys(keys(limits)), 1_000)
    }
}

fn ask<'a>(parts: &'a [&'a [u8]], cost: &'a Cost) -> KeyAsk<'a> {
    KeyAsk { key: KeyOf::All(parts), cost, at: None }
}

fn is_admitted(limiter: &Limiter, key: &str) -> bool {
    matches!(limiter.try_key(&ask(&[key.as_bytes()], &Cost::one())).unwrap().unwrap(), Decision::Admitted(_))
}

fn admitted(limiter: &Limiter, key: &str, times: usize) -> usize {
    (0..times).filter(|_| is_admitted(limiter, key)).count()
}

#[test]
fn each_key_has_its_own_budget_in_all_handles() {
    let scene = Scene::new();
    let one = scene.per_key(&[bucket("5/h", 5)]);
    let two = scene.per_key(&[bucket("5/h", 5)]);
    assert_eq!((admitted(&one, "alice", 3), admitted(&two, "alice", 3)), (3, 2));
    assert_eq!(admitted(&one, "bob", 9), 5);
    let denied = match one.try_key(&ask(&[b"alice"], &Cost::one())).unwrap().unwrap() {
        Decision::Denied { denied, shadow: false } => denied,
        other => panic!("{other:?}"),
    };
    let crate::DeniedBy::KeyLimit { index: 0, retry_after, inherited: false } = denied.by() else {
        panic!("{denied:?}")
    };
    assert!((700..=720).contains(&retry_after.as_secs()), "{retry_after:?}");
    let (status, _) = one.key_status(KeyOf::All(&[b"bob"]), None).unwrap();
    assert_eq!((status[0].known, status[0].available, status[0].used), (true, 0, 5));
    assert!(!one.key_status(KeyOf::All(&[b"carol"]), None).unwrap().0[0].known);
    let counts = one.counts();
    assert_eq!((counts.admitted, counts.denied), (10, 6));
    assert_eq!(
        one.most_denied(9).into_iter().map(|key| key.key.concat()).collect::<Vec<_>>(),
        ["bob", "alice"]
    );
}

#[test]
fn a_limiter_of_keys_only_refuses_requests_without_one() {
    let scene = Scene::new();
    let limiter = scene.per_key(&[bucket("5/h", 5)]);
    for error in [
        limiter.try_acquire(1).unwrap_err(),
        limiter.try_cost(&Cost::one()).unwrap_err(),
        limiter.reserve(&Cost::one()).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains("--key"), "{error}");
    }
    assert_eq!(limiter.status().unwrap().0, []);
    assert_eq!(limiter.inspect().unwrap().limits, []);
    let plain = Limiter::open(
        &Directory::at(scene.dir.path()),
        &Name::new("plain").unwrap(),
        &Settings::new(Policy::from(bucket("5/h", 5))),
    );
    let e = plain.unwrap().try_key(&ask(&[b"x"], &Cost::one())).unwrap_err();
    assert!(e.to_string().contains("--keyed"), "{e}");
}

#[test]
fn settings_survive_in_the_file() {
    let scene = Scene::new();
    let policy = Policy::new(&[bucket("2000/s", 100), Limit::greedy(rate("9/s")).unwrap()])
        .unwrap()
        .with_keys(
            keys(&[
                bucket("5/s", 10),
                Limit::fixed_window(rate("100/m"), crate::limit::Start::Epoch).unwrap(),
                Limit::sliding_counter(rate("1000/h")).unwrap(),
                bucket("1000000/day", 1_000_000).counting(Unit::named("tokens").unwrap()),
            ])
            .refusing_new_keys(true)
            .hiding_names(true),
        )
        .with_permits(7)
        .unwrap()
        .in_shadow(true);
    scene.open(policy, 10_000);
    let again = Limiter::attach(&Directory::at(scene.dir.path()), &Name::new("api").unwrap()).unwrap();
    assert_eq!(again.policy().unwrap(), policy);
    again.reset().unwrap();
    again.pause_for(Duration::from_secs(5)).unwrap();
    assert_eq!(again.policy().unwrap(), policy);
}

/// The memory of a table comes with its keys, and its capacity is what was asked for.
#[test]
fn a_large_table_takes_no_memory_before_it_is_used() {
    let scene = Scene::new();
    let limiter = scene.open(Policy::of_keys(keys(&[bucket("1/h", 1)])), 10_000_000);
    let status = || limiter.table_status().unwrap().unwrap();
    assert_eq!((status().capacity, status().bytes, status().allocated), (10_000_000, 400_000_000, 0));
    use std::os::unix::fs::MetadataExt;
    let blocks = || std::fs::metadata(limiter.path()).unwrap().blocks() * 512;
    let before = blocks();
    assert!(before < 300_000, "{before}");
    for key in 0..1_000 {
        assert!(is_admitted(&limiter, &key.to_string()));
    }
    let grown = blocks() - before;
    assert!((3_000_000..=4_200_000).contains(&grown), "{grown}: a page for most keys");
    // The file system's own tables may have grown, too.
    assert!(status().allocated.abs_diff(grown) < 200_000, "{} and {grown}", status().allocated);
}

#[test]
fn live_keys_are_estimated_from_a_sample() {
    let scene = Scene::new();
    let limiter = scene.open(Policy::of_keys(keys(&[bucket("1/h", 1)])), 100_000);
    let admitted = (0..50_000).filter(|key| is_admitted(&limiter, &key.to_string())).count();
    assert!(admitted > 49_900);
    let live = limiter.table_status().unwrap().unwrap().live;
    assert!((45_000..55_000).contains(&live), "{live}");
    limiter.reset().unwrap();
    assert_eq!(limiter.table_status().unwrap().unwrap().live, 0);
}

#[test]
fn a_few_live_keys_are_counted_exactly() {
    let scene = Scene::new();
    let limiter = scene.open(Policy::of_keys(keys(&[bucket("1/h", 1)])), 1_000_000);
    for count in 1..=20 {
        assert!(is_admitted(&limiter, &count.to_string()));
        assert_eq!(limiter.table_status().unwrap().unwrap().live, count);
    }
}

#[test]
fn hidden_names_are_not_shown_although_they_were_kept() {
    let scene = Scene::new();
    let policy = keys(&[bucket("1/h", 1)]);
    let limiter = scene.open(Policy::of_keys(policy), 1_000);
    assert!(is_admitted(&limiter, "alice") && !is_admitted(&limiter, "alice"));
    assert_eq!(limiter.most_denied(9).len(), 1);
    limiter.change(Policy::of_keys(policy.hiding_names(true))).unwrap();
    assert!(limiter.most_denied(9).is_empty());
}

#[test]
fn a_reset_gives_all_keys_their_budget_back() {
    for limit in [
        bucket("5/h", 5),
        Limit::fixed_window(rate("5/h"), crate::limit::Start::Epoch).unwrap(),
        Limit::sliding_counter(rate("5/h")).unwrap(),
    ] {
        let scene = Scene::new();
        let limiter = scene.per_key(&[limit]);
        for _ in 0..4 {
            assert_eq!((admitted(&limiter, "alice", 7), admitted(&limiter, "bob", 7)), (5, 5), "{limit}");
            limiter.reset().unwrap();
        }
        assert_eq!(admitted(&limiter, "alice", 7), 5);
        assert!(limiter.reset_key(KeyOf::All(&[b"alice"])).unwrap());
        assert!(!limiter.reset_key(KeyOf::All(&[b"nobody"])).unwrap());
        assert_eq!(admitted(&limiter, "alice", 7), 5, "{limit}");
    }
}

#[test]
fn a_change_applies_to_all_keys_and_keeps_what_they_used() {
    let scene = Scene::new();
    let limiter = scene.per_key(&[bucket("6/h", 3)]);
    assert_eq!(admitted(&limiter, "alice", 9), 3);
    let set = |limit| limiter.change_from(|policy| Ok(policy.with_keys(keys(&[limit]))));
    set(bucket("600/h", 600)).unwrap();
    let available = || limiter.key_status(KeyOf::All(&[b"alice"]), None).unwrap().0[0].available;
    assert!((597..=600).contains(&available()), "{}", available());
    // A debt of calls is one of calls, at whichever rate it is paid.
    limiter.charge_key(&KeyAsk { key: KeyOf::All(&[b"mallory"]), cost: &Cost::from(660), at: None }).unwrap();
    set(bucket("1/h", 2)).unwrap();
    let denied = limiter.key_denial(&ask(&[b"mallory"], &Cost::one()), false).unwrap().unwrap();
    let hours = denied.retry_after().unwrap().as_secs_f64() / 3_600.0;
    assert!((600.0..660.0).contains(&hours), "{hours}");
    assert!(is_admitted(&limiter, "bob") && is_admitted(&limiter, "bob") && !is_admitted(&limiter, "bob"));
    // A debt that was short at the rate of before is long, and no damage.
    set(bucket("600/h", 600)).unwrap();
    limiter
        .charge_key(&KeyAsk { key: KeyOf::All(&[b"mallory"]), cost: &Cost::from(600 * 24 * 300), at: None })
        .unwrap();
    set(bucket("1/h", 2)).unwrap();
    assert!(limiter.key_denial(&ask(&[b"mallory"], &Cost::one()), true).unwrap().is_some());
    let e = set(bucket("1000000/s", 3)).unwrap_err();
    assert!(e.to_string().contains("128 times") && e.to_string().contains("--replace"), "{e}");
    let e = set(Limit::sliding_counter(rate("9/h")).unwrap()).unwrap_err();
    assert!(e.kind() == ErrorKind::InvalidInput && e.to_string().contains("--replace"), "{e}");
    let e = limiter.change(bucket("5/s", 1)).unwrap_err();
    assert!(e.to_string().contains("limits per key"), "{e}");
}

/// A burst of before the change is a long debt by the new one, and no damage.
#[test]
fn a_burst_can_be_lowered_from_years_to_a_day() {
    let scene = Scene::new();
    let limiter = scene.per_key(&[bucket("1/day", 3_000)]);
    assert!(matches!(
        limiter.try_key(&ask(&[b"alice"], &Cost::from(3_000))).unwrap(),
        Some(Decision::Admitted(_))
    ));
    limiter.change_from(|policy| Ok(policy.with_keys(keys(&[bucket("1/day", 1)])))).unwrap();
    let denied = limiter.key_denial(&ask(&[b"alice"], &Cost::one()), true).unwrap().unwrap();
    assert!((2_999..=3_000).contains(&(denied.retry_after().unwrap().as_secs() / 86_400)), "{denied:?}");
}

#[test]
fn a_pause_denies_all_keys() {
    for limit in [bucket("5/s", 5), Limit::sliding_counter(rate("5/s")).unwrap()] {
        let scene = Scene::new();
        let limiter = scene.per_key(&[limit]);
        limiter.pause_for(Duration::from_secs(60)).unwrap();
        let Decision::Denied { denied, .. } = limiter.try_key(&ask(&[b"x"], &Cost::one())).unwrap().unwrap()
        else {
            panic!("{limit}")
        };
        assert!((59..=60).contains(&denied.retry_after().unwrap().as_secs()), "{denied:?}");
        assert_eq!(limiter.key_status(KeyOf::All(&[b"x"]), None).unwrap().0[0].available, 0, "{limit}");
        limiter.resume().unwrap();
        assert!(is_admitted(&limiter, "x"));
    }
}

/// A request that names a key and nothing else is decided by one configuration, also as to what it takes from.
#[test]
fn limits_of_all_keys_that_come_meanwhile_are_not_left_out() {
    let scene = Scene::new();
    let limiter = scene.per_key(&[bucket("5/h", 5)]);
    assert!(!limiter.takes_more_than_keys().unwrap());
    limiter.change_from(|policy| Ok(policy.with_first(bucket("1/h", 1)))).unwrap();
    let cost = Cost::one();
    assert_eq!(limiter.try_key(&ask(&[b"x"], &cost)).unwrap(), None);
    assert_eq!(limiter.book_key(&ask(&[b"x"], &cost), Duration::ZERO).unwrap(), None);
    assert!(!limiter.key_status(KeyOf::All(&[b"x"]), None).unwrap().0[0].known);
}

/// Names that are hidden from now on are not in the file any more.
#[test]
fn hiding_names_erases_them() {
    let scene = Scene::new();
    let limiter = scene.per_key(&[bucket("1/h", 1)]);
    let name = "mallory-the-denied";
    assert_eq!(admitted(&limiter, name, 3), 1);
    let has_name = || {
        let bytes = std::fs::read(limiter.path()).unwrap();
        bytes.windows(name.len()).any(|window| window == name.as_bytes())
    };
    assert!(has_name() && limiter.most_denied(1).len() == 1);
    limiter.change_from(|policy| Ok(policy.with_keys(policy.keys().unwrap().hiding_names(true)))).unwrap();
    assert_eq!(admitted(&limiter, name, 3), 0);
    assert!(!has_name() && limiter.most_denied(1).is_empty());
}

/// After a pause there is no burst, also if the limiter is changed meanwhile.
#[test]
fn a_pause_that_has_ended_outlasts_a_change() {
    let scene = Scene::new();
    let limiter = scene.per_key(&[bucket("1/h", 5)]);
    limiter.pause_for(Duration::from_millis(5)).unwrap();
    std::thread::sleep(Duration::from_millis(10));
    limiter.change_from(|policy| Ok(policy.in_shadow(false))).unwrap();
    assert_eq!(admitted(&limiter, "x", 5), 1);
}

#[test]
fn a_debt_is_paid_by_later_time() {
    let scene = Scene::new();
    let limiter = scene.per_key(&[bucket("1/m", 2)]);
    limiter.charge_key(&KeyAsk { key: KeyOf::All(&[b"x"]), cost: &Cost::from(5), at: None }).unwrap();
    let denied = limiter.key_denial(&ask(&[b"x"], &Cost::one()), false).unwrap().unwrap();
    assert!((239..=240).contains(&denied.retry_after().unwrap().as_secs()), "{denied:?}");
    let e = limiter
        .charge_key(&KeyAsk { key: KeyOf::All(&[b"x"]), cost: &Cost::from(1_000_000), at: None })
        .unwrap_err();
    assert_eq!(e.kind(), ErrorKind::TooFar);
    assert_eq!(limiter.key_denial(&ask(&[b"y"], &Cost::one()), true).unwrap(), None);
    // After a reset the debt counts to the key's next life.
    limiter.reset_key(KeyOf::All(&[b"x"])).unwrap();
    limiter.charge_key(&KeyAsk { key: KeyOf::All(&[b"x"]), cost: &Cost::one(), at: None }).unwrap();
    assert_eq!(admitted(&limiter, "x", 3), 1);
}

#[test]
fn a_request_can_bring_its_rate() {
    let scene = Scene::new();
    let limiter = scene.per_key(&[bucket("10/m", 10)]);
    let with = |rate_: &str, burst, key: &'static [u8]| {
        limiter.try_key(&KeyAsk { at: Some((rate(rate_), burst)), ..ask(&[key], &Cost::from(30)) })
    };
    assert!(matches!(with("60/m", 60, b"paid").unwrap().unwrap(), Decision::Admitted(_)));
    assert!(matches!(with("60/m", 60, b"paid").unwrap().unwrap(), Decision::Admitted(_)));
    assert!(matches!(with("60/m", 60, b"paid").unwrap().unwrap(), Decision::Denied { .. }));
    assert_eq!(with("10/m", 10, b"free").unwrap_err().kind(), ErrorKind::NeverAdmissible);
    assert_eq!(with("60/day", 60, b"slow").unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn each_limit_can_have_a_key_of_its_own() {
    let scene = Scene::new();
    let limiter = scene.per_key(&[bucket("2/h", 2), bucket("3/h", 3)]);
    let from = |host: &[u8]| {
        let decision = limiter.try_key(&KeyAsk {
            key: KeyOf::Each(&[&[host], &[b"net"]]),
            cost: &Cost::one(),
            at: None,
        });
        matches!(decision.unwrap().unwrap(), Decision::Admitted(_))
    };
    assert_eq!(
        [from(b"a"), from(b"a"), from(b"a"), from(b"b"), from(b"b")],
        [true, true, false, true, false]
    );
}

/// Garbage in every word of a table: no panic, and a reset repairs it.
#[test]
fn a_damaged_key_is_reported_and_repaired() {
    let scene = Scene::new();
    let limiter = scene.per_key(&[bucket("5/s", 5)]);
    assert!(is_admitted(&limiter, "y"));
    for (_, row) in limiter.segment.rows_in_use(0) {
        for pair in &row.0 {
            let seen = (pair.first(Ordering::Relaxed), pair.second(Ordering::Relaxed));
            pair.compare_exchange(seen, (u64::MAX - 5, 77));
        }
    }
    let e = limiter.try_key(&ask(&[b"y"], &Cost::one())).unwrap_err();
    assert!(e.kind() == ErrorKind::Corrupt && e.to_string().contains("shm-limit reset"), "{e}");
    limiter.reset().unwrap();
    assert_eq!(admitted(&limiter, "y", 9), 5);
}

#[test]
fn a_retired_limiter_decides_for_no_key() {
    let scene = Scene::new();
    let limiter = scene.per_key(&[bucket("5/s", 5)]);
    limiter.retire().unwrap();
    assert_eq!(limiter.try_key(&ask(&[b"y"], &Cost::one())).unwrap_err().kind(), ErrorKind::Retired);
}

#[test]
fn a_full_table_forgets_or_refuses() {
    for refuses in [false, true] {
        let scene = Scene::new();
        let policy = Policy::of_keys(keys(&[bucket("1/h", 1)]).refusing_new_keys(refuses));
        let limiter = scene.open(policy, 1);
        let all: Vec<_> = (0..2_000).map(|key| is_admitted(&limiter, &key.to_string())).collect();
        let status = limiter.table_status().unwrap().unwrap();
        assert_eq!(status.slots, 256);
        let admitted = all.iter().filter(|&&admitted| admitted).count() as u64;
        assert_eq!((admitted, status.live), (256, 256), "each newcomer inherits an hour");
        let (inherited, refused) = (status.inherited.last_minute, status.refused.last_minute);
        assert_eq!((inherited, refused), if refuses { (0, 1_744) } else { (1_744, 0) });
    }
}

/// A decision by the fast path, if it decides.
fn fast(limiter: &Limiter, key: &str, calls: u64) -> Option<Decision> {
    let (part, loading) = (key.as_bytes(), limiter.prefetch_part(key.as_bytes()));
    let decision = limiter.try_key_fast(loading, part, calls);
    decision.or_else(|| limiter.try_key_fast_by_any_limit(loading, part, calls))
}

#[test]
fn the_fast_path_decides_like_the_slow_one() {
    let kinds = [
        bucket("5/s", 3),
        Limit::fixed_window(rate("5/s"), crate::limit::Start::Epoch).unwrap(),
        Limit::sliding_counter(rate("5/s")).unwrap(),
    ];
    for limit in kinds {
        let start = clock::now().as_nanos().next_multiple_of(1_000_000_000);
        let run = |by_fast_path: bool| {
            let clock = SetClock::at(Nanos::from_nanos(start));
            let wall = SetWall::ahead_by(0);
            let scene = Scene::new();
            let limiter = scene.per_key(&[limit]);
            let mut decided_fast = 0;
            let mut decide = |i: u64| {
                clock.pass_until(start + i * 7_000_000);
                let key = (i * i % 11).to_string();
                match if by_fast_path { fast(&limiter, &key, 1) } else { None } {
                    Some(decision) => {
                        decided_fast += 1;
                        matches!(decision, Decision::Admitted(_))
                    }
                    None => is_admitted(&limiter, &key),
                }
            };
            let decisions: Vec<bool> = (0..500).map(&mut decide).collect();
            drop(wall);
            (decisions, limiter.counts().admitted, limiter.counts().denied, decided_fast)
        };
        let (fast, slow) = (run(true), run(false));
        assert_eq!((&fast.0, fast.1, fast.2), (&slow.0, slow.1, slow.2), "{limit}");
        assert!(fast.1 > 50 && fast.2 > 50 && fast.3 > 300, "{fast:?}");
    }
}

#[test]
fn the_fast_path_counts_what_a_full_table_forgets() {
    let _clock = SetClock::at(clock::now());
    let scene = Scene::new();
    let limiter = scene.open(Policy::of_keys(keys(&[bucket("1/h", 2)])), 1);
    assert!(is_admitted(&limiter, "checks the file"));
    let all: Vec<_> = (0..2_000).filter_map(|key| fast(&limiter, &key.to_string(), 1)).collect();
    let denied = all.iter().filter(|decision| matches!(decision, Decision::Denied { .. })).count() as u64;
    let status = limiter.table_status().unwrap().unwrap();
    assert!(all.len() > 1_900 && status.forgotten.total > 200, "{status:?}");
    assert!(denied > 1_000 && status.inherited.total == denied, "{denied} {status:?}");
    assert_eq!(limiter.counts().denied, denied);
}

#[test]
fn the_fast_path_leaves_everything_unusual_to_the_slow_one() {
    let _clock = SetClock::at(clock::now());
    let words = Unit::named("words").unwrap();
    let plain = Policy::of_keys(keys(&[bucket("5/s", 5)]));
    let policies = [
        (plain, true),
        (plain.in_shadow(true), false),
        (Policy::of_keys(keys(&[bucket("5/s", 5)]).refusing_new_keys(true)), false),
        (Policy::of_keys(keys(&[bucket("5/s", 5).counting(words)])), false),
        (Policy::of_keys(keys(&[bucket("5/s", 5), bucket("9/s", 5)])), false),
        (Policy::from(bucket("5/s", 5)).with_keys(keys(&[bucket("5/s", 5)])), false),
        (Policy::from(bucket("5/s", 5)), false),
    ];
    for (policy, is_fast) in policies {
        let scene = Scene::new();
        let limiter = scene.open(policy, 1_000);
        assert!(fast(&limiter, "a", 1).is_none(), "the file has not been checked");
        let cost = if policy.keys().is_some_and(|keys| keys.limits().any(|limit| limit.unit() == words)) {
            Cost::of(words, 1)
        } else {
            Cost::one()
        };
        let _ = limiter.try_key(&ask(&[b"a"], &cost));
        assert_eq!(fast(&limiter, "a", 1).is_some(), is_fast, "{policy}");
        if is_fast {
            assert!(fast(&limiter, "a", 0).is_none() && fast(&limiter, "a", 6).is_none());
            let table = limiter.table_status().unwrap().unwrap();
            let without_memory =
                (0..1_000).map(|i| i.to_string()).filter(|key| fast(&limiter, key, 1).is_none());
            assert!(without_memory.count() > 100, "{table:?}");
            limiter.retire().unwrap();
            assert!(fast(&limiter, "a", 1).is_none());
        }
    }
}
