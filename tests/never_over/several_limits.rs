//! Three limits of different kinds and permits on one limiter, used by 32 processes that are killed and replaced.

use harness::check::{most_at_once, pace};
use harness::{Arena, Job, Rng, WorkerPool, alone, eventually, log, log_uncaptured, shared_dir};
use shm_lib::limit::audit::Admission;
use shm_lib::{Cost, Nanos, Outcome, RateLimit, Unit};
use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

const WORKER: &str = env!("CARGO_BIN_EXE_worker");
const PERMITS: u64 = 8;
const STORM: Duration = Duration::from_secs(4);
const QUIET: Duration = Duration::from_secs(2);
const WARM_UP: Duration = Duration::from_millis(600);
/// Processes that fork four workers each, and workers that were exec'd.
const FORK_POOLS: usize = 4;
const EXECED: usize = 16;

/// `amount, at` of each admission; what a killed worker did not finish writing is left out.
fn admitted(arena: &Arena) -> Vec<(u64, u64)> {
    log::read_each(arena.logs())
        .iter()
        .flat_map(|words| words.chunks_exact(2).map(|w| (w[0], w[1])).collect::<Vec<_>>())
        .collect()
}

/// When each permit was surely held. One that was still held when its process was killed was held until then.
fn held(holds: &Path, killed: &HashMap<u64, u64>) -> Vec<(u64, u64)> {
    let mut all = Vec::new();
    for words in log::read_each(holds) {
        let Some((boss, times)) = words.split_first() else { continue };
        all.extend(times.chunks(2).map(|t| (t[0], t.get(1).or(killed.get(boss)).copied().unwrap_or(0))));
    }
    all
}

struct Workload {
    arena: Arena,
    units: &'static str,
    amounts: u64,
}

impl Workload {
    fn job(&self, holds: &Path) -> Job {
        self.arena
            .job("mixed")
            .set("units", self.units)
            .set("amounts", self.amounts)
            .set("hold", 300)
            .set("holds", holds.display())
    }

    fn pool(&self, job: &Job) -> WorkerPool {
        let mut pool = WorkerPool::new(WORKER);
        (0..FORK_POOLS).for_each(|_| pool.spawn_forked(job, 4));
        pool.spawn_many(job, EXECED);
        pool.start();
        pool
    }

    /// Never over, by each limit's own definition, while processes are killed; never more permits held than there are.
    fn disrupt(&self) {
        let holds = shared_dir();
        let watcher = self.arena.open();
        let job = self.job(holds.path()).set("settle", 1);
        let fork_pool = job.as_mode("fork_pool").set("children", 4).set("work", "mixed");
        let mut pool = self.pool(&job);
        let mut rng = Rng::new();
        let mut killed = HashMap::new();
        let end = Instant::now() + STORM;
        while Instant::now() < end {
            std::thread::sleep(Duration::from_micros(rng.below(25_000)));
            let index = rng.below((FORK_POOLS + EXECED) as u64) as usize;
            killed.insert(u64::from(pool.pid(index)), shm_lib::now().as_nanos());
            pool.replace(index, if index < FORK_POOLS { &fork_pool } else { &job });
            let seen = watcher.inspect().expect("a healthy limiter").permits_held;
            assert!(seen <= PERMITS, "{seen} of {PERMITS} permits held");
        }
        let kills = killed.len();
        let now = shm_lib::now().as_nanos();
        killed.extend((0..pool.len()).map(|i| (u64::from(pool.pid(i)), now)));
        pool.kill_all();
        self.nothing_is_left(&watcher);

        let admitted = admitted(&self.arena);
        self.arena.assert_all_kept(&admitted);
        let held = held(holds.path(), &killed);
        let most = most_at_once(&held);
        log_uncaptured(&format!(
            "{}: {kills} kills, {} admitted, {} permits taken, {most} of {PERMITS} at once",
            watcher.policy().unwrap(),
            admitted.len(),
            held.len()
        ));
        assert!(most <= PERMITS, "{most} of {PERMITS} permits held at once");
        assert!(held.len() > 500 && most > PERMITS / 2, "this storm was none");
    }

