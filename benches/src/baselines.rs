//! Baselines: the primitives that a decision is made of, and hand-written limiters, which keep the same bucket in shared memory
//! behind a lock.
#![allow(unsafe_code)]

use crate::shm_limit;
use crate::subject::Subject;
use memmap2::MmapRaw;
use nix::fcntl::{Flock, FlockArg};
use raw_sync::locks::{LockImpl, LockInit, Mutex};
use shared_memory::ShmemConf;
use std::fs::{File, OpenOptions};
use std::sync::atomic::{AtomicU64, Ordering};

#[cfg(target_arch = "x86_64")]
const COUNTER: &str = "baseline: reading the time-stamp counter";
pub(crate) const SWAP: &str = "baseline: clock and compare-and-swap";
pub(crate) const ROBUST: &str = "robust mutex in shared memory, by hand";
pub(crate) const BY_HAND: &str = "shared_memory and raw_sync, by hand";
pub(crate) const FLOCK: &str = "flock on a file, by hand";

/// Words in memory that forked children share.
pub(crate) fn shared_words(words: usize) -> &'static [AtomicU64] {
    let file = tempfile::tempfile_in("/dev/shm").or_else(|_| tempfile::tempfile()).expect("a file");
    file.set_len(words as u64 * 8).expect("room");
    let map = Box::leak(Box::new(MmapRaw::map_raw(&file).expect("a mapping")));
    // SAFETY: the mapping is page-aligned, at least this long, and never unmapped; atomics allow any bytes and concurrent writers.
    unsafe { std::slice::from_raw_parts(map.as_ptr().cast::<AtomicU64>(), words) }
}

pub(crate) fn clock() -> Subject {
    Subject::new("baseline: clock_gettime(CLOCK_BOOTTIME)", || shm_lib::now().as_nanos())
}

/// The clock source of governor's quanta clock and of shm-limit.
#[cfg(target_arch = "x86_64")]
pub(crate) fn counter() -> Subject {
    // SAFETY: reads a register.
    Subject::new(COUNTER, || unsafe { std::arch::x86_64::_rdtsc() })
}

/// The cheapest update of a shared word that reads the clock. It enforces no limit.
pub(crate) fn clock_and_swap() -> Subject {
    let word = &shared_words(512)[8];
    Subject::new(SWAP, move || {
        let now = shm_lib::now().as_nanos();
        let mut seen = word.load(Ordering::Acquire);
        while let Err(other) =
            word.compare_exchange_weak(seen, seen.max(now) + 1, Ordering::AcqRel, Ordering::Acquire)
        {
            seen = other;
        }
    })
}

/// A bucket whose state is one number; the caller holds the lock. If `open`, it admits one per nanosecond and never denies;
/// otherwise it admits one per day, and that one is used.
fn bucket(tat: &AtomicU64, open: bool) -> bool {
    let interval = if open { 1 } else { 86_400_000_000_000 };
    let burst = if open { 1_000_000_000 } else { 0 };
    let now = shm_lib::now().as_nanos();
    let seen = tat.load(Ordering::Relaxed).max(now);
    let conforms = seen <= now + burst;
    if conforms {
        tat.store(seen + interval, Ordering::Relaxed);
    }
    conforms
}

/// A robust, process-shared pthread mutex, the only lock of the C library that survives a killed holder.
struct Robust(*mut libc::pthread_mutex_t);

impl Robust {
    fn new(at: &'static [AtomicU64]) -> Robust {
        assert!(size_of_val(at) >= size_of::<libc::pthread_mutex_t>());
        let mutex = at.as_ptr().cast_mut().cast::<libc::pthread_mutex_t>();
        let mut attributes = std::mem::MaybeUninit::uninit();
        // SAFETY: the first call initialises the attributes; the mutex's memory is large enough, word-aligned, and never
        // freed.
        unsafe {
            libc::pthread_mutexattr_init(attributes.as_mut_ptr());
            libc::pthread_mutexattr_setpshared(attributes.as_mut_ptr(), libc::PTHREAD_PROCESS_SHARED);
            libc::pthread_mutexattr_setrobust(attributes.as_mut_ptr(), libc::PTHREAD_MUTEX_ROBUST);
            assert_eq!(libc::pthread_mutex_init(mutex, attributes.as_ptr()), 0);
        }
        Robust(mutex)
    }

    fn with<T>(&self, work: impl FnOnce() -> T) -> T {
        // SAFETY: initialised in `new`; the thread that locks it unlocks it.
        unsafe {
            if libc::pthread_mutex_lock(self.0) == libc::EOWNERDEAD {
                libc::pthread_mutex_consistent(self.0);
            }
            let done = work();
            libc::pthread_mutex_unlock(self.0);
            done
        }
    }
}

pub(crate) fn robust_mutex(open: bool) -> Subject {
    let words = shared_words(512);
    let (mutex, tat) = (Robust::new(&words[64..128]), &words[0]);
    Subject::new(ROBUST, move || mutex.with(|| bucket(tat, open)))
}

/// A mutex of raw_sync in memory of shared_memory, as in the crates' examples.
pub(crate) fn by_hand(open: bool) -> Subject {
    let memory = ShmemConf::new().size(4096).create().expect("shared memory");
    let at = memory.as_ptr();
    let size = Mutex::size_of(Some(at));
    // SAFETY: the memory is larger than the lock and the data, and lives as long as the closure that owns both.
    let (mutex, _) = unsafe { Mutex::new(at, at.add(size)) }.expect("a mutex");
    // SAFETY: behind the lock and within the memory, zeroed by the kernel; aligned, as the offset is a multiple of 8.
    let tat = unsafe { &*at.add(size.next_multiple_of(8)).cast::<AtomicU64>() };
    struct Both(Box<dyn LockImpl>, #[allow(dead_code)] shared_memory::Shmem);
    let both = Both(mutex, memory);
    Subject::new(BY_HAND, move || {
        let both = &both;
        let _guard = both.0.lock().expect("the lock");
        bucket(tat, open)
    })
}

/// Each process opens the file itself: processes that inherit one open file share its lock.
pub(crate) fn flock() -> Subject {
    let dir = shm_limit::directory();
    let path = dir.path().join("lock");
    let tat = &shared_words(512)[0];
    let mut own_file: Option<(u32, File)> = None;
    Subject::new(FLOCK, move || {
        let _keep = &dir;
        let me = std::process::id();
        let file = match own_file.take() {
            Some((pid, file)) if pid == me => file,
            _ => OpenOptions::new().create(true).truncate(false).write(true).open(&path).expect("the file"),
        };
        let locked = Flock::lock(file, FlockArg::LockExclusive).unwrap_or_else(|(_, e)| panic!("{e}"));
        let admitted = bucket(tat, true);
        own_file = Some((me, locked.unlock().unwrap_or_else(|(_, e)| panic!("{e}"))));
        admitted
    })
}
