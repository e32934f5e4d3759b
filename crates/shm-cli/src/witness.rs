//! Tells a signal to the whole process group from one to this process alone.
//!
//! The command is in our process group, as a shell's job control needs it. So Ctrl-C, `kill -- -PGID` and timeout(1)
//! reach it without us, and a copy of ours would be one too many; but a supervisor's `kill PID` reaches only us. The
//! kernel does not say which it was, and the sender does not either: timeout(1) even does both. The witness is one more
//! process of the group, which does nothing but tell which signals it gets: those are the group's.
//!
//! It costs one fork: with it, `run` of /bin/true took 2.0 ms where it took 1.7 ms (2-core VM). To be without it, this
//! process would have to leave the group, and then Ctrl-Z, `kill -9 -- -PGID` and timeout(1) would miss it.

use crate::fork;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::SignalFd;
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

/// A signal as its receiver sees it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) signal: u32,
    /// The sender's PID; 0 for the kernel.
    pub(crate) sender: u32,
}

impl Origin {
    /// In place of a signal: the witness has told of all that it got before the question.
    const ANSWER: Origin = Origin { signal: 0, sender: 0 };

    fn to_bytes(self) -> [u8; 8] {
        (u64::from(self.signal) << 32 | u64::from(self.sender)).to_ne_bytes()
    }

    fn from_bytes(bytes: [u8; 8]) -> Origin {
        let both = u64::from_ne_bytes(bytes);
        Origin { signal: (both >> 32) as u32, sender: both as u32 }
    }
}

/// What the witness says.
pub(crate) enum Testimony {
    /// The whole group got this signal.
    Group(Origin),
    /// It has told of all that came before the question.
    Answer,
}

/// The process; ends with this value, and with the process that started it.
pub(crate) struct Witness {
    pid: Pid,
    line: UnixStream,
}

impl Witness {
    /// Starts it, to tell of the signals of `inbox`, which must be blocked. `None` if it can't be: then every signal
    /// counts as sent to this process alone.
    pub(crate) fn start(inbox: &SignalFd) -> Option<Witness> {
        // After `unshare --pid` without a fork, the first child is the init process of the new namespace: that is the
        // command's place, and nothing there may outlive it.
        let namespace = |which: &str| fs::read_link(format!("/proc/self/ns/{which}")).ok();
        if namespace("pid") != namespace("pid_for_children") {
            return None;
        }
        let (line, far_end) = UnixStream::pair().ok()?;
        line.set_nonblocking(true).ok()?;
        let near_end = line.try_clone().ok()?;
        let pid = fork::forked(move || {
            fork::end_with_parent();
            drop(near_end);
            u8::from(testify(inbox, far_end).is_err())
        });
        Some(Witness { pid: pid.ok()?, line })
    }

    /// Asks for an answer.
    pub(crate) fn ask(&mut self) -> io::Result<()> {
        self.line.write_all(&[0])
    }

    /// The next thing it has said; an error if it has ended.
    pub(crate) fn hear(&mut self) -> io::Result<Option<Testimony>> {
        let mut bytes = [0; 8];
        match self.line.read_exact(&mut bytes) {
            Ok(()) => Ok(Some(match Origin::from_bytes(bytes) {
                Origin::ANSWER => Testimony::Answer,
                origin => Testimony::Group(origin),
            })),
            // It writes eight bytes at a time, and a stream socket keeps those together.
            Err(e) if e.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(e) => Err(e),
        }
    }
}

impl AsFd for Witness {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.line.as_fd()
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        // Waited for, so that nothing is left of it when this process ends.
        let _ = kill(self.pid, Signal::SIGKILL);
        let _ = waitpid(self.pid, None);
    }
}

/// The witness's life. Reading a signalfd takes the reader's own signals, whichever process made it.
fn testify(inbox: &SignalFd, mut line: UnixStream) -> io::Result<()> {
    // Also those that would stop it: it must be able to answer as long as its parent can ask.
    SigSet::all().thread_set_mask()?;
    let _ = prctl::set_name(c"shm-limit: peer");
    loop {
        let mut ready =
            [PollFd::new(inbox.as_fd(), PollFlags::POLLIN), PollFd::new(line.as_fd(), PollFlags::POLLIN)];
        poll(&mut ready, PollTimeout::NONE)?;
        let asked = ready[1].any().unwrap_or(true);
        if asked && line.read(&mut [0])? == 0 {
            return Ok(());
        }
        // After the question was read: what came before it is told before the answer.
        while let Some(info) = inbox.read_signal()? {
            if info.ssi_signo != Signal::SIGCHLD as u32 {
                let origin = Origin { signal: info.ssi_signo, sender: info.ssi_pid };
                line.write_all(&origin.to_bytes())?;
            }
        }
        if asked {
            line.write_all(&Origin::ANSWER.to_bytes())?;
        }
    }
}
