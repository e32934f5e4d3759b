//! A storm of keys: many processes ask for hundreds of thousands of keys, and all of them for one, on limiters with tables that are
//! too small, that are changed and reset, and are killed and stopped at any instant. Afterwards a judge that knows only the
//! definitions reads what was admitted of each key.
//!
//! A few seconds of it, or as `SHM_LIMIT_KEY_STORM` says: seconds, keys, processes, limiters (`cargo xtask storm keys`, `cargo xtask
//! storm ten-million`).

use crate::audit::{Change, Generous, kept};
use crate::disruptor::PATIENCE;
use harness::check::{self, Origins};
use harness::file::{Patch, offset};
use harness::journal::{self, Board, EntryKind};
use harness::key_storm::{HOT, KEY_LIMITERS, KEY_RATES, KeyStormLimiter, KeyTrouble, WITH_ALL};
use harness::raw::MappedWords;
use harness::storm::THREADS;
use harness::{Rng, WorkerPool, alone, eventually, log_uncaptured, policy, shared_dir};
use nix::sys::signal::Signal;
use shm_lib::limit::audit::{self, Admission};
use shm_lib::{KeyedRateLimit, Kind, Limit, Nanos, Rate};
use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

const WORKER: &str = env!("CARGO_BIN_EXE_worker");
/// A reset that its process may have died in happened before this.
const CUT_OFF: u64 = 2_000_000_000;
/// A caller that waits charges its turn so many nanoseconds ahead, and the quick clock lags a little.
const AHEAD: u64 = 21_000_000;
/// What a worker may have of memory of its own, in kB. Its journals are files.
const MEMORY_KB: u64 = 64 << 10;

/// How large a storm it is.
struct Plan {
    seconds: u64,
    keys: u64,
    processes: usize,
    limiters: usize,
}

impl Plan {
    fn from_env() -> Plan {
        let text = std::env::var("SHM_LIMIT_KEY_STORM").unwrap_or_else(|_| "8 20000 12 6".into());
        let numbers: Vec<u64> = text.split(' ').map(|n| n.parse().expect("four numbers")).collect();
        let [seconds, keys, processes, limiters] = numbers[..] else { panic!("four numbers, not {text:?}") };
        Plan { seconds, keys, processes: processes as usize, limiters: limiters as usize }
    }
}

/// What was done to the processes and the limiters.
#[derive(Default)]
struct Record {
    kills: usize,
    stops: usize,
    rates: Vec<Change>,
    resets: Vec<Change>,
    stalls: Vec<String>,
}

struct Storm<'a> {
    plan: &'a Plan,
    pool: WorkerPool,
    jobs: Vec<harness::Job>,
    board: &'a Board,
    rng: Rng,
    stopped: Vec<(usize, Instant)>,
    /// When each process was last disturbed.
    disturbed: Vec<Instant>,
    record: Record,
}

impl Storm<'_> {
    fn disrupt(&mut self, limits: &[KeyedRateLimit], span: Duration) {
        let end = Instant::now() + span;
        while Instant::now() < end {
            std::thread::sleep(Duration::from_micros(self.rng.below(60_000)));
            self.go_on(Instant::now());
            let slot = self.rng.below(self.plan.processes as u64) as usize;
            match self.rng.below(8) {
                0..=2 => {
                    self.stopped.retain(|(stopped, _)| *stopped != slot);
                    self.pool.replace(slot, &self.jobs[slot]);
                    (0..THREADS).for_each(|thread| self.board.clear(slot * THREADS + thread));
                    self.disturbed[slot] = Instant::now();
                    self.record.kills += 1;
                }
                3..=5 if self.stopped.iter().all(|(stopped, _)| *stopped != slot) => {
                    self.pool.signal(slot, Signal::SIGSTOP);
                    let time = Duration::from_micros(self.rng.below(300_000));
                    self.stopped.push((slot, Instant::now() + time));
                    self.record.stops += 1;
                }
                _ => self.control(limits),
            }
            self.watch();
        }
        self.go_on(Instant::now() + Duration::from_secs(1));
    }

    fn go_on(&mut self, now: Instant) {
        for (slot, until) in std::mem::take(&mut self.stopped) {
            if until <= now {
                self.pool.signal(slot, Signal::SIGCONT);
                self.disturbed[slot] = Instant::now();
            } else {
                self.stopped.push((slot, until));
            }
        }
    }

    /// Changes the rates of keys, or resets all keys.
    fn control(&mut self, limits: &[KeyedRateLimit]) {
        for (limiter, limit) in KEY_LIMITERS.iter().zip(limits) {
            let from = shm_lib::now().as_nanos();
            match limiter.trouble {
                KeyTrouble::Rates => {
                    let rate = KEY_RATES[(self.record.rates.len() + 1) % 2];
                    limit.change(rate, Duration::from_secs(1)).expect("a change");
                    self.record.rates.push(Change { from, to: shm_lib::now().as_nanos(), rate });
                }
                KeyTrouble::Resets if self.rng.below(8) == 0 => {
                    limit.all_keys().reset().expect("a reset");
                    self.record.resets.push(Change { from, to: shm_lib::now().as_nanos(), rate: 0 });
                }
                _ => {}
            }
        }
    }

    /// Finds calls that do not return.
    fn watch(&mut self) {
        for place in 0..self.plan.processes * THREADS {
            let slot = place / THREADS;
            let is_stopped = self.stopped.iter().any(|(stopped, _)| *stopped == slot);
            let Some((_, due)) = self.board.going_on(place) else { continue };
            let late = Duration::from_nanos(shm_lib::now().as_nanos().saturating_sub(due));
            if late > PATIENCE && !is_stopped && self.disturbed[slot].elapsed() > PATIENCE {
                self.board.clear(place);
                self.record.stalls.push(format!("a call of process {slot} is {late:?} overdue"));
            }
        }
    }
}

