//! Futexes: sleeping on a shared word, and waking the sleepers.

use crate::clock::{self, Nanos};
use crate::intervals::NO_FUTEX_SLEEP;
use nix::errno::Errno;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

/// The half of the word that the kernel compares.
fn low_half(word: &AtomicU64) -> *const u32 {
    let low = usize::from(!cfg!(target_endian = "little"));
    word.as_ptr().cast::<u32>().cast_const().wrapping_add(low)
}

/// Sleeps until `deadline` or a wake-up of `word`; returns immediately if the word's low half differs from that of
/// `seen`. A signal handler also ends the sleep: the caller always rechecks its condition.
pub(crate) fn sleep(word: &AtomicU64, seen: u64, deadline: Nanos) {
    let left = deadline.since(clock::now());
    let mut monotonic = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a valid timespec to write to.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut monotonic) };
    let nanos = monotonic.tv_nsec + libc::c_long::from(left.subsec_nanos() as i32);
    let until = libc::timespec {
        tv_sec: monotonic.tv_sec.saturating_add(left.as_secs() as i64 + i64::from(nanos >= 1_000_000_000)),
        tv_nsec: nanos % 1_000_000_000,
    };
    // FUTEX_WAIT_BITSET takes no absolute time of CLOCK_BOOTTIME. CLOCK_MONOTONIC does not advance while the machine is
    // suspended; callers bound the error by sleeping for seconds at most. No FUTEX_PRIVATE_FLAG: the sleepers are in
    // other processes.
    let slept = wait(word, seen, &until);
    if slept.is_err_and(|errno| !matches!(errno, Errno::EAGAIN | Errno::EINTR | Errno::ETIMEDOUT)) {
        // The kernel refuses the call, though it did not when the limiter was opened: a seccomp filter was installed
        // since. Do not busy-loop.
        std::thread::sleep(left.min(NO_FUTEX_SLEEP));
    }
}

/// Waits until the absolute time `until` of CLOCK_MONOTONIC.
fn wait(word: &AtomicU64, seen: u64, until: &libc::timespec) -> nix::Result<()> {
    // SAFETY: `word` and `until` are valid for the whole call; the kernel only reads them.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_futex,
            low_half(word),
            libc::FUTEX_WAIT_BITSET,
            seen as u32,
            ptr::from_ref(until),
            ptr::null::<u32>(),
            libc::FUTEX_BITSET_MATCH_ANY,
        )
    };
    Errno::result(answer).map(drop)
}

/// Checks that the kernel lets this process sleep on this word and wake its sleepers, without sleeping.
pub(crate) fn check(word: &AtomicU64) -> nix::Result<()> {
    let past = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    match wait(word, word.load(Ordering::Relaxed).wrapping_add(1), &past) {
        Ok(()) | Err(Errno::EAGAIN | Errno::EINTR | Errno::ETIMEDOUT) => wake(word, 1).map(drop),
        refused => refused,
    }
}

/// Wakes all sleepers of the word, in every process; returns whether there was any.
pub(crate) fn wake_all(word: &AtomicU64) -> bool {
    wake(word, i32::MAX).is_ok_and(|woken| woken > 0)
}

/// Wakes one sleeper of the word; returns whether there was one.
pub(crate) fn wake_one(word: &AtomicU64) -> bool {
    wake(word, 1).is_ok_and(|woken| woken > 0)
}

/// Returns how many were woken.
fn wake(word: &AtomicU64, max: i32) -> nix::Result<i64> {
    #[cfg(test)]
    if let Some(woken) = simulated::wake(word) {
        return Ok(woken);
    }
    // SAFETY: `word` is valid for the whole call.
    let answer = unsafe { libc::syscall(libc::SYS_futex, low_half(word), libc::FUTEX_WAKE, max) };
    Errno::result(answer)
}

/// The same among the threads of this process, for a word in private memory: sleeps until a wake-up, unless the word's
/// low half differs from that of `seen`. The caller always rechecks its condition.
pub(super) fn sleep_in_process(word: &AtomicU64, seen: u64) {
    let (wait, for_ever) = (libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG, ptr::null::<libc::timespec>());
    // SAFETY: `word` is valid for the whole call; there is no time limit to read.
    unsafe { libc::syscall(libc::SYS_futex, low_half(word), wait, seen as u32, for_ever) };
}

/// Wakes one thread of this process that sleeps on the word.
pub(super) fn wake_one_in_process(word: &AtomicU64) {
    let wake = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
    // SAFETY: `word` is valid for the whole call.
    unsafe { libc::syscall(libc::SYS_futex, low_half(word), wake, 1) };
}

/// Simulated sleepers, for single-threaded tests: the test declares which words are slept on, and learns which of them
/// the code wakes.
#[cfg(test)]
pub(crate) mod simulated {
    use std::cell::RefCell;
    use std::collections::BTreeSet;
    use std::sync::atomic::AtomicU64;

    /// Words at regular distances: the address of the first, the distance, and their number. Each simulated process has
    /// its own mapping of them.
    pub(crate) type Row = (usize, usize, usize);

    #[derive(Default)]
    struct Sleepers {
        rows: Vec<Row>,
        asleep: BTreeSet<usize>,
    }

    thread_local! {
        static SLEEPERS: RefCell<Sleepers> = RefCell::default();
    }

    /// Adds a mapping of the same words as the other rows.
    pub(crate) fn add_row(row: Row) {
        SLEEPERS.with_borrow_mut(|sleepers| sleepers.rows.push(row));
    }

    /// Removes a mapping.
    pub(crate) fn remove_row(row: Row) {
        SLEEPERS.with_borrow_mut(|sleepers| sleepers.rows.retain(|&known| known != row));
    }

    pub(crate) fn clear() {
        SLEEPERS.with_borrow_mut(|sleepers| *sleepers = Sleepers::default());
    }

    /// Declares whether the word of this index is slept on.
    pub(crate) fn set_asleep(index: usize, asleep: bool) {
        SLEEPERS.with_borrow_mut(|sleepers| {
            if asleep {
                sleepers.asleep.insert(index)
            } else {
                sleepers.asleep.remove(&index)
            };
        });
    }

    /// How many sleepers are woken; `None` for a word that is not simulated.
    pub(super) fn wake(word: &AtomicU64) -> Option<i64> {
        let address = word.as_ptr().addr();
        SLEEPERS.with_borrow_mut(|sleepers| {
            let index = sleepers.rows.iter().find_map(|&(first, distance, n)| {
                let offset = address.checked_sub(first)?;
                (offset % distance == 0 && offset / distance < n).then_some(offset / distance)
            })?;
            Some(i64::from(sleepers.asleep.remove(&index)))
        })
    }
}
