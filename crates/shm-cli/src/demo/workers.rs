//! The worker processes of the demo: starts them, signals them, collects their reports, and ends them in any case.

use crate::demo::worker::{self, Assignment, Report};
use crate::demo::{NAME, Timeline};
use crate::exit::Failure;
use crate::fork;
use crate::output::report;
use crate::signals::SignalCatcher;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use shm_lib::limit::audit;
use shm_lib::{Nanos, RateLimit};
use std::io::{self, PipeReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long after the end of the demo a process may take to exit.
const PATIENCE: Duration = Duration::from_secs(5);
/// The part of the rate that the waiting workers use together; the rest is for those that try.
const SHARE_OF_WAITERS: f64 = 0.6;

/// What was done to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Works,
    Killed(Nanos),
    Stopped(Nanos),
    Resumed(Nanos, Nanos),
}

/// One worker process.
pub(super) struct Worker {
    pub(super) pid: Pid,
    pub(super) forked: bool,
    pub(super) waits: bool,
    pub(super) fate: Fate,
    log: Arc<Mutex<Log>>,
    reader: Option<JoinHandle<()>>,
    exited: bool,
}

/// What a worker has reported so far.
#[derive(Default)]
pub(super) struct Log {
    pub(super) admissions: Vec<audit::Admission>,
    pub(super) denied: u64,
}

impl Worker {
    pub(super) fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn collect_reports(&mut self, mut reports: PipeReader) {
        let log = self.log.clone();
        self.reader = Some(std::thread::spawn(move || {
            while let Some(report) = Report::receive(&mut reports) {
                let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
                log.admissions.extend(report.admission());
                log.denied += report.denied();
            }
        }));
    }
}

/// All workers. A drop kills those that are left.
pub(super) struct Workers(Vec<Worker>);

impl Workers {
    /// Starts `n` processes: the first half is forked, the rest executed; every second one waits, the others try.
    pub(super) fn start(
        n: usize,
        limiter: &RateLimit,
        dir: &Path,
        timeline: &Timeline,
        signals: &SignalCatcher,
    ) -> io::Result<Workers> {
        let waiters = n.div_ceil(2) as f64;
        let work =
            Duration::from_secs_f64(waiters / (SHARE_OF_WAITERS * timeline.limit.rate().as_per_second()));
        let mut workers = Workers(Vec::new());
        let mut pipes = Vec::new();
        for index in 0..n {
            let (forked, waits) = (index < n / 2, index % 2 == 0);
            let assignment =
                Assignment { start: timeline.start, end: timeline.end, work: waits.then_some(work) };
            let (ours, theirs) = io::pipe()?;
            let pid = if forked {
                fork::forked(|| {
                    signals.end();
                    let mut theirs = &theirs;
                    worker::work(limiter, &assignment, &mut theirs).map_or_else(
                        |e| {
                            report(e);
                            1
                        },
                        |()| 0,
                    )
                })?
            } else {
                executed(dir, &assignment, theirs.into())?
            };
            workers.0.push(Worker {
                pid,
                forked,
                waits,
                fate: Fate::Works,
                log: Arc::default(),
                reader: None,
                exited: false,
            });
            pipes.push(ours);
        }
        // After the last fork, because these are threads: see `fork`.
        for (worker, pipe) in workers.0.iter_mut().zip(pipes) {
            worker.collect_reports(pipe);
        }
        Ok(workers)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn workers(&self) -> &[Worker] {
        &self.0
    }

    pub(super) fn fate(&self, index: usize) -> Fate {
        self.0[index].fate
    }

    /// Sends a signal. The PID is still the worker's, because the worker is not reaped yet.
    pub(super) fn send(&mut self, index: usize, signal: Signal, fate: Fate) {
        let _ = kill(self.0[index].pid, signal);
        self.0[index].fate = fate;
    }

    /// Waits until all workers have exited and all their reports are read.
    pub(super) fn finish(&mut self) -> Result<(), Failure> {
        let give_up = Instant::now() + PATIENCE;
        for worker in &mut self.0 {
            let status = loop {
                match waitpid(worker.pid, Some(WaitPidFlag::WNOHANG)) {
                    Ok(WaitStatus::StillAlive) if Instant::now() < give_up => {
                        std::thread::sleep(Duration::from_millis(2));
                    }
                    Err(Errno::EINTR) => {}
                    other => break other,
                }
            };
            worker.exited = !matches!(status, Ok(WaitStatus::StillAlive));
            let expected = match (worker.fate, status) {
                (Fate::Killed(_), Ok(WaitStatus::Signaled(_, Signal::SIGKILL, _))) => true,
                (_, Ok(WaitStatus::Exited(_, code))) => code == 0,
                _ => false,
            };
            if !expected {
                return Err(Failure::new(format!(
                    "the demo's process {} exited unexpectedly: {status:?}",
                    worker.pid
                )));
            }
            if let Some(reader) = worker.reader.take() {
                let _ = reader.join();
            }
        }
        Ok(())
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        for worker in self.0.iter().filter(|w| !w.exited) {
            let _ = kill(worker.pid, Signal::SIGKILL);
            while waitpid(worker.pid, None) == Err(Errno::EINTR) {}
        }
    }
}

/// Executes this program again, as a process that knows only the directory and the name.
fn executed(dir: &Path, assignment: &Assignment, reports: Stdio) -> io::Result<Pid> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--dir").arg(dir).args(["demo-worker", NAME]);
    command.arg(format!("--start-ns={}", assignment.start.as_nanos()));
    command.arg(format!("--end-ns={}", assignment.end.as_nanos()));
    command.args(assignment.work.map(|work| format!("--work-ns={}", work.as_nanos())));
    // Reaped by its PID, like the forked workers.
    #[allow(clippy::zombie_processes)]
    let child = command.stdin(Stdio::null()).stdout(reports).spawn()?;
    Ok(Pid::from_raw(child.id() as i32))
}
