//! Admissions, each written to a mapped file as soon as it is known: those of a killed worker are not lost.

use crate::raw::MappedWords;
use shm_lib::Nanos;
use shm_lib::limit::audit::Admission;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

/// More than one thread can be admitted in a test. The file is sparse, so room costs nothing.
const ROOM: usize = 1 << 23;

/// The log of one thread.
pub struct Log {
    words: MappedWords,
    next: usize,
}

impl Log {
    /// A new log in the directory `logs`.
    pub fn create(logs: &Path) -> Log {
        static THREAD: AtomicU32 = AtomicU32::new(0);
        // The PID alone could come again, in another namespace or later.
        let unique = (std::process::id(), shm_lib::now().as_nanos(), THREAD.fetch_add(1, Ordering::Relaxed));
        let path = logs.join(format!("{}-{}-{}", unique.0, unique.1, unique.2));
        Log { words: MappedWords::map(&path, ROOM).expect("room for a log"), next: 0 }
    }

    /// Writes a word; it must not be zero.
    #[inline]
    pub fn push(&mut self, word: u64) {
        self.words.all()[self.next].store(word, Ordering::Relaxed);
        self.next += 1;
    }

    /// Writes an admission's own time.
    #[inline]
    pub fn admitted(&mut self, at: Nanos) {
        self.push(at.as_nanos());
    }
}

/// Each thread's log, as far as it is written.
pub fn read_each(logs: &Path) -> Vec<Vec<u64>> {
    let entries = std::fs::read_dir(logs).expect("the logs");
    entries
        .map(|entry| {
            let words = MappedWords::map_all(&entry.expect("a log").path()).expect("a log");
            words.all().iter().map(|w| w.load(Ordering::Relaxed)).take_while(|&w| w != 0).collect()
        })
        .collect()
}

/// All times of all threads, in order.
pub fn read(logs: &Path) -> Vec<u64> {
    let mut all = read_each(logs).concat();
    all.sort_unstable();
    all
}

/// The same for an audit: one token each.
pub fn admissions(times: &[u64]) -> Vec<Admission> {
    times.iter().map(|&ns| Admission { at: Nanos::from_nanos(ns), calls: 1 }).collect()
}
