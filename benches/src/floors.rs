//! What a decision can't be under, and what one would write by hand: the same bucket, in shared memory, behind a lock.
#![allow(unsafe_code)]

use crate::ours;
use crate::subject::Subject;
use memmap2::MmapRaw;
use nix::fcntl::{Flock, FlockArg};
use raw_sync::locks::{LockImpl, LockInit, Mutex};
use shared_memory::ShmemConf;
use std::fs::{File, OpenOptions};
use std::sync::atomic::{AtomicU64, Ordering};

#[cfg(target_arch = "x86_64")]
const COUNTER: &str = "floor: the processor's counter, read";
pub(crate) const SWAP: &str = "floor: clock and compare-and-swap";
pub(crate) const ROBUST: &str = "robust mutex in shared memory, by hand";
pub(crate) const BY_HAND: &str = "shared_memory and raw_sync, by hand";
pub(crate) const FLOCK: &str = "flock on a file, by hand";

/// Words that forked children share.
pub(crate) fn shared_words(words: usize) -> &'static [AtomicU64] {
    let file = tempfile::tempfile_in("/dev/shm").or_else(|_| tempfile::tempfile()).expect("a file");
    file.set_len(words as u64 * 8).expect("room");
    let map = Box::leak(Box::new(MmapRaw::map_raw(&file).expect("a mapping")));
    // SAFETY: the mapping is page-aligned, as long as this, and never unmapped; atomics allow any bytes and writers.
    unsafe { std::slice::from_raw_parts(map.as_ptr().cast::<AtomicU64>(), words) }
}

pub(crate) fn clock() -> Subject {
    Subject::new("floor: clock_gettime(CLOCK_BOOTTIME)", || shm_lib::now().as_nanos())
}

/// What the clocks of governor and of this limiter are made of.
#[cfg(target_arch = "x86_64")]
pub(crate) fn counter() -> Subject {
    // SAFETY: reads a register.
    Subject::new(COUNTER, || unsafe { std::arch::x86_64::_rdtsc() })
}

/// Takes a token as cheaply as can be: no limit is kept.
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

/// A bucket of one number, which somebody else locks: a token a nanosecond and never full, or one a day and full.
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

/// A robust, process-shared pthread mutex: the only lock of the C library that survives a killed holder.
struct Robust(*mut libc::pthread_mutex_t);

impl Robust {
    fn new(at: &'static [AtomicU64]) -> Robust {
        assert!(size_of_val(at) >= size_of::<libc::pthread_mutex_t>());
        let mutex = at.as_ptr().cast_mut().cast::<libc::pthread_mutex_t>();
        let mut how = std::mem::MaybeUninit::uninit();
        // SAFETY: the attributes are initialised by the first call; the mutex's memory is large enough, aligned as a word,
        // and lives for ever.
        unsafe {
            libc::pthread_mutexattr_init(how.as_mut_ptr());
            libc::pthread_mutexattr_setpshared(how.as_mut_ptr(), libc::PTHREAD_PROCESS_SHARED);
            libc::pthread_mutexattr_setrobust(how.as_mut_ptr(), libc::PTHREAD_MUTEX_ROBUST);
            assert_eq!(libc::pthread_mutex_init(mutex, how.as_ptr()), 0);
        }
        Robust(mutex)
    }

    fn with<T>(&self, work: impl FnOnce() -> T) -> T {
        // SAFETY: initialised in `new`; unlocked by who locked it.
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

/// As the examples of the two crates do it.
pub(crate) fn by_hand(open: bool) -> Subject {
    let memory = ShmemConf::new().size(4096).create().expect("shared memory");
    let at = memory.as_ptr();
    let size = Mutex::size_of(Some(at));
    // SAFETY: the memory is larger than lock and data, and lives as long as the closure that has both.
    let (mutex, _) = unsafe { Mutex::new(at, at.add(size)) }.expect("a mutex");
    // SAFETY: after the lock, within the memory, zeroed by the kernel; aligned since the lock's size is a multiple of 8.
    let tat = unsafe { &*at.add(size.next_multiple_of(8)).cast::<AtomicU64>() };
    struct Both(Box<dyn LockImpl>, #[allow(dead_code)] shared_memory::Shmem);
    let both = Both(mutex, memory);
    Subject::new(BY_HAND, move || {
        let both = &both;
        let _guard = both.0.lock().expect("the lock");
        bucket(tat, open)
    })
}

/// Each process opens the file for itself, or they would share the lock.
pub(crate) fn flock() -> Subject {
    let dir = ours::directory();
    let path = dir.path().join("lock");
    let tat = &shared_words(512)[0];
    let mut mine: Option<(u32, File)> = None;
    Subject::new(FLOCK, move || {
        let _keep = &dir;
        let me = std::process::id();
        let file = match mine.take() {
            Some((pid, file)) if pid == me => file,
            _ => OpenOptions::new().create(true).truncate(false).write(true).open(&path).expect("the file"),
        };
        let locked = Flock::lock(file, FlockArg::LockExclusive).unwrap_or_else(|(_, e)| panic!("{e}"));
        let admitted = bucket(tat, true);
        mine = Some((me, locked.unlock().unwrap_or_else(|(_, e)| panic!("{e}"))));
        admitted
    })
}
