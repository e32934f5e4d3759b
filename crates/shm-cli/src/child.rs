//! A command that is waited for, as if it had this process's place: signals pass on to it, and its end is ours.

use crate::signals::Watch;
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;
use signal_hook::low_level;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus};

/// Starts the command and waits for its end. What `watch` catches is passed on.
pub(crate) fn run(command: &mut Command, watch: &Watch) -> io::Result<ExitStatus> {
    watch.children()?;
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGCHLD);
    for &signal in watch.signals() {
        signals.add(Signal::try_from(signal)?);
    }
    let inbox = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC)?;
    let mut child = command.spawn()?;
    // Not before: the command would inherit a blocked signal. A handler it does not inherit.
    signals.thread_block()?;
    // One that came while the command was started may have missed it.
    if let Some(signal) = watch.which() {
        pass_on(&child, signal);
    }
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        match inbox.read_signal() {
            Ok(Some(info)) if info.ssi_signo != Signal::SIGCHLD as u32 => {
                // What the kernel sends, as for Ctrl-C on a terminal, goes to the command, too; what kill(1) sends does not.
                if info.ssi_code <= 0 {
                    pass_on(&child, info.ssi_signo as i32);
                }
            }
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// The PID can't be another's: it is not reaped yet.
fn pass_on(child: &Child, signal: i32) {
    if let Ok(signal) = Signal::try_from(signal) {
        let _ = kill(Pid::from_raw(child.id() as i32), signal);
    }
}

/// Dies by the signal that the command died by; otherwise its exit status.
pub(crate) fn end_like(status: ExitStatus) -> u8 {
    if let Some(signal) = status.signal() {
        // If it dumped core, that is the one to look at.
        let _ = prctl::set_dumpable(false);
        let _ = low_level::emulate_default_handler(signal);
        return (128 + signal) as u8;
    }
    status.code().unwrap_or_default() as u8
}
