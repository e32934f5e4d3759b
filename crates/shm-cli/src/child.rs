//! A command that is waited for, as if it had this process's place: signals pass on to it, and its end is ours.

use crate::fork;
use crate::relay::Relay;
use crate::signals::{self, SignalCatcher};
use crate::witness::Origin;
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

/// Starts the command and waits for its end; the signals that only this process gets are passed on. `None` if `signals`
/// caught one first: then nothing was started. `ends_with_me`: the kernel kills the command when this process dies.
pub(crate) fn run(
    command: &mut Command,
    signals: &SignalCatcher,
    ends_with_me: bool,
) -> io::Result<Option<ExitStatus>> {
    signals::hear_of_children()?;
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
            let is_own = signals::is_own(info.ssi_signo, info.ssi_pid);
            if info.ssi_signo != Signal::SIGCHLD as u32 && !is_own {
                relay.caught(Origin { signal: info.ssi_signo, sender: info.ssi_pid });
            }
        }
        relay.work(|origin| pass_on(&child, origin));
    }
}

/// Sleeps until there is something to do.
fn sleep(inbox: &SignalFd, relay: &Relay) -> io::Result<()> {
    let ready = |fd| PollFd::new(fd, PollFlags::POLLIN);
    let mut fds = vec![ready(inbox.as_fd())];
    fds.extend(relay.line().map(ready));
    let timeout = relay.wakes_at().map_or(PollTimeout::NONE, |at| {
        // Rounded up: waking too early would be once more for nothing.
        let left = at.saturating_duration_since(Instant::now()).as_millis() + 1;
        PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
    });
    match poll(&mut fds, timeout) {
        Err(nix::Error::EINTR) | Ok(_) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// The PID can't be another's: it is not reaped yet.
fn pass_on(child: &Child, origin: Origin) {
    signals::send(child.id(), origin.signal);
}

/// Dies by the signal that the command died by; otherwise its exit status.
pub(crate) fn exit_like(status: ExitStatus) -> u8 {
    if let Some(signal) = status.signal() {
        // If it dumped core, that is the one to look at.
        let _ = prctl::set_dumpable(false);
        let _ = low_level::emulate_default_handler(signal);
        return (128 + signal) as u8;
    }
    status.code().unwrap_or_default() as u8
}
