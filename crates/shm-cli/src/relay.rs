//! Decides which of the signals that this process gets are passed on to the command: those that the command did not get
//! itself.

use crate::group_monitor::{GroupMonitor, Origin, Report};
use nix::sys::signalfd::SignalFd;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

/// If a sender signals this process and the process group within this time, as timeout(1) does, both count as one signal. A
/// signal to this process alone reaches the command later by this time.
const GRACE: Duration = Duration::from_millis(50);
/// A monitor that does not answer for this long is stopped, or worse. Then signals are passed on without it: one too many is
/// better than none.
const NO_ANSWER: Duration = Duration::from_secs(1);

/// A signal that is passed on to the command unless the monitor got it as well.
struct Pending {
    origin: Origin,
    due: Instant,
    /// Whether it was due when the last query was sent to the monitor.
    queried: bool,
}

/// The signals on their way to the command.
pub(crate) struct Relay {
    monitor: Option<GroupMonitor>,
    pending: Vec<Pending>,
    /// The signals that the group got, and when the monitor reported them.
    of_group: Vec<(Origin, Instant)>,
    /// When the query was sent that the monitor has not answered yet.
    query: Option<Instant>,
}

impl Relay {
    /// Must begin before the command is started, so that the monitor gets every signal that the command gets with the group.
    pub(crate) fn begin(inbox: &SignalFd) -> Relay {
        Relay { monitor: GroupMonitor::start(inbox), pending: Vec::new(), of_group: Vec::new(), query: None }
    }

    /// The descriptor to poll for reports of the monitor.
    pub(crate) fn reports(&self) -> Option<BorrowedFd<'_>> {
        self.monitor.as_ref().map(AsFd::as_fd)
    }

    /// When there is work at the latest, if no signal and no report arrives.
    pub(crate) fn wakes_at(&self) -> Option<Instant> {
        match self.query {
            _ if self.monitor.is_none() => (!self.pending.is_empty()).then(Instant::now),
            Some(since) => Some(since + NO_ANSWER),
            None => self.pending.iter().map(|entry| entry.due).min(),
        }
    }

    /// Takes note of a signal that this process got.
    pub(crate) fn caught(&mut self, origin: Origin) {
        let now = Instant::now();
        self.of_group.retain(|&(_, at)| now < at + GRACE);
        if !self.of_group.iter().any(|&(same, _)| same == origin) {
            self.pending.push(Pending { origin, due: now + GRACE, queried: false });
        }
    }

    /// Reads the monitor's reports, and passes the signals that are due to `send`.
    pub(crate) fn work(&mut self, send: impl Fn(Origin)) {
        if self.read_reports().is_err() {
            self.monitor = None;
        }
        let now = Instant::now();
        let unanswered = self.monitor.is_none() || self.query.is_some_and(|since| now >= since + NO_ANSWER);
        if unanswered {
            self.query = None;
            self.pending.drain(..).for_each(|entry| send(entry.origin));
        }
        self.pending.retain(|entry| {
            let decided = entry.queried && self.query.is_none();
            if decided {
                send(entry.origin);
            }
            !decided
        });
        // On a busy machine a report may be late, and then one signal would become two. The answer to a query comes after all
        // reports of signals that arrived before the query.
        if self.query.is_none() && self.pending.iter().any(|entry| entry.due <= now) {
            self.pending.iter_mut().filter(|entry| entry.due <= now).for_each(|entry| entry.queried = true);
            self.query = Some(now);
            if self.monitor.as_mut().is_some_and(|monitor| monitor.query().is_err()) {
                self.monitor = None;
            }
        }
    }

    fn read_reports(&mut self) -> io::Result<()> {
        while let Some(monitor) = &mut self.monitor {
            match monitor.next_report()? {
                None => break,
                Some(Report::Answer) => self.query = None,
                Some(Report::Group(origin)) => {
                    self.pending.retain(|entry| entry.origin != origin);
                    self.of_group.push((origin, Instant::now()));
                }
            }
        }
        Ok(())
    }
}
