//! Runs a command as if it had this process's place: signals are passed on to it, and this process ends as it ends.

use crate::fork;
use crate::group_monitor::Origin;
use crate::relay::Relay;
use crate::signals::{self, SignalCatcher};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::{SigmaskHow, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use signal_hook::low_level;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus};
use std::time::Instant;

/// Starts the command and waits until it ends; signals that were sent to this process alone are passed on. `None` if `signals`
/// caught one before: then the command was not started. `ends_with_me`: the kernel kills the command when this process dies.
pub(crate) fn run(
    command: &mut Command,
    signals: &SignalCatcher,
    ends_with_me: bool,
) -> io::Result<Option<ExitStatus>> {
    signals::enable_waiting()?;
    let mut caught = signals::passed_on();
    caught.add(Signal::SIGCHLD);
    let inbox = SignalFd::with_flags(&caught, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
    let mask = caught.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
    if signals.caught() {
        mask.thread_set_mask()?;
        return Ok(None);
    }
    let mut relay = Relay::begin(&inbox);
    if ends_with_me {
        fork::command_ends_with_me(command);
    }
    signals::inherit(command, Some(mask));
    let mut child = command.spawn()?;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        sleep(&inbox, &relay)?;
        while let Some(info) = inbox.read_signal()? {
            if info.ssi_signo != Signal::SIGCHLD as u32 {
                relay.caught(Origin { signal: info.ssi_signo, sender: info.ssi_pid });
            }
        }
        relay.work(|origin| pass_on(&child, origin));
    }
}

/// Sleeps until there is work.
fn sleep(inbox: &SignalFd, relay: &Relay) -> io::Result<()> {
    let ready = |fd| PollFd::new(fd, PollFlags::POLLIN);
    let mut fds = vec![ready(inbox.as_fd())];
    fds.extend(relay.reports().map(ready));
    let timeout = relay.wakes_at().map_or(PollTimeout::NONE, |at| {
        // Rounded up: waking too early would need another, useless round.
        let left = at.saturating_duration_since(Instant::now()).as_millis() + 1;
        PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
    });
    match poll(&mut fds, timeout) {
        Err(nix::Error::EINTR) | Ok(_) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// The PID is still the child's, because the child is not reaped yet.
fn pass_on(child: &Child, origin: Origin) {
    signals::send(child.id(), origin.signal);
}

/// Dies by the signal that ended the command; otherwise returns the command's exit status.
pub(crate) fn exit_like(status: ExitStatus) -> u8 {
    if let Some(signal) = status.signal() {
        // If the command dumped core, a second core dump would hide that one.
        let _ = prctl::set_dumpable(false);
        let _ = low_level::emulate_default_handler(signal);
        return (128 + signal) as u8;
    }
    status.code().unwrap_or_default() as u8
}