fn memory_of(limit: &KeyedRateLimit) -> u64 {
    std::fs::metadata(limit.path()).map_or(0, |file| file.blocks() * 512)
}

/// Memory of its own, in kB.
fn anonymous_memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

#[test]
fn a_storm_of_keys_breaks_no_promise() {
    let plan = Plan::from_env();
    let _alone = alone();
    let (dir, logs) = (shared_dir(), shared_dir());
    let limiters = &KEY_LIMITERS[..plan.limiters];
    let open = |limiter: &KeyStormLimiter| limiter.open(dir.path(), plan.keys).expect("a limiter");
    let began = shm_lib::now().as_nanos();
    let limits: Vec<KeyedRateLimit> = limiters.iter().map(open).collect();
    let board = Board::map(logs.path(), plan.processes * THREADS);
    let job = KeyStormLimiter::job(dir.path(), logs.path(), plan.keys, plan.limiters);
    let job = job.set("places", plan.processes * THREADS);
    let jobs: Vec<_> = (0..plan.processes).map(|slot| job.clone().set("slot", slot)).collect();
    let mut pool = WorkerPool::new(WORKER);
    for job in &jobs {
        pool.spawn(job);
    }
    pool.start();
    let disturbed = vec![Instant::now(); plan.processes];
    let (rng, stopped, record) = (Rng::new(), Vec::new(), Record::default());
    let mut storm = Storm { plan: &plan, pool, jobs, board: &board, rng, stopped, disturbed, record };

    let half = Duration::from_secs(plan.seconds) / 2;
    storm.disrupt(&limits, half);
    let memory: Vec<u64> = limits.iter().map(memory_of).collect();
    storm.disrupt(&limits, half);
    let later: Vec<u64> = limits.iter().map(memory_of).collect();
    let most = (0..plan.processes).map(|slot| anonymous_memory(storm.pool.pid(slot))).max().unwrap_or(0);
    let Storm { pool, record, .. } = storm;
    pool.kill_all();
    let span = Duration::from_nanos(shm_lib::now().as_nanos() - began);

    let mut verdict = Verdict::of(&plan, dir.path(), logs.path(), &record);
    verdict.judge_totals(&plan, logs.path(), span);
    let calls: u64 = (0..plan.processes * THREADS).map(|place| board.calls(place)).sum();
    let mut text = format!(
        "storm of keys: {} s, {} processes, {} keys\n  operations  {calls}, {} admissions in the journal of {} keys, {} in all of {}\n  kills       {}\n  stops       {}\n  changes     {}, {} resets of all keys, {} of one\n  over        {} ({} admissions astride a change set aside)\n  stalls      {}\n  memory      at most {most} kB of a process's own\n",
        plan.seconds,
        plan.processes,
        plan.keys,
        verdict.recorded,
        verdict.keys,
        verdict.admitted,
        verdict.keys_admitted,
        record.kills,
        record.stops,
        record.rates.len(),
        record.resets.len(),
        verdict.resets_of_one,
        verdict.over.len(),
        verdict.aside,
        record.stalls.len(),
    );
    for (i, limit) in limits.iter().enumerate() {
        let table = limit.table_status().expect("a healthy limiter");
        text += &format!(
            "  {:<9}   {} MB of {} MB, {} MB at half time; {} of {} slots live, {} forgotten, {} inherited\n",
            limit.name(),
            later[i] >> 20,
            table.bytes >> 20,
            memory[i] >> 20,
            table.live,
            table.slots,
            table.forgotten.total,
            table.inherited.total
        );
    }
    log_uncaptured(text.trim_end());

    assert!(verdict.over.is_empty(), "over: {:#?}", &verdict.over[..verdict.over.len().min(20)]);
    assert!(record.stalls.is_empty(), "stalls: {:#?}", record.stalls);
    assert!(most < MEMORY_KB, "a process has {most} kB of its own");
    for ((limit, before), after) in limits.iter().zip(memory).zip(later) {
        let file = std::fs::metadata(limit.path()).expect("its file").len();
        assert!(after <= file + 4_096, "{}: {after} bytes of memory for {file}", limit.name());
        assert!(after <= before + before / 20 + (1 << 20), "{}: {before} bytes, then {after}", limit.name());
        // Nothing is left of the dead.
        let look = || limit.all_keys().inspect().expect("a healthy limiter");
        let others = || look().attached.iter().any(|a| a.pid != std::process::id());
        assert!(eventually(Duration::from_secs(1), || !others()), "{}: {:?}", limit.name(), look().attached);
        // A key goes on after all that.
        let admitted = || limit.key("after").try_acquire(1).expect("a decision").is_admitted();
        assert!(eventually(Duration::from_secs(12), admitted), "{}: a new key is denied", limit.name());
    }
    // Less would be no storm.
    assert!(record.kills as u64 > plan.seconds / 2, "{} kills", record.kills);
    assert!(verdict.aside * 10 < verdict.recorded, "{} set aside", verdict.aside);
    assert!(verdict.recorded > 100 * plan.seconds, "{} admissions", verdict.recorded);
    if plan.limiters > 1 {
        let crowded = limits[1].table_status().expect("its table");
        assert!(crowded.forgotten.total > 100, "hardly any key is forgotten: {crowded:?}");
        assert!(verdict.resets_of_one > 10 && record.rates.len() as u64 > plan.seconds / 2);
    }
}

