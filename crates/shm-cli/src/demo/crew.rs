//! The demo's processes: started, signalled, listened to, and ended whatever happens.

use crate::demo::worker::{self, Report, Shift};
use crate::demo::{NAME, Script};
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

/// How long after the end a process may take to be gone.
const PATIENCE: Duration = Duration::from_secs(5);
/// What those who wait ask for together, of the rate: the rest is for those who try.
const SHARE_OF_WAITERS: f64 = 0.6;

/// What was done to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Works,
    Killed(Nanos),
    Stopped(Nanos),
    Resumed(Nanos, Nanos),
}

/// One process.
pub(super) struct Worker {
    pub(super) pid: Pid,
    pub(super) forked: bool,
    pub(super) waits: bool,
    pub(super) fate: Fate,
    log: Arc<Mutex<Log>>,
    reader: Option<JoinHandle<()>>,
    gone: bool,
}

/// What a process has reported so far.
#[derive(Default)]
pub(super) struct Log {
    pub(super) admissions: Vec<audit::Admission>,
    pub(super) denied: u64,
}

impl Worker {
    pub(super) fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn listen(&mut self, mut reports: PipeReader) {
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

/// All of them. Dropped, it kills those that are left.
pub(super) struct Crew(Vec<Worker>);

impl Crew {
    /// Starts `n` processes: the first half forked, the rest executed; every other one waits, the others try.
    pub(super) fn hire(
        n: usize,
        limiter: &RateLimit,
        dir: &Path,
        script: &Script,
        signals: &SignalCatcher,
    ) -> io::Result<Crew> {
        let waiters = n.div_ceil(2) as f64;
        let work =
            Duration::from_secs_f64(waiters / (SHARE_OF_WAITERS * script.limit.rate().as_per_second()));
        let mut crew = Crew(Vec::new());
        let mut pipes = Vec::new();
        for index in 0..n {
            let (forked, waits) = (index < n / 2, index % 2 == 0);
            let shift = Shift { start: script.start, end: script.end, work: waits.then_some(work) };
            let (ours, theirs) = io::pipe()?;
            let pid = if forked {
                fork::forked(|| {
                    signals.end();
                    let mut theirs = &theirs;
                    worker::work(limiter, &shift, &mut theirs).map_or_else(
                        |e| {
                            report(e);
                            1
                        },
                        |()| 0,
                    )
                })?
            } else {
                executed(dir, &shift, theirs.into())?
            };
            crew.0.push(Worker {
                pid,
                forked,
                waits,
                fate: Fate::Works,
                log: Arc::default(),
                reader: None,
                gone: false,
            });
            pipes.push(ours);
        }
        // Not before all are forked: see `fork`.
        for (worker, pipe) in crew.0.iter_mut().zip(pipes) {
            worker.listen(pipe);
        }
        Ok(crew)
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

    /// Sends a signal. The PID can't be another's: nobody has reaped it yet.
    pub(super) fn send(&mut self, index: usize, signal: Signal, fate: Fate) {
        let _ = kill(self.0[index].pid, signal);
        self.0[index].fate = fate;
    }

    /// Waits until all are gone and all they reported is read.
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
            worker.gone = !matches!(status, Ok(WaitStatus::StillAlive));
            let expected = match (worker.fate, status) {
                (Fate::Killed(_), Ok(WaitStatus::Signaled(_, Signal::SIGKILL, _))) => true,
                (_, Ok(WaitStatus::Exited(_, code))) => code == 0,
                _ => false,
            };
            if !expected {
                return Err(Failure::new(format!(
                    "the demo's process {} did not end well: {status:?}",
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

impl Drop for Crew {
    fn drop(&mut self) {
        for worker in self.0.iter().filter(|w| !w.gone) {
            let _ = kill(worker.pid, Signal::SIGKILL);
            while waitpid(worker.pid, None) == Err(Errno::EINTR) {}
        }
    }
}

/// This program once more, as one that only knows the directory and the name.
fn executed(dir: &Path, shift: &Shift, reports: Stdio) -> io::Result<Pid> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--dir").arg(dir).args(["demo-worker", NAME]);
    command.arg(format!("--start-ns={}", shift.start.as_nanos()));
    command.arg(format!("--end-ns={}", shift.end.as_nanos()));
    command.args(shift.work.map(|work| format!("--work-ns={}", work.as_nanos())));
    // Reaped by its PID, as the forked ones are.
    #[allow(clippy::zombie_processes)]
    let child = command.stdin(Stdio::null()).stdout(reports).spawn()?;
    Ok(Pid::from_raw(child.id() as i32))
}
