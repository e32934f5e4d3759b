//! The sheet on which each client and asker writes its results. It is in shared memory, so the lines of a killed process
//! count.

use crate::raw::MappedWords;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::time::Duration;

const LINE: usize = 4;

/// One line for each client or asker, and the instant at which the load begins.
pub struct Sheet(MappedWords);

/// A client's line. An instant is 0 until it has come.
#[derive(Clone, Copy, Debug, Default)]
pub struct Visit {
    /// The instant of the admission that counts for the limit.
    pub at: u64,
    /// When the client learned of it.
    pub known: u64,
    /// When the client gave its permit back.
    pub released: u64,
    /// Whether the limiter answered with an error.
    pub failed: bool,
}

/// An asker's line.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asking {
    /// How often it was admitted.
    pub turns: u64,
    /// Its longest wait.
    pub longest: Duration,
    /// When its unfinished wait began; 0: the asker does not wait.
    pub waiting_since: u64,
    /// How long it had permits, in all.
    pub held: Duration,
}

impl Sheet {
    /// The sheet in this file, for so many clients or askers.
    pub fn map(file: &Path, lines: usize) -> Sheet {
        Sheet(MappedWords::map(file, LINE * (1 + lines)).expect("room for a sheet"))
    }

    fn word(&self, line: usize, word: usize) -> &AtomicU64 {
        &self.0.all()[LINE * (1 + line) + word]
    }

    /// Sets the instant at which the load begins.
    pub fn start_at(&self, at: u64) {
        self.0.all()[0].store(at, Release);
    }

    /// Waits until that instant is set.
    pub fn start(&self) -> u64 {
        loop {
            match self.0.all()[0].load(Acquire) {
                0 => std::thread::sleep(Duration::from_millis(1)),
                at => return at,
            }
        }
    }

    /// A client was admitted for the instant `at`, and learns of it now.
    pub fn admitted(&self, client: usize, at: u64) {
        self.word(client, 1).store(shm_lib::now().as_nanos(), Relaxed);
        self.word(client, 0).store(at, Release);
    }

    /// A client gives its permit back.
    pub fn released(&self, client: usize) {
        self.word(client, 2).store(shm_lib::now().as_nanos(), Relaxed);
    }

    /// A client got an error.
    pub fn failed(&self, client: usize) {
        self.word(client, 3).store(1, Relaxed);
    }

    /// Whether a client was admitted.
    pub fn is_admitted(&self, client: usize) -> bool {
        self.word(client, 0).load(Acquire) != 0
    }

    /// A client's line.
    pub fn visit(&self, client: usize) -> Visit {
        let [at, known, released, failed] = [0, 1, 2, 3].map(|word| self.word(client, word).load(Acquire));
        Visit { at, known, released, failed: failed != 0 }
    }

    /// An asker begins to wait.
    pub fn waits(&self, asker: usize, now: u64) {
        self.word(asker, 2).store(now, Release);
    }

    /// An asker was admitted after it began to wait at `since`.
    pub fn served(&self, asker: usize, since: u64) {
        let waited = shm_lib::now().as_nanos().saturating_sub(since);
        self.word(asker, 2).store(0, Release);
        self.word(asker, 1).fetch_max(waited, Relaxed);
        self.word(asker, 0).fetch_add(1, Relaxed);
    }

    /// An asker is about to give back its permit.
    pub fn held(&self, asker: usize, time: Duration) {
        self.word(asker, 3).fetch_add(time.as_nanos() as u64, Relaxed);
    }

    /// An asker's line.
    pub fn asking(&self, asker: usize) -> Asking {
        let words = [0, 1, 2, 3].map(|word| self.word(asker, word).load(Acquire));
        let [turns, longest, waiting_since, held] = words;
        let [longest, held] = [longest, held].map(Duration::from_nanos);
        Asking { turns, longest, waiting_since, held }
    }
}