#[derive(Default)]
struct Verdict {
    over: Vec<String>,
    recorded: u64,
    keys: usize,
    admitted: u64,
    keys_admitted: u64,
    resets_of_one: u64,
    /// Admissions astride a change or a reset.
    aside: u64,
}

/// Those that were not underway during a change or a reset. One that was may have read its clock before it, and be counted after it;
/// or it is a turn that was charged ahead.
fn not_astride(changes: &[Change], admitted: &[(Admission, u64)]) -> Vec<Admission> {
    let is_astride = |at: u64, returned: u64| {
        changes.iter().any(|change| change.from <= returned && at.saturating_sub(AHEAD) <= change.to)
    };
    let clear =
        admitted.iter().filter(|(admission, returned)| !is_astride(admission.at.as_nanos(), *returned));
    clear.map(|&(admission, _)| admission).collect()
}

impl Verdict {
    /// Each key in the journals by itself, and the limit of all keys.
    fn of(plan: &Plan, dir: &Path, logs: &Path, record: &Record) -> Verdict {
        let mut verdict = Verdict::default();
        let mut admitted: HashMap<(usize, u64), Vec<(Admission, u64)>> = HashMap::new();
        let mut resets: HashMap<u64, Vec<Change>> = HashMap::new();
        for entry in (0..plan.processes * THREADS).flat_map(|place| journal::read(logs, place)) {
            match entry.kind {
                EntryKind::Admitted => {
                    let admission = Admission { at: Nanos::from_nanos(entry.a), calls: 1 };
                    admitted.entry((entry.limiter, entry.extra)).or_default().push((admission, entry.b));
                    verdict.recorded += 1;
                }
                EntryKind::Control => {
                    let to = if entry.b == 0 { entry.a + CUT_OFF } else { entry.b };
                    let reset = Change { from: entry.a, to, rate: 0 };
                    resets.entry(entry.extra).or_default().push(reset);
                    verdict.resets_of_one += 1;
                }
                other => panic!("an entry of kind {other:?}"),
            }
        }
        verdict.keys = admitted.len();
        if let Some(of_all) = plan.limiters.checked_sub(1).filter(|&last| last >= WITH_ALL) {
            let mut all: Vec<Admission> = admitted
                .iter()
                .filter(|((limiter, _), _)| *limiter == of_all)
                .flat_map(|(_, list)| list.iter().map(|&(admission, _)| admission))
                .collect();
            let limit = policy::parse(KEY_LIMITERS[of_all].policy, 0).first().expect("a limit of all keys");
            if let Err(over) = audit::check(limit, &mut all) {
                verdict.over.push(format!("all keys of {}: {over}", KEY_LIMITERS[of_all].name));
            }
        }
        let rates = Generous::changing(KEY_RATES[0], &record.rates);
        let none = Vec::new();
        for ((limiter, key), returned) in admitted {
            let mut list: Vec<Admission> = returned.iter().map(|&(admission, _)| admission).collect();
            let what = &KEY_LIMITERS[limiter];
            let wall_ns = Patch::of(&dir.join(what.name)).get(offset::WALL);
            let policy = policy::parse(what.policy, 0);
            for limit in policy.keys().expect("limits per key").limits() {
                let kept = match what.trouble {
                    KeyTrouble::Rates => {
                        let mut list = not_astride(&record.rates, &returned);
                        verdict.aside += (returned.len() - list.len()) as u64;
                        kept(limit.burst(), &rates, &[], &mut list)
                    }
                    KeyTrouble::Resets => {
                        let mut own = resets.get(&key).unwrap_or(&none).clone();
                        own.extend(&record.resets);
                        own.sort_unstable_by_key(|reset| reset.from);
                        let rate = Generous::constant(limit.rate().as_per_second() as u64);
                        let mut list = not_astride(&own, &returned);
                        verdict.aside += (returned.len() - list.len()) as u64;
                        kept(limit.burst(), &rate, &own, &mut list)
                    }
                    KeyTrouble::KillsOnly => by_definition(limit, wall_ns, &mut list),
                };
                if let Err(over) = kept {
                    let hot = if key == HOT { ", the hot one" } else { "" };
                    verdict.over.push(format!("{} of key {key}{hot}: {over}", what.name));
                }
            }
        }
        verdict
    }

