//! Attacks on limits per key: by whom keys come from, and by a process that can write to the file.

use harness::file::{CHUNK, Parts, Patch};
use harness::{Arena, RemoteWorker, arena, is_root, log_uncaptured, shared_dir, skip};
use shm_lib::{KeyedRateLimit, Limit, Rate};
use std::time::{Duration, Instant};

const WORKER: &str = env!("CARGO_BIN_EXE_worker");

/// What came of keys that were used once each.
#[derive(Default)]
struct Innocents {
    asked: u64,
    denied: u64,
    next: u64,
}

impl Innocents {
    fn ask(&mut self, limit: &KeyedRateLimit) {
        self.next += 1;
        self.asked += 1;
        let admitted = limit.key(("innocent", self.next)).try_acquire(1).unwrap().is_admitted();
        self.denied += u64::from(!admitted);
    }

    fn percent(&self) -> f64 {
        100.0 * self.denied as f64 / self.asked.max(1) as f64
    }
}

/// An attacker that can send requests for any key, and knows everything but the file's random key, wants its own debt forgotten: it
/// floods the table with new keys. It gets its own limit and not one call more. It cannot aim at a row; what it costs the others
/// is that new keys are denied while the table is full, and for as long as a key takes to recover.
#[test]
fn an_attacker_that_floods_new_keys_gets_no_more_of_its_own() {
    const FLOOD: Duration = Duration::from_secs(2);
    let (rate, burst) = (Rate::per_second(2).unwrap(), 4);
    let dir = shared_dir();
    // Room for a thousand keys, in 2,560 slots.
    let limit = KeyedRateLimit::builder("k").directory(dir.path()).capacity(1_000).burst(burst);
    let limit = limit.open_rate(rate).unwrap();
    let mut calm = Innocents::default();
    (0..500).for_each(|_| calm.ask(&limit));

    let (mut own, mut floods, mut admitted) = (Vec::new(), 0_u64, 0_u64);
    let mut beside = Innocents { next: 1_000_000, ..Innocents::default() };
    let began = Instant::now();
    while began.elapsed() < FLOOD {
        // All that a new key admits, so that it owes as much as can be.
        let key = ("flood", floods);
        floods += 1;
        (0..burst).for_each(|_| admitted += u64::from(limit.key(key).try_acquire(1).unwrap().is_admitted()));
        if let Some(admission) = limit.key("attacker").try_acquire(1).unwrap().admission() {
            own.push(admission.at().as_nanos());
        }
        if floods.is_multiple_of(50) {
            beside.ask(&limit);
        }
    }
    arena::assert_never_over(Limit::with_burst(rate, burst).unwrap(), &own);
    let most = burst + (FLOOD.as_secs_f64() * rate.as_per_second()) as u64 + 1;
    assert!(own.len() as u64 <= most, "{} of its own, at most {most}", own.len());

    // A key recovers from its burst in two seconds, and the table with it.
    std::thread::sleep(Duration::from_millis(2_200));
    let mut after = Innocents { next: 2_000_000, ..Innocents::default() };
    (0..500).for_each(|_| after.ask(&limit));
    let table = limit.table_status().unwrap();
    log_uncaptured(&format!(
        "an attacker floods a table of 2,560 slots with {floods} new keys in 2 s ({admitted} of their calls admitted, {} keys forgotten): {} calls of its own, at most {most}; of others' new keys {:.1} % are denied before, {:.0} % meanwhile, {:.1} % two seconds later",
        table.forgotten.total,
        own.len(),
        calm.percent(),
        beside.percent(),
        after.percent()
    ));
    assert!(table.forgotten.total > 1_000, "it is no flood: {table:?}");
    assert_eq!((calm.denied, after.denied), (0, 0));
    // To fill the table costs the attacker as many admitted calls as it has room for, and no more than the limits deliver.
    let capacity = (table.slots as f64) * (burst as f64 + FLOOD.as_secs_f64() * rate.as_per_second());
    assert!((admitted as f64) < capacity, "{admitted} calls of a table that has room for {capacity}");
}

/// Bits that say that all of the table has memory, set by a process that can write to the file, while the file system is full. That
/// is a SIGBUS at most, as truncating the file is: no process decides by what is not there.
#[test]
fn bits_of_chunks_without_memory_are_a_sigbus_at_most() {
    if !is_root() {
        skip!("only root can mount a small tmpfs");
    }
    let arena = Arena::with_policy("key-bucket:1/1h:1", 0);
    let dir = arena.dir().display().to_string();
    let mut owner = RemoteWorker::new(WORKER, &arena.job("remote").set("capacity", 100_000));
    owner.expect_ok(&format!("tmpfs {dir} 16m"));
    owner.expect_ok("keys-open");
    owner.expect_ok(&format!("fill {dir}"));
    let mounts = |mode: &str| arena.job(mode).set("capacity", 100_000).set("mounts-of", owner.pid());
    // Without the attack keys are refused for want of space.
    let mut victim = RemoteWorker::new(WORKER, &mounts("remote"));
    victim.expect_ok("keys-open");
    let came = victim.numbers("key-many 0 200");
    assert!(came[2] > 100 && came[1] == 0, "{came:?}");
    let mut attacker = RemoteWorker::new(WORKER, &mounts("remote"));
    attacker.expect_ok(&format!("set-chunk-bits {dir}/arena"));
    victim.tell("key-many 0 200");
    assert!(!victim.wait(), "it went on without memory");

    // With space, the bits are right: memory comes with the first touch.
    let mut third = RemoteWorker::new(WORKER, &mounts("remote"));
    third.expect_ok(&format!("rm {dir}/ballast"));
    third.expect_ok("keys-open");
    let came = third.numbers("key-many 0 200");
    assert_eq!(came[2], 0, "{came:?}");
    assert!(came[0] > 150, "{came:?}");
}

/// On a file system with space the bits of the chunks do no harm, and cleared ones cost a system call.
#[test]
fn bits_of_chunks_change_no_decision_where_there_is_space() {
    let arena = Arena::with_policy("key-bucket:1/1h:1", 0);
    let limit = arena.job("watcher").set("capacity", 100_000).open_keys().unwrap();
    let file = Patch::of(limit.path());
    let parts = Parts::of(|at| file.get(at));
    let words = (parts.size - parts.tables).div_ceil(CHUNK).div_ceil(64);
    for bits in [u64::MAX, 0] {
        for word in 0..words {
            file.set(parts.chunks + 8 * word, bits);
        }
        for key in 0..500_u64 {
            let first = bits == u64::MAX;
            assert_eq!(limit.key(key).try_acquire(1).unwrap().is_admitted(), first, "{key}");
        }
    }
}
