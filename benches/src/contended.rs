//! Many processes on one limiter: their joint throughput, and the latency of each decision.
//!
//! Limiters that support only one process run as threads of one process instead.
#![allow(unsafe_code)]

use crate::subject::{MakeSubject, Subject};
use crate::{baselines, peers, shm_limit};
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2Serializer};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork};
use quanta::Clock;
use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

pub(crate) const PROCESS_COUNTS: [usize; 4] = [1, 2, 8, 64];
const TIME: Duration = Duration::from_millis(1_000);
/// Decisions between two checks whether the time is over.
const STRIDE: u64 = 256;

/// The result of one subject with one number of workers.
pub(crate) struct ContendedRun {
    pub(crate) name: &'static str,
    pub(crate) workers: usize,
    /// Millions of decisions per second of all workers together.
    pub(crate) throughput: f64,
    pub(crate) times: Histogram<u64>,
}

/// Words that all workers share.
struct Signals {
    /// 0: get ready; 1: count decisions; 2: time each decision; 3: end.
    phase: &'static AtomicU64,
    ready: &'static AtomicU64,
    decided: &'static AtomicU64,
}

/// The work of one worker: counts its decisions in phase 1, and times each of them in phase 2.
fn run_worker(mut run: impl FnMut(u64), signals: &Signals) -> Histogram<u64> {
    let mut nanos = empty();
    run(1);
    signals.ready.fetch_add(1, Ordering::SeqCst);
    while signals.phase.load(Ordering::Acquire) == 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    let mut decided = 0;
    while signals.phase.load(Ordering::Relaxed) == 1 {
        run(STRIDE);
        decided += STRIDE;
    }
    signals.decided.fetch_add(decided, Ordering::Relaxed);
    let clock = Clock::new();
    while signals.phase.load(Ordering::Relaxed) == 2 {
        for _ in 0..STRIDE {
            let began = clock.raw();
            run(1);
            let ended = clock.raw();
            nanos.saturating_record(clock.delta_as_nanos(began, ended));
        }
    }
    nanos
}

fn empty() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("bounds")
}

/// Runs the subject in forked processes, each with its own copy.
fn processes(workers: usize, make: &dyn Fn() -> Subject) -> ContendedRun {
    let words = baselines::shared_words(512);
    let signals = Signals { phase: &words[0], ready: &words[64], decided: &words[128] };
    let mut results: Vec<File> = (0..workers).map(|_| tempfile::tempfile().expect("a file")).collect();
    let mut subject = make();
    let name = subject.name;
    let mut children = Vec::new();
    for result in &mut results {
        // SAFETY: this process has a single thread here. The child uses only what it inherits, and exits.
        match unsafe { fork() }.expect("a process") {
            ForkResult::Child => {
                // By reference, so that the child does not drop the subject: the parent removes its directory.
                let nanos = run_worker(&mut subject.run, &signals);
                let written = V2Serializer::new().serialize(&nanos, result).is_ok();
                // SAFETY: ends the child without running the parent's exit handlers and destructors.
                unsafe { libc::_exit(i32::from(!written)) };
            }
            ForkResult::Parent { child } => children.push(Child(child)),
        }
    }
    let throughput = coordinate(&signals, workers);
    let mut times = empty();
    drop(children.into_iter().map(Child::finish).collect::<Vec<_>>());
    for result in &mut results {
        result.seek(SeekFrom::Start(0)).expect("a file");
        let part: Histogram<u64> = Deserializer::new().deserialize(result).expect("what the child wrote");
        times.add(part).expect("the same bounds");
    }
    ContendedRun { name, workers, throughput, times }
}

/// Runs the decision in threads, for limiters that support only one process.
fn threads<T>(name: &'static str, workers: usize, decide: impl Fn() -> T + Send + Sync) -> ContendedRun {
    let words = baselines::shared_words(512);
    let signals = Signals { phase: &words[0], ready: &words[64], decided: &words[128] };
    let (mut throughput, mut times) = (0.0, empty());
    std::thread::scope(|scope| {
        let (decide, signals) = (&decide, &signals);
        let handles: Vec<_> = (0..workers)
            .map(|_| {
                scope.spawn(move || {
                    run_worker(|times| (0..times).for_each(|_| drop(std::hint::black_box(decide()))), signals)
                })
            })
            .collect();
        throughput = coordinate(signals, workers);
        for worker in handles {
            times.add(worker.join().expect("a worker")).expect("the same bounds");
        }
    });
    ContendedRun { name, workers, throughput, times }
}

/// Steps through the phases, and returns the throughput.
fn coordinate(signals: &Signals, workers: usize) -> f64 {
    while signals.ready.load(Ordering::SeqCst) < workers as u64 {
        std::thread::sleep(Duration::from_millis(1));
    }
    let began = Instant::now();
    signals.phase.store(1, Ordering::Release);
    std::thread::sleep(TIME);
    signals.phase.store(2, Ordering::Release);
    let time = began.elapsed();
    std::thread::sleep(TIME);
    signals.phase.store(3, Ordering::Release);
    // Workers that were preempted at the end add their counts late.
    std::thread::sleep(Duration::from_millis(50));
    signals.decided.load(Ordering::Relaxed) as f64 / time.as_secs_f64() / 1e6
}

/// A child process that is killed when this is dropped.
struct Child(Pid);

impl Child {
    fn finish(self) {
        let status = waitpid(self.0, None).expect("a child");
        std::mem::forget(self);
        assert!(matches!(status, nix::sys::wait::WaitStatus::Exited(_, 0)), "{status:?}");
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = kill(self.0, Signal::SIGKILL);
        let _ = waitpid(self.0, None);
    }
}

/// The first subject is the baseline for the throughput of the others.
const SUBJECTS: [MakeSubject; 9] = [
    baselines::clock_and_swap,
    shm_limit::admitted,
    shm_limit::denied,
    shm_limit::mixed,
    || shm_limit::limits("shm-limit, two limits, admitted", 2),
    || shm_limit::greedy("shm-limit, greedy, 10,000 entries, admitted", 10_000),
    || baselines::robust_mutex(true),
    || baselines::by_hand(true),
    baselines::flock,
];

pub(crate) fn print() -> Vec<ContendedRun> {
    println!(
        "\n## Many processes at once\n\nOn {} processors. Throughput is that of all processes together over {TIME:?}. For the same \
         time again, each decision is timed.",
        std::thread::available_parallelism().map_or(0, usize::from)
    );
    let mut all = Vec::new();
    for workers in PROCESS_COUNTS {
        let baseline = all.len();
        all.extend(SUBJECTS.iter().map(|make| processes(workers, make)));
        let open = peers::governor_shared();
        all.push(threads("governor, quanta clock, threads", workers, move || open.check().is_ok()));
        println!(
            "\n| processes: {workers} | M/s | of the baseline | p50 ns | p99 ns | p99.99 µs | slowest µs |\n|---|---|---|---|---|---|---|"
        );
        for run in &all[baseline..] {
            let at = |q| run.times.value_at_quantile(q);
            println!(
                "| {} | {:.2} | {:.0} % | {} | {} | {:.1} | {:.0} |",
                run.name,
                run.throughput,
                100.0 * run.throughput / all[baseline].throughput,
                at(0.5),
                at(0.99),
                at(0.9999) as f64 / 1e3,
                run.times.max() as f64 / 1e3
            );
        }
    }
    all
}
