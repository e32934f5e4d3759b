//! Hostile bytes in a limiter's file, under every operation: written before the limiter is opened, between operations, and all
//! the time by another process. No panic, no signal, no hang; one hostile word costs at most one burst. The cases run in
//! children that are watched; see `tests/harness/work/fuzz`.
//!
//! `cargo xtask fuzz [SECONDS] [--seed N] [--case N]` runs this for longer, or one case again and again.

use harness::fuzz_progress::{Counts, OPS, Progress};
use harness::{Job, log_uncaptured, shared_dir};
use shm_lib::ErrorKind;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

const WORKER: &str = env!("CARGO_BIN_EXE_worker");
/// How long one operation may take before its child is taken for hung.
const HUNG: Duration = Duration::from_secs(30);
const CHILDREN: u64 = 2;

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// A child and its progress. Killed when dropped.
struct Watched {
    child: Child,
    progress: Progress,
    seed: u64,
}

impl Watched {
    /// Whether it has ended well; panics with the case if it ended otherwise, or hangs.
    fn has_ended(&mut self) -> bool {
        let now = self.progress.now();
        let repeat = format!(
            "in {:?}; again: cargo xtask fuzz 60 --seed {} --case {}",
            now.op.map(|(op, _)| op),
            self.seed,
            now.case
        );
        match self.child.try_wait().expect("a child") {
            Some(status) => {
                assert!(status.success(), "a child ended with {status} {repeat}");
                true
            }
            None => {
                let since = now.op.map_or(0, |(_, began)| shm_lib::now().as_nanos().saturating_sub(began));
                assert!(since < HUNG.as_nanos() as u64, "a child hangs {repeat}");
                false
            }
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn operations_survive_hostile_bytes() {
    let seconds = setting("SHM_FUZZ_SECONDS").unwrap_or(45);
    let seed = setting("SHM_FUZZ_SEED").unwrap_or_else(|| shm_lib::now().as_nanos() % 1_000_000_000);
    let only = setting("SHM_FUZZ_CASE");
    log_uncaptured(&format!("fuzz: seed {seed}, {seconds} s (cargo xtask fuzz {seconds} --seed {seed})"));
    let dirs: Vec<_> = (0..CHILDREN).map(|_| shared_dir()).collect();
    let mut children: Vec<Watched> = dirs
        .iter()
        .zip(0..)
        .map(|(dir, index)| {
            let progress = dir.path().join(".progress");
            let job = Job::new("fuzz")
                .set("dir", dir.path().display())
                .set("progress", progress.display())
                .set("seed", seed)
                .set("first", only.unwrap_or(index))
                .set("step", if only.is_some() { 0 } else { CHILDREN })
                .set("for", seconds * 1_000);
            let progress = Progress::at(&progress);
            let child = Command::new(WORKER).args(job.args()).spawn().expect("the worker binary");
            Watched { child, progress, seed }
        })
        .collect();
    let give_up = Instant::now() + Duration::from_secs(seconds) + 2 * HUNG;
    // Not `all`: each is looked at.
    while children.iter_mut().map(Watched::has_ended).filter(|ended| !ended).count() > 0 {
        assert!(Instant::now() < give_up, "they don't end");
        std::thread::sleep(Duration::from_millis(50));
    }
    let tally = children.iter().fold(Counts::default(), |sum, child| sum.plus(&child.progress.tally()));
    log_uncaptured(&format!("fuzz: seed {seed}: {tally}"));
    if only.is_none() && seconds >= 10 {
        // That it reaches what it is for.
        for op in OPS.into_iter().filter(|op| *op != "make") {
            assert!(tally.of(op) > 0, "{op} was never done");
        }
        for kind in [ErrorKind::Corrupt, ErrorKind::NotALimiter, ErrorKind::Incompatible, ErrorKind::TooFar] {
            assert!(tally.errors(kind) > 0, "nothing ever was {kind:?}");
        }
    }
}
