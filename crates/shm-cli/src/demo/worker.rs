//! A worker process of the demo: makes requests, and reports the outcomes.

use crate::exit::Failure;
use crate::fork::end_with_parent;
use shm_lib::limit::audit;
use shm_lib::{Nanos, Outcome, RateLimit, now};
use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

/// How long a process pauses after a denial. Far shorter than necessary, to keep the limiter busy.
const RETRY_PAUSE: Duration = Duration::from_micros(200);
/// Denials are reported together.
const REPORT_EVERY: Duration = Duration::from_millis(50);

/// When a worker works, and how.
pub(super) struct Assignment {
    pub(super) start: Nanos,
    pub(super) end: Nanos,
    /// For a worker that waits for its turns: how long it is busy after each. `None` for a worker that tries again and again.
    pub(super) work: Option<Duration>,
}

/// A report: at most one admission, and the number of denials since the last report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Report {
    /// The instant of the admission, in nanoseconds; 0 for none.
    at_ns: u64,
    denied: u64,
}

impl Report {
    const BYTES: usize = 16;

    /// Sends the report in one write, so that a killed process leaves no half of one.
    fn send(self, to: &mut impl Write) -> io::Result<()> {
        let mut bytes = [0; Report::BYTES];
        bytes[..8].copy_from_slice(&self.at_ns.to_ne_bytes());
        bytes[8..].copy_from_slice(&self.denied.to_ne_bytes());
        to.write_all(&bytes)?;
        to.flush()
    }

    /// The next report; `None` at the end.
    pub(super) fn receive(from: &mut impl Read) -> Option<Report> {
        let (mut at_ns, mut denied) = ([0; 8], [0; 8]);
        from.read_exact(&mut at_ns).and_then(|()| from.read_exact(&mut denied)).ok()?;
        Some(Report { at_ns: u64::from_ne_bytes(at_ns), denied: u64::from_ne_bytes(denied) })
    }

    pub(super) fn admission(self) -> Option<audit::Admission> {
        (self.at_ns != 0).then(|| audit::Admission { at: Nanos::from_nanos(self.at_ns), calls: 1 })
    }

    pub(super) fn denied(self) -> u64 {
        self.denied
    }
}

/// Makes requests from the start to the end.
pub(super) fn work(
    limiter: &RateLimit,
    assignment: &Assignment,
    reports: &mut impl Write,
) -> Result<(), Failure> {
    end_with_parent();
    std::thread::sleep(assignment.start.since(now()));
    let ended = match assignment.work {
        Some(work) => wait_for_turns(limiter, assignment, work, reports),
        None => try_repeatedly(limiter, assignment, reports),
    };
    match ended {
        Err(Failure::Output(e)) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

fn wait_for_turns(
    limiter: &RateLimit,
    assignment: &Assignment,
    work: Duration,
    reports: &mut impl Write,
) -> Result<(), Failure> {
    let deadline = Instant::now() + assignment.end.since(now());
    while let Outcome::Admitted(admission) = limiter.acquire(1).deadline(deadline).wait()? {
        let report = Report { at_ns: admission.at().as_nanos(), denied: 0 };
        report.send(reports).map_err(Failure::Output)?;
        std::thread::sleep(work.min(assignment.end.since(now())));
    }
    Ok(())
}

fn try_repeatedly(
    limiter: &RateLimit,
    assignment: &Assignment,
    reports: &mut impl Write,
) -> Result<(), Failure> {
    let mut report = Report::default();
    let mut reported = now();
    loop {
        let t = now();
        if t >= assignment.end {
            return report.send(reports).map_err(Failure::Output);
        }
        match limiter.try_acquire(1)? {
            Outcome::Admitted(admission) => report.at_ns = admission.at().as_nanos(),
            Outcome::Denied(_) => {
                report.denied += 1;
                std::thread::sleep(RETRY_PAUSE);
            }
        }
        if report.at_ns != 0 || t.since(reported) >= REPORT_EVERY {
            report.send(reports).map_err(Failure::Output)?;
            (report, reported) = (Report::default(), t);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_arrive_as_they_were_sent() {
        let sent = [Report { at_ns: 7, denied: 3 }, Report { at_ns: 0, denied: u64::MAX }];
        let mut pipe = Vec::new();
        for report in sent {
            report.send(&mut pipe).unwrap();
        }
        let mut pipe = pipe.as_slice();
        let received: Vec<Report> = std::iter::from_fn(|| Report::receive(&mut pipe)).collect();
        assert_eq!(received, sent);
        assert_eq!(
            (received[0].admission().map(|a| a.at.as_nanos()), received[1].admission()),
            (Some(7), None)
        );
    }
}