    /// What the dead held is free: at once, and all of it.
    fn nothing_is_left(&self, watcher: &RateLimit) {
        let free = || watcher.inspect().unwrap().permits_held == 0;
        // A busy machine may take its time to end the killed.
        assert!(eventually(Duration::from_secs(10), free), "permits of the dead are held");
        let fresh = self.arena.open();
        let units = self.units.split(',').filter_map(|unit| Unit::named(unit).ok());
        let request = units.fold(Cost::one(), |request, unit| request.and(unit, 1));
        let ask = |patience| {
            fresh.acquire(request).deadline(Instant::now() + patience).stop_when(|| false).wait().unwrap()
        };
        let all: Vec<Outcome> = (0..PERMITS).map(|_| ask(Duration::from_secs(5))).collect();
        assert!(all.iter().all(Outcome::is_admitted), "a permit is lost");
        assert_eq!(watcher.inspect().unwrap().permits_held, PERMITS);
        assert!(!ask(Duration::from_millis(20)).is_admitted(), "one permit too many");
        drop(all);
        assert!(free());
    }

    /// After the storm everything that is allowed is delivered again. Only a machine of one's own can promise that, so a
    /// disturbed measurement is repeated.
    fn measure_delivery(&self, delivered: impl Fn(&[Admission], u64) -> f64) {
        let mut best = 0.0_f64;
        for _ in 0..3 {
            let holds = shared_dir();
            let pool = self.pool(&self.job(holds.path()));
            let from = shm_lib::now().plus(WARM_UP).as_nanos();
            std::thread::sleep(WARM_UP + QUIET + Duration::from_millis(50));
            pool.kill_all();
            let logged = admitted(&self.arena);
            self.arena.assert_all_kept(&logged);
            let mut all: Vec<Admission> = logged
                .into_iter()
                .map(|(tokens, at)| Admission { at: Nanos::from_nanos(at), calls: tokens })
                .collect();
            all.sort_unstable();
            let part = delivered(&all, from);
            log_uncaptured(&format!("afterwards {:.3} % of nominal", 100.0 * part));
            best = best.max(part);
            if best >= 0.99 {
                return;
            }
        }
        panic!("only {:.3} % of nominal after the storm", 100.0 * best);
    }
}

#[test]
fn greedy_bucket_and_fixed_window_hold_together_under_kills() {
    let _alone = alone();
    let storm = Workload {
        arena: Arena::with_policy("greedy:200/100ms+bucket:3000/s:50+fixed:800/500ms", PERMITS),
        units: "",
        amounts: 1,
    };
    storm.disrupt();
    // In the long run the fixed windows are the narrowest.
    storm.measure_delivery(|all, from| {
        let wall = harness::file::Patch::of(&storm.arena.file()).get(harness::file::offset::WALL);
        let half = 500_000_000;
        let first = (from + wall).div_ceil(half);
        let windows = (from + QUIET.as_nanos() as u64 + wall) / half - first;
        let inside = all.iter().filter(|a| {
            let window = (a.at.as_nanos() + wall) / half;
            (first..first + windows).contains(&window)
        });
        inside.count() as f64 / (800 * windows) as f64
    });
}

#[test]
fn a_sliding_counter_and_units_hold_together_under_kills() {
    let _alone = alone();
    let storm = Workload {
        arena: Arena::with_policy(
            "sliding:140/100ms+bucket:20000/s:5000@tokens+greedy:3000/50ms@bytes",
            PERMITS,
        ),
        units: "tokens,bytes",
        amounts: 39,
    };
    storm.disrupt();
    // In the long run the tokens are what is scarce.
    storm.measure_delivery(|all, from| pace(all, from, QUIET) / 20_000.0);
}
