//! Signals that end a wait, such as Ctrl-C: this process catches them, leaves the line at once, so that the callers behind it
//! need not detect that, and then dies by the signal, so that the shell sees the usual status (130, 143). Also: the
//! dispositions that a command inherits, and the signals that are passed on to it.

use crate::startup;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGPIPE, SIGQUIT, SIGTERM};
use signal_hook::{flag, low_level};
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The signals that end a wait.
const ENDING: [i32; 4] = [SIGINT, SIGTERM, SIGHUP, SIGQUIT];

/// Catches the signals that end a process, except those that are ignored (as under `nohup`): they stay ignored.
pub(crate) struct SignalCatcher {
    /// The number of the signal that was caught last; 0 if none was.
    caught: Arc<AtomicUsize>,
    /// Whether a signal has its ordinary effect again.
    ended: Arc<AtomicBool>,
}

impl SignalCatcher {
    /// Begins to catch.
    pub(crate) fn begin() -> io::Result<SignalCatcher> {
        let catcher = SignalCatcher { caught: Arc::default(), ended: Arc::default() };
        for signal in ENDING.into_iter().filter(|&signal| !startup::was_ignored(signal)) {
            flag::register_conditional_default(signal, catcher.ended.clone())?;
            flag::register_usize(signal, catcher.caught.clone(), signal as usize)?;
        }
        Ok(catcher)
    }

    /// Whether a signal was caught.
    pub(crate) fn caught(&self) -> bool {
        self.last().is_some()
    }

    fn last(&self) -> Option<i32> {
        Some(self.caught.load(Ordering::SeqCst) as i32).filter(|&signal| signal != 0)
    }

    /// Waits until the descriptor is readable. False if a signal was caught first.
    pub(crate) fn wait_for(&self, fd: BorrowedFd<'_>) -> io::Result<bool> {
        let blocked: SigSet = ENDING.into_iter().filter_map(|signal| Signal::try_from(signal).ok()).collect();
        // Blocked until ppoll sleeps, so that none is caught between the check and the sleep.
        let mask = blocked.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
        let readable = loop {
            if self.caught() {
                break Ok(false);
            }
            match ppoll(&mut [PollFd::new(fd, PollFlags::POLLIN)], None, Some(mask)) {
                Err(nix::Error::EINTR) => {}
                ended => break ended.map(|_| true).map_err(Into::into),
            }
        };
        mask.thread_set_mask()?;
        readable
    }

    /// Ends the catching. If a signal was caught, the process dies by it: in this order, so that no signal is lost in
    /// between.
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
        if let Some(signal) = self.last() {
            let _ = low_level::emulate_default_handler(signal);
            // Reached only if the signal is blocked: then at least the status tells.
            std::process::exit(128 + signal);
        }
    }
}

/// Makes it possible to wait for a child. A process that ignores SIGCHLD, which it may have inherited, cannot.
pub(crate) fn enable_waiting() -> io::Result<()> {
    flag::register(SIGCHLD, Arc::default()).map(|_| ())
}

/// The signals that `run` passes on to a command: every signal that can be caught, except SIGCHLD, which is about this
/// process's own children, and the signals that stop a job, which stop this process too and free nothing.
///
/// Faults (SIGSEGV and so on) are included: `kill -SEGV` must not end this process while its command goes on without the
/// permit. They stay blocked, and the kernel kills a process that causes a blocked fault itself.
pub(crate) fn passed_on() -> SigSet {
    use Signal::*;
    let mut signals = SigSet::all();
    for not in [SIGKILL, SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU, SIGCHLD] {
        signals.remove(not);
    }
    signals
}

/// Lets the command start with the signal mask `mask`, if it is given, and with the dispositions that this process started
/// with, as if this process were not in between.
#[allow(unsafe_code)]
pub(crate) fn inherit(command: &mut Command, mask: Option<SigSet>) {
    let restore = move || {
        // The mask comes last, so that a pending signal does not run a handler of this program in the command's process.
        for signal in ENDING.into_iter().chain([SIGCHLD, SIGPIPE]) {
            startup::restore(signal)?;
        }
        mask.map_or(Ok(()), |mask| mask.thread_set_mask().map_err(Into::into))
    };
    // SAFETY: between fork and exec only async-signal-safe calls are allowed: this reads an atomic, and calls signal
    // and pthread_sigmask.
    unsafe { command.pre_exec(restore) };
}

/// Sends a signal by its number, which may be that of a real-time signal. If the process does not exist, nothing happens.
#[allow(unsafe_code)]
pub(crate) fn send(pid: u32, signal: u32) {
    // SAFETY: kill has no memory preconditions.
    unsafe { libc::kill(pid as libc::pid_t, signal as i32) };
}
