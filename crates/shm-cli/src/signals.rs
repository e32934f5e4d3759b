//! Signals that end a wait, such as Ctrl-C: this process catches them, leaves the line at once, so that those behind it need
//! not find that out, and then dies by the signal, so that the shell sees what it expects (130, 143). And what a command inherits of signals, and is passed on.

use crate::startup;
use nix::sys::signal::{SigSet, Signal};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGPIPE, SIGQUIT, SIGTERM};
use signal_hook::{flag, low_level};
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The signals that end a wait.
const ENDING: [i32; 4] = [SIGINT, SIGTERM, SIGHUP, SIGQUIT];

/// Catches the signals that end a process, except those that are ignored (as under `nohup`): they stay so.
pub(crate) struct Watch {
    /// The signal that came; 0 while none did.
    came: Arc<AtomicUsize>,
    /// From when on a signal has its ordinary effect at once.
    over: Arc<AtomicBool>,
}

impl Watch {
    /// Begins to catch.
    pub(crate) fn begin() -> io::Result<Watch> {
        let watch = Watch { came: Arc::default(), over: Arc::default() };
        for signal in ENDING.into_iter().filter(|&signal| !startup::was_ignored(signal)) {
            flag::register_conditional_default(signal, watch.over.clone())?;
            flag::register_usize(signal, watch.came.clone(), signal as usize)?;
        }
        Ok(watch)
    }

    /// Whether a signal came.
    pub(crate) fn came(&self) -> bool {
        self.which().is_some()
    }

    /// Which came last.
    fn which(&self) -> Option<i32> {
        Some(self.came.load(Ordering::SeqCst) as i32).filter(|&signal| signal != 0)
    }

    /// Ends the catching. Dies by the signal, if one came: in this order, so that none is lost in between.
    pub(crate) fn end(&self) {
        self.over.store(true, Ordering::SeqCst);
        if let Some(signal) = self.which() {
            let _ = low_level::emulate_default_handler(signal);
            // Only if the signal is blocked: then at least the status says it.
            std::process::exit(128 + signal);
        }
    }
}

/// Makes sure that the end of a child is heard of. A process that ignores SIGCHLD can't wait for a child, and this is
/// inherited.
pub(crate) fn hear_of_children() -> io::Result<()> {
    flag::register(SIGCHLD, Arc::default()).map(|_| ())
}

/// The signals that `run` passes on to a command: all that another process may send it, with three exceptions.
/// Faults are this process's own. The signals that stop a job go to its whole process group. And SIGPIPE, which the Rust
/// runtime ignores, is about this process's own output.
pub(crate) fn passed_on() -> SigSet {
    use Signal::*;
    let mut signals = SigSet::all();
    for not in [
        SIGKILL, SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU, SIGCHLD, SIGPIPE, SIGSEGV, SIGBUS, SIGILL, SIGFPE,
        SIGTRAP, SIGSYS,
    ] {
        signals.remove(not);
    }
    signals
}

/// Lets the command start with the signal mask `mask`, if it is given, and with the dispositions that this process
/// started with: as if nothing were in between.
#[allow(unsafe_code)]
pub(crate) fn inherit(command: &mut Command, mask: Option<SigSet>) {
    let restore = move || {
        // A pending signal must not run a handler of this program in the command's process: the mask comes last.
        for signal in ENDING.into_iter().chain([SIGCHLD, SIGPIPE]) {
            startup::restore(signal)?;
        }
        mask.map_or(Ok(()), |mask| mask.thread_set_mask().map_err(Into::into))
    };
    // SAFETY: between fork and exec only async-signal-safe calls are allowed: this reads an atomic, and calls signal
    // and pthread_sigmask.
    unsafe { command.pre_exec(restore) };
}

/// Sends a signal by its number, which may be a real-time one. A process that is not there gets none.
#[allow(unsafe_code)]
pub(crate) fn send(pid: u32, signal: u32) {
    // SAFETY: kill has no memory preconditions.
    unsafe { libc::kill(pid as libc::pid_t, signal as i32) };
}
