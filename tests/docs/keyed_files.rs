//! Files of limiters with limits per key, as an independent implementation of the page on the file format reads and creates
//! them, compared with the limiter itself.

use super::ROOT;
use super::format::READER;
use harness::skip;
use serde_json::{Value, json};
use shm_core::limit::{Cost, KeyPolicy, Limit, Policy, Rate, Start, Unit};
use shm_core::{Decision, Directory, KeyAsk, KeyOf, Limiter, Name, Settings, TableStatus};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

const KEYS: [&[&str]; 5] = [&["alice"], &["bob"], &["alice", "/login"], &["é 123"], &["nobody"]];

/// A limiter, and what the reader says of its file.
struct Specimen {
    _dir: TempDir,
    limiter: Limiter,
}

fn rate(text: &str) -> Rate {
    text.parse().expect("a rate")
}

fn has_reader() -> bool {
    Command::new("python3").arg("--version").output().is_ok()
}

fn bytes<'a>(parts: &[&'a str]) -> Vec<&'a [u8]> {
    parts.iter().map(|part| part.as_bytes()).collect()
}

/// What the reader prints.
fn read(arguments: &[&str]) -> String {
    let mut python = Command::new("python3");
    python.arg(Path::new(ROOT).join(READER)).arg(arguments[0]);
    python.arg(Path::new(ROOT).join("docs/format-vectors.json")).args(&arguments[1..]);
    let output = python.output().expect("python3");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

impl Specimen {
    fn new(policy: Policy, capacity: u64) -> Specimen {
        let dir = tempfile::tempdir().expect("a directory");
        let settings = Settings { capacity, ..Settings::new(policy) };
        let name = Name::new("api").expect("a name");
        let limiter = Limiter::open(&Directory::at(dir.path()), &name, &settings).expect("a limiter");
        Specimen { _dir: dir, limiter }
    }

    fn path(&self) -> &str {
        self.limiter.path().to_str().expect("a path")
    }

    fn cost(&self, n: u64) -> Cost {
        let policy = self.limiter.policy().expect("a policy");
        let units = policy.keys().expect("limits per key").limits().filter(|limit| !limit.unit().is_calls());
        units.fold(Cost::from(n), |cost, limit| cost.and(limit.unit(), 10 * n))
    }

    fn admitted(&self, key: &[&str], n: u64) -> bool {
        let (parts, cost) = (bytes(key), self.cost(n));
        let ask = KeyAsk { key: KeyOf::All(&parts), cost: &cost, at: None };
        matches!(self.limiter.try_key_beside_nothing(&ask).expect("a decision"), Some(Decision::Admitted(_)))
    }

    /// The whole file, now.
    fn file(&self) -> Value {
        let seen = self.limiter.inspect().expect("a healthy limiter");
        let age = seen.now.as_nanos() - seen.created.as_nanos();
        serde_json::from_str(&read(&["file", self.path(), &age.to_string()])).expect("JSON")
    }

    /// What is counted about keys, and the names of those denied most.
    fn counts(&self) -> (TableStatus, Vec<String>) {
        let denied = self.limiter.most_denied(64).into_iter().map(|key| key.key.join("\u{1f}"));
        (self.limiter.table_status().expect("a status").expect("tables"), denied.collect())
    }

    /// Compares what is known of all keys; returns how much is left of each for its first limit.
    #[track_caller]
    fn compare(&self, what: &str) -> Vec<u64> {
        let created = self.limiter.inspect().expect("a healthy limiter").created;
        let all = KEYS
            .map(|key| (key, self.limiter.key_status(KeyOf::All(&bytes(key)), None).expect("its status")));
        let queries = all
            .iter()
            .map(|(key, (_, now))| json!({ "parts": key, "age_ns": now.as_nanos() - created.as_nanos() }));
        let found = read(&["keys", self.path(), &queries.collect::<Value>().to_string()]);
        let found: Value = serde_json::from_str(&found).expect("JSON");
        for ((key, (status, now)), found) in all.iter().zip(found.as_array().expect("one for each key")) {
            let limit = |seen: &shm_core::KeyStatus| {
                let next_in = seen.next_at.as_nanos() - now.as_nanos();
                json!({ "known": seen.known, "used": seen.used, "available": seen.available, "next_in_ns": next_in })
            };
            assert_eq!(*found, status.iter().map(limit).collect::<Value>(), "{what}: {key:?}");
        }
        // Again, if a minute ended in between.
        let (file, (table, shown)) = loop {
            let (before, file, after) = (self.counts(), self.file(), self.counts());
            if before == after {
                break (file, after);
            }
        };
        let states = file["keys"]["live_states"].as_array().expect("one list for each table");
        let live = states.iter().map(|states| states.as_array().map_or(0, Vec::len)).max();
        assert_eq!(live, Some(table.live as usize), "{what}");
        let count =
            |count: shm_core::EventCount| json!({ "total": count.total, "last_minute": count.last_minute });
        for (name, seen) in
            [("forgotten", table.forgotten), ("inherited", table.inherited), ("refused", table.refused)]
        {
            assert_eq!(file["keys"][name], count(seen), "{what}: {name}");
        }
        let denied = file["keys"]["most_denied"].as_array().expect("a list");
        let names: Vec<&str> = denied.iter().map(|key| key["name"].as_str().expect("a name")).collect();
        assert_eq!(names, shown, "{what}");
        all.iter().map(|(_, (status, _))| status[0].available).collect()
    }
}

fn bucket() -> Limit {
    Limit::with_burst(rate("20/h"), 10).expect("a bucket")
}

fn keys(limits: &[Limit]) -> KeyPolicy {
    KeyPolicy::new(limits).expect("limits per key")
}

/// Each kind alone, then all together beside limits of all keys.
fn policies() -> Vec<(Policy, u64)> {
    let fixed = Limit::fixed_window(rate("10/day"), Start::Epoch).expect("windows");
    let sliding = Limit::sliding_counter(rate("10/366day")).expect("a counter");
    let tokens = Unit::named("tokens").expect("a unit");
    let all = [
        bucket(),
        fixed,
        sliding,
        Limit::with_burst(rate("1000/h"), 300).expect("a bucket").counting(tokens),
    ];
    let greedy = Limit::greedy(rate("9/h")).expect("a greedy limit");
    let with_all = Policy::new(&[bucket(), greedy]).expect("a policy").with_permits(3).expect("permits");
    let strict = keys(&all).refusing_new_keys(true);
    vec![
        (Policy::of_keys(keys(&[bucket()])), 1_000),
        (Policy::of_keys(keys(&[fixed]).hiding_names(true)), 1),
        (Policy::of_keys(keys(&[sliding])), 5_000),
        (with_all.with_keys(strict), 1_000),
    ]
}

#[test]
fn the_reader_and_the_limiter_agree_on_keys() {
    if !has_reader() {
        skip!("python3 cannot be started");
    }
    for (policy, capacity) in policies() {
        let specimen = Specimen::new(policy, capacity);
        let limiter = &specimen.limiter;
        specimen.compare("a new limiter");
        for (key, n) in [(KEYS[0], 3), (KEYS[1], 10), (KEYS[2], 1), (KEYS[0], 2), (KEYS[3], 5)] {
            assert!(specimen.admitted(key, n), "{policy}: {key:?}");
        }
        assert!(!specimen.admitted(KEYS[1], 1) && !specimen.admitted(KEYS[0], 9));
        assert_eq!(specimen.compare("in use"), [5, 0, 9, 5, 10], "{policy}");
        assert!(limiter.reset_key(KeyOf::All(&bytes(KEYS[0]))).expect("a reset"));
        assert_eq!(specimen.compare("a key was reset")[0], 10, "{policy}");
        assert!(specimen.admitted(KEYS[0], 4));
        limiter
            .charge_key(&KeyAsk { key: KeyOf::All(&bytes(KEYS[3])), cost: &specimen.cost(9), at: None })
            .expect("a debt");
        assert_eq!(specimen.compare("a second life, and a debt")[..4], [6, 0, 9, 0], "{policy}");
        // All around the ring of generations.
        for _ in 0..9 {
            limiter.pause_for(Duration::from_secs(3_600)).expect("a pause");
            limiter.resume().expect("no pause");
        }
        limiter.pause_for(Duration::from_secs(3_600)).expect("a pause");
        assert_eq!(specimen.compare("paused"), [0; 5], "{policy}");
        limiter.resume().expect("no pause");
        limiter.reset().expect("a reset");
        assert_eq!(specimen.compare("reset"), [10; 5], "{policy}");
        assert!(specimen.admitted(KEYS[0], 10) && !specimen.admitted(KEYS[0], 1));
        assert_eq!(specimen.compare("after a reset"), [0, 10, 10, 10, 10], "{policy}");
        assert_eq!(
            specimen.file()["keys"]["anchors"].as_array().map(Vec::len),
            policy.keys().map(|keys| keys.limits().count())
        );
    }
}

/// A full table, in which most keys were forgotten or denied.
#[test]
fn the_reader_and_the_limiter_agree_on_a_full_table() {
    if !has_reader() {
        skip!("python3 cannot be started");
    }
    for refuses in [false, true] {
        let policy = Policy::of_keys(keys(&[bucket()]).refusing_new_keys(refuses));
        let specimen = Specimen::new(policy, 1);
        let admitted = (0..900).filter(|i| specimen.admitted(&[&format!("key {i}")], 6)).count();
        assert!((256..900).contains(&admitted), "{admitted}");
        specimen.compare("full");
        assert_eq!(specimen.file()["keys"]["live_states"][0].as_array().map(Vec::len), Some(256));
    }
}

/// The reader looks at no row that has no memory: on a file system that is full it would be killed.
#[test]
fn the_reader_gives_a_table_no_memory() {
    if !has_reader() {
        skip!("python3 cannot be started");
    }
    let specimen = Specimen::new(Policy::of_keys(keys(&[bucket()])), 200_000);
    assert!(specimen.admitted(KEYS[0], 1));
    let blocks = || std::fs::metadata(specimen.path()).expect("the file").blocks();
    let before = blocks();
    assert_eq!(specimen.file()["keys"]["live_states"][0].as_array().map(Vec::len), Some(1));
    assert_eq!(blocks(), before);
}

/// A limiter that another implementation created.
#[test]
fn the_limiter_that_the_reader_created_is_one() {
    if !has_reader() {
        skip!("python3 cannot be started");
    }
    for (policy, capacity) in policies() {
        let keys = policy.keys().expect("limits per key");
        let limit = |limit: Limit| {
            let kind = match limit.kind() {
                shm_core::limit::Kind::FixedWindow(_) => "windows since 1970",
                shm_core::limit::Kind::SlidingCounter => "sliding counter",
                shm_core::limit::Kind::Greedy => "greedy",
                _ => "bucket",
            };
            let unit = if limit.unit().is_calls() { String::new() } else { limit.unit().to_string() };
            let (max, per_ns) = (limit.rate().max(), limit.rate().per().as_nanos() as u64);
            json!({
                "kind": kind, "unit": unit,
                "numbers": { "max": max, "per_ns": per_ns, "burst": limit.burst(), "guard_ns": 0 },
            })
        };
        let wanted = json!({
            "limits": policy.limits().map(limit).collect::<Vec<_>>(), "permits": policy.permits().unwrap_or(0), "seats": 3,
            "keys": {
                "limits": keys.limits().map(limit).collect::<Vec<_>>(), "capacity": capacity,
                "refuses_new": keys.refuses_new_keys(), "hides_names": keys.hides_names(),
            },
        });
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("made");
        read(&["create", path.to_str().expect("a path"), &wanted.to_string()]);
        let name = Name::new("made").expect("a name");
        let limiter = Limiter::attach(&Directory::at(dir.path()), &name).expect("a limiter");
        let specimen = Specimen { _dir: dir, limiter };
        assert_eq!(specimen.limiter.policy().expect("a policy"), policy);
        assert!(
            specimen.admitted(KEYS[1], 10) && !specimen.admitted(KEYS[1], 1) && specimen.admitted(KEYS[0], 2)
        );
        assert_eq!(specimen.compare("created by the reader"), [8, 0, 10, 10, 10], "{policy}");
        specimen.limiter.reset().expect("a reset");
        assert!(specimen.admitted(KEYS[1], 10));
    }
}
