//! Distinguishes a signal to the whole process group from one to this process alone.
//!
//! The command is in the process group of this process, as a shell's job control needs it. So Ctrl-C, `kill -- -PGID` and
//! timeout(1) reach the command directly, and passing the signal on would deliver it twice; but `kill PID` of a supervisor
//! reaches only this process. Neither the kernel nor the sender tells which it was, and timeout(1) even does both. The
//! monitor is one more process of the group, which only reports the signals that it gets: those were sent to the group.
//!
//! The monitor costs one fork: `run` of /bin/true took 2.0 ms with it and 1.7 ms without it (2-core VM). Without a monitor
//! this process would have to leave the group, and then Ctrl-Z, `kill -9 -- -PGID` and timeout(1) would not reach it.

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
    /// Stands for the answer to a query in the stream of reports.
    const ANSWER: Origin = Origin { signal: 0, sender: 0 };

    fn to_bytes(self) -> [u8; 8] {
        (u64::from(self.signal) << 32 | u64::from(self.sender)).to_ne_bytes()
    }

    fn from_bytes(bytes: [u8; 8]) -> Origin {
        let both = u64::from_ne_bytes(bytes);
        Origin { signal: (both >> 32) as u32, sender: both as u32 }
    }
}

/// A message of the monitor.
pub(crate) enum Report {
    /// The whole group got this signal.
    Group(Origin),
    /// The monitor has reported all signals that it got before the query.
    Answer,
}

/// The monitor process. It ends when this value is dropped, and when the process that started it ends.
pub(crate) struct GroupMonitor {
    pid: Pid,
    stream: UnixStream,
}

impl GroupMonitor {
    /// Starts the monitor, to report the signals of `inbox`, which must be blocked. `None` if that is not possible; then
    /// every signal counts as sent to this process alone.
    pub(crate) fn start(inbox: &SignalFd) -> Option<GroupMonitor> {
        // After `unshare --pid` without a fork, the first child becomes the init process of the new namespace. That must be
        // the command, because all processes of the namespace end with it.
        let namespace = |which: &str| fs::read_link(format!("/proc/self/ns/{which}")).ok();
        if namespace("pid") != namespace("pid_for_children") {
            return None;
        }
        let (stream, far_end) = UnixStream::pair().ok()?;
        stream.set_nonblocking(true).ok()?;
        let near_end = stream.try_clone().ok()?;
        let pid = fork::forked(move || {
            fork::end_with_parent();
            drop(near_end);
            u8::from(monitor(inbox, far_end).is_err())
        });
        Some(GroupMonitor { pid: pid.ok()?, stream })
    }

    /// Sends a query, which the monitor answers after all reports.
    pub(crate) fn query(&mut self) -> io::Result<()> {
        self.stream.write_all(&[0])
    }

    /// The next report, if one has arrived; an error if the monitor has ended.
    pub(crate) fn next_report(&mut self) -> io::Result<Option<Report>> {
        let mut bytes = [0; 8];
        match self.stream.read_exact(&mut bytes) {
            Ok(()) => Ok(Some(match Origin::from_bytes(bytes) {
                Origin::ANSWER => Report::Answer,
                origin => Report::Group(origin),
            })),
            // The monitor writes eight bytes at a time, and a stream socket keeps those together.
            Err(e) if e.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(e) => Err(e),
        }
    }
}

impl AsFd for GroupMonitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl Drop for GroupMonitor {
    fn drop(&mut self) {
        // Reaped, so that no zombie is left when this process ends.
        let _ = kill(self.pid, Signal::SIGKILL);
        let _ = waitpid(self.pid, None);
    }
}

/// What the monitor process does. Reading a signalfd takes the signals of the reader, whichever process created it.
fn monitor(inbox: &SignalFd, mut stream: UnixStream) -> io::Result<()> {
    // Also the signals that would stop it: it must be able to answer as long as its parent can send queries.
    SigSet::all().thread_set_mask()?;
    let _ = prctl::set_name(c"shm-limit: peer");
    loop {
        let mut ready =
            [PollFd::new(inbox.as_fd(), PollFlags::POLLIN), PollFd::new(stream.as_fd(), PollFlags::POLLIN)];
        poll(&mut ready, PollTimeout::NONE)?;
        let queried = ready[1].any().unwrap_or(true);
        if queried && stream.read(&mut [0])? == 0 {
            return Ok(());
        }
        // After the query was read, so that signals that arrived before it are reported before the answer.
        while let Some(info) = inbox.read_signal()? {
            if info.ssi_signo != Signal::SIGCHLD as u32 {
                let origin = Origin { signal: info.ssi_signo, sender: info.ssi_pid };
                stream.write_all(&origin.to_bytes())?;
            }
        }
        if queried {
            stream.write_all(&Origin::ANSWER.to_bytes())?;
        }
    }
}