    /// Every key, by how often it was admitted in all.
    fn judge_totals(&mut self, plan: &Plan, logs: &Path, span: Duration) {
        for limiter in &KEY_LIMITERS[..plan.limiters] {
            let counts = MappedWords::map(&logs.join(format!("counts-{}", limiter.name)), plan.keys as usize);
            let counts = counts.expect("its counts");
            let limit = policy::parse(limiter.policy, 0);
            let limit = limit.keys().expect("limits per key").limits().next().expect("one of them");
            let rate = match limiter.trouble {
                KeyTrouble::Rates => Rate::per_second(KEY_RATES[1]).expect("a rate"),
                _ => limit.rate(),
            };
            // Of windows, the first and the last may be partly in the time.
            let burst =
                if matches!(limit.kind(), Kind::Bucket { .. }) { limit.burst() } else { 2 * limit.burst() };
            let most = (burst as f64 + rate.as_per_second() * span.as_secs_f64()).ceil() as u64;
            for (key, count) in counts.all().iter().enumerate() {
                let count = count.load(Ordering::Relaxed);
                self.admitted += count;
                self.keys_admitted += u64::from(count > 0);
                if count > most && limiter.trouble != KeyTrouble::Resets {
                    self.over.push(format!("{} of key {key}: {count} in all, at most {most}", limiter.name));
                }
            }
        }
    }
}

/// Windows of keys begin at multiples of their length by the wall clock as it was when the limiter was created.
fn by_definition(limit: Limit, wall_ns: u64, list: &mut [Admission]) -> Result<(), String> {
    match limit.kind() {
        Kind::SlidingCounter => {
            let mut shifted: Vec<Admission> = list
                .iter()
                .map(|a| Admission { at: Nanos::from_nanos(a.at.as_nanos() + wall_ns), calls: a.calls })
                .collect();
            check::kept(limit, Origins { wall_ns: 0, created_ns: 0 }, &mut shifted)
        }
        _ => check::kept(limit, Origins { wall_ns, created_ns: 0 }, list),
    }
}
