//! What the tests with real processes share: places to work in, pools of worker processes, and what they report.
//!
//! | module | what |
//! |---|---|
//! | [`arena`] | a limiter in a directory of its own, and the log of its admissions |
//! | [`fuzz_progress`] | what a fuzzing child is doing, for the test that watches it |
//! | [`policy`] | a policy as one word of a job |
//! | [`check`] | each kind of limit checked by its definition |
//! | [`job`] | what a worker is told to do: a mode and `key=value` words |
//! | [`worker_pool`] | many workers that start together and never outlive the test |
//! | [`remote_worker`] | one worker that executes orders, line by line |
//! | [`storm`] | the storm's limiters, and what each has to bear |
//! | [`key_storm`] | the limiters of the storm of keys |
//! | [`load`] | clients that overload a limiter and leave, and askers that ask again at once |
//! | [`journal`] | what its threads write down |
//! | [`mark`] | what a traced worker and its tracer tell each other |
//! | [`log`] | admissions in mapped files, so that those of a killed worker count too |
//! | [`file`](mod@file) | a limiter's file, read and patched from outside |
//! | [`turns`] | which tests of a binary run at the same time |
//! | [`raw`] | all that is unsafe |

#![deny(unsafe_code)]
#![allow(
    clippy::missing_panics_doc,
    clippy::missing_errors_doc,
    reason = "what goes wrong here fails the test"
)]

pub mod arena;
pub mod check;
pub mod file;
pub mod fuzz_progress;
pub mod job;
pub mod journal;
pub mod key_storm;
pub mod load;
pub mod log;
pub mod mark;
pub mod policy;
pub mod raw;
pub mod remote_worker;
pub mod storm;
pub mod turns;
pub mod worker_pool;

pub use arena::{Arena, shared_dir};
pub use job::Job;
pub use remote_worker::RemoteWorker;
pub use turns::alone;
pub use worker_pool::WorkerPool;

use nix::sys::wait::{WaitStatus, waitpid};
use std::io::Read;
use std::time::{Duration, Instant};

/// How long anything may take that does not depend on a rate before the test gives up.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Whether this is root, which may become other users.
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Says loudly that something was not tested, and why. `--nocapture` is not needed to see it.
#[macro_export]
macro_rules! skip {
    ($($why:tt)*) => {{
        $crate::log_uncaptured(&format!("SKIPPED {}: {}", module_path!(), format_args!($($why)*)));
        return;
    }};
}

/// Writes past the capture of the test runner: for measurements and skips.
pub fn log_uncaptured(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Runs `work` in a forked child of this process; whether it returned true there.
///
/// Until it ends, the child holds copies of every descriptor of the process, and so of its locks: a test that does this in
/// the test process is [`alone`].
pub fn in_child(work: impl FnOnce() -> bool) -> bool {
    match raw::fork().expect("a child") {
        Some(child) => waitpid(child, None) == Ok(WaitStatus::Exited(child, 0)),
        None => {
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_or(false);
            // Past the exit handlers of the test runner.
            raw::exit_now(i32::from(!done))
        }
    }
}

/// Says that this worker is ready, and waits until all may start.
pub fn ready() {
    println!("ready");
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

/// Polls until it holds; false after `patience`.
pub fn eventually(patience: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + patience;
    loop {
        if holds() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Numbers that look random enough to pick moments and victims. Seeded by the clock.
pub struct Rng(u64);

impl Rng {
    /// A new sequence.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Rng {
        Rng(shm_lib::now().as_nanos() ^ u64::from(std::process::id()) << 40 | 1)
    }

    /// The sequence of this seed.
    pub fn seeded(seed: u64) -> Rng {
        // Seeds that are neighbours lead to sequences that are not (splitmix64).
        let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Rng((z ^ (z >> 31)) | 1)
    }

    /// A number in `0..below`.
    pub fn below(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}
