//! The signals that were ignored when this process started. The Rust runtime ignores SIGPIPE before `main`, and `Command`
//! resets it to the default in a child. So the disposition that a shell set by `trap '' PIPE` must be recorded earlier.

#![allow(unsafe_code)]

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bit n - 1 stands for signal n.
static IGNORED: AtomicU64 = AtomicU64::new(0);

// SAFETY: the section holds pointers to functions that the C runtime calls before `main`, with arguments that an
// `extern "C"` function without parameters may leave unread. `record` uses nothing that the Rust runtime sets up.
#[used]
#[unsafe(link_section = ".init_array")]
static AT_START: extern "C" fn() = record;

extern "C" fn record() {
    let ignored = (1..=libc::SIGSYS).filter(|&signal| is_ignored_now(signal));
    IGNORED.store(ignored.fold(0, |bits, signal| bits | bit(signal)), Ordering::Relaxed);
}

fn is_ignored_now(signal: i32) -> bool {
    // SAFETY: all zeros is a valid sigaction; the call changes nothing and writes to `old`, which outlives it.
    unsafe {
        let mut old: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, std::ptr::null(), &raw mut old) == 0 && old.sa_sigaction == libc::SIG_IGN
    }
}

fn bit(signal: i32) -> u64 {
    1 << (signal - 1)
}

/// Whether this signal was ignored when the process started.
pub(crate) fn was_ignored(signal: i32) -> bool {
    IGNORED.load(Ordering::Relaxed) & bit(signal) != 0
}

/// Sets the disposition that the signal had when the process started. Async-signal-safe.
pub(crate) fn restore(signal: i32) -> io::Result<()> {
    let disposition = if was_ignored(signal) { libc::SIG_IGN } else { libc::SIG_DFL };
    // SAFETY: both dispositions are the kernel's own: no handler is installed that could run too late.
    match unsafe { libc::signal(signal, disposition) } {
        libc::SIG_ERR => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
