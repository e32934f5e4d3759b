//! Children that are forked for a measurement, and their CPU time.
#![allow(unsafe_code)]

use hdrhistogram::Histogram;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::time::ClockId;
use nix::unistd::{ForkResult, Pid, fork};
use std::time::Duration;

/// Forked children, which are killed when this is dropped.
pub(crate) struct Children(Vec<Pid>);

impl Children {
    pub(crate) fn fork(count: usize, work: impl Fn(usize)) -> Children {
        let fork_child = |index| {
            // SAFETY: this process has a single thread here. The child uses only what it inherits, and exits.
            match unsafe { fork() }.expect("a process") {
                ForkResult::Child => {
                    work(index);
                    // SAFETY: ends the child without running the parent's exit handlers and destructors.
                    unsafe { libc::_exit(0) };
                }
                ForkResult::Parent { child } => child,
            }
        };
        Children((0..count).map(fork_child).collect())
    }

    pub(crate) fn pids(&self) -> &[Pid] {
        &self.0
    }

    pub(crate) fn wait(mut self) {
        for child in self.0.drain(..) {
            let _ = waitpid(child, None);
        }
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        for &child in &self.0 {
            let _ = kill(child, Signal::SIGKILL);
        }
        for &child in &self.0 {
            let _ = waitpid(child, None);
        }
    }
}

/// The CPU time that the processes have used so far.
pub(crate) fn cpu_time(processes: &[Pid]) -> Duration {
    let of_process = |&process| {
        let clock = ClockId::pid_cpu_clock_id(process).expect("the clock of a child");
        Duration::from(clock.now().expect("its time"))
    };
    processes.iter().map(of_process).sum()
}

/// The table cells for p50, p99 and the maximum, in microseconds.
pub(crate) fn quantiles(times: &Histogram<u64>) -> String {
    let at = |q| times.value_at_quantile(q) as f64 / 1e3;
    format!("{:.0} | {:.0} | {:.0}", at(0.5), at(0.99), times.max() as f64 / 1e3)
}
