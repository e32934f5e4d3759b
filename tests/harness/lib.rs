//! What the tests with real processes share: places to work in, crews of worker processes, and what they report.
//!
//! | module | what |
//! |---|---|
//! | [`arena`] | a limiter in a directory of its own, and the log of its admissions |
//! | [`board`] | what a fuzzing child is doing, for whoever watches it |
//! | [`policy`] | a policy as one word of a job |
//! | [`check`] | each kind of limit checked by its definition |
//! | [`job`] | what a worker is told to do: a mode and `key=value` words |
//! | [`crew`] | many workers that start together and never outlive the test |
//! | [`puppet`] | one worker that does what it is told, line by line |
//! | [`storm`] | the storm's limiters, and what each has to bear |
//! | [`load`] | clients that overload a limiter and leave, and askers that ask again at once |
//! | [`journal`] | what its threads write down |
//! | [`mark`] | what a traced worker and its tracer tell each other |
//! | [`log`] | admissions in mapped files, so that those of a killed worker count too |
//! | [`file`](mod@file) | a limiter's file, read and patched from outside |
//! | [`raw`] | all that is unsafe |

#![deny(unsafe_code)]

pub mod arena;
pub mod board;
pub mod check;
pub mod crew;
pub mod file;
pub mod job;
pub mod journal;
pub mod load;
pub mod log;
pub mod mark;
pub mod policy;
pub mod puppet;
pub mod raw;
pub mod storm;

pub use arena::{Arena, shared_dir};
pub use crew::Crew;
pub use job::Job;
pub use puppet::Puppet;

use std::io::Read;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long anything may take that does not depend on a rate before the test gives up.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Keeps heavy tests of one file from fighting for the processors. Held until the guard is dropped.
pub fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether this is root, who may become others.
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Says loudly that something was not tested, and why. `--nocapture` is not needed to see it.
#[macro_export]
macro_rules! skip {
    ($($why:tt)*) => {{
        $crate::shout(&format!("SKIPPED {}: {}", module_path!(), format_args!($($why)*)));
        return;
    }};
}

/// Writes past the capture of the test runner: for measurements and skips.
pub fn shout(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{text}");
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
pub struct Dice(u64);

impl Dice {
    /// A new sequence.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Dice {
        Dice(shm_lib::now().as_nanos() ^ u64::from(std::process::id()) << 40 | 1)
    }

    /// The sequence of this seed.
    pub fn seeded(seed: u64) -> Dice {
        // Seeds that are neighbours lead to sequences that are not (splitmix64).
        let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Dice((z ^ (z >> 31)) | 1)
    }

    /// A number in `0..below`.
    pub fn roll(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}
