//! Many processes at the same limiter: how many decisions they make together, and how long each takes.
//!
//! Peers that are for one process only run as threads of one process instead.
#![allow(unsafe_code)]

use crate::subject::{Make, Subject};
use crate::{floors, ours, peers};
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

/// How many at once.
pub(crate) const CROWDS: [usize; 4] = [1, 2, 8, 64];
const TIME: Duration = Duration::from_millis(1_000);
/// Decisions between two looks at whether the time is over.
const STRIDE: u64 = 256;

/// What a crowd did.
pub(crate) struct Crowd {
    pub(crate) name: &'static str,
    pub(crate) size: usize,
    /// Millions of decisions a second, all together.
    pub(crate) throughput: f64,
    pub(crate) times: Histogram<u64>,
}

/// What all of a crowd see: 0: get ready, 1: work, 2: the time is over.
struct Signals {
    phase: &'static AtomicU64,
    ready: &'static AtomicU64,
    decided: &'static AtomicU64,
}

/// One of a crowd. Counts decisions in the first half of the time, and times each in the second.
fn work(mut run: impl FnMut(u64), signals: &Signals) -> Histogram<u64> {
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

/// Lets a crowd work: each a process forked here, with its own copy of the subject.
fn processes(size: usize, make: &dyn Fn() -> Subject) -> Crowd {
    let words = floors::shared_words(512);
    let signals = Signals { phase: &words[0], ready: &words[64], decided: &words[128] };
    let mut results: Vec<File> = (0..size).map(|_| tempfile::tempfile().expect("a file")).collect();
    let mut subject = make();
    let name = subject.name;
    let mut children = Vec::new();
    for result in &mut results {
        // SAFETY: this process has one thread here. The child works with what it inherits and exits.
        match unsafe { fork() }.expect("a process") {
            ForkResult::Child => {
                // By reference: its directory is the parent's to remove.
                let nanos = work(&mut subject.run, &signals);
                let written = V2Serializer::new().serialize(&nanos, result).is_ok();
                // SAFETY: ends the child without running what belongs to the parent.
                unsafe { libc::_exit(i32::from(!written)) };
            }
            ForkResult::Parent { child } => children.push(Child(child)),
        }
    }
    let throughput = direct(&signals, size);
    let mut times = empty();
    drop(children.into_iter().map(Child::finish).collect::<Vec<_>>());
    for result in &mut results {
        result.seek(SeekFrom::Start(0)).expect("a file");
        let part: Histogram<u64> = Deserializer::new().deserialize(result).expect("what the child wrote");
        times.add(part).expect("the same bounds");
    }
    Crowd { name, size, throughput, times }
}

/// The same with threads, for limiters of one process.
fn threads<T>(name: &'static str, size: usize, decide: impl Fn() -> T + Send + Sync) -> Crowd {
    let words = floors::shared_words(512);
    let signals = Signals { phase: &words[0], ready: &words[64], decided: &words[128] };
    let (mut throughput, mut times) = (0.0, empty());
    std::thread::scope(|scope| {
        let (decide, signals) = (&decide, &signals);
        let workers: Vec<_> = (0..size)
            .map(|_| {
                scope.spawn(move || {
                    work(|times| (0..times).for_each(|_| drop(std::hint::black_box(decide()))), signals)
                })
            })
            .collect();
        throughput = direct(signals, size);
        for worker in workers {
            times.add(worker.join().expect("a worker")).expect("the same bounds");
        }
    });
    Crowd { name, size, throughput, times }
}

/// Says when to work and when to end. Returns the throughput.
fn direct(signals: &Signals, size: usize) -> f64 {
    while signals.ready.load(Ordering::SeqCst) < size as u64 {
        std::thread::sleep(Duration::from_millis(1));
    }
    let began = Instant::now();
    signals.phase.store(1, Ordering::Release);
    std::thread::sleep(TIME);
    signals.phase.store(2, Ordering::Release);
    let time = began.elapsed();
    std::thread::sleep(TIME);
    signals.phase.store(3, Ordering::Release);
    // Those who were not on a processor in the last moment report late.
    std::thread::sleep(Duration::from_millis(50));
    signals.decided.load(Ordering::Relaxed) as f64 / time.as_secs_f64() / 1e6
}

/// A child that is gone when this is, whatever happens.
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

/// The first is the floor of the others' throughput.
const SUBJECTS: [Make; 9] = [
    floors::clock_and_swap,
    ours::admitted,
    ours::denied,
    ours::mixed,
    || ours::limits("shm-limit, two limits, admitted", 2),
    || ours::greedy("shm-limit, greedy, 10,000 entries, admitted", 10_000),
    || floors::robust_mutex(true),
    || floors::by_hand(true),
    floors::flock,
];

pub(crate) fn print() -> Vec<Crowd> {
    println!(
        "\n## Many at once\n\nOn {} processors. Throughput: all together, for {TIME:?}; then each decision timed, for as long.",
        std::thread::available_parallelism().map_or(0, usize::from)
    );
    let mut all = Vec::new();
    for size in CROWDS {
        let floor = all.len();
        all.extend(SUBJECTS.iter().map(|make| processes(size, make)));
        let open = peers::governor_shared();
        all.push(threads("governor, quanta clock, threads", size, move || open.check().is_ok()));
        println!(
            "\n| {size} at once | M/s | of the floor | p50 ns | p99 ns | p99.99 µs | slowest µs |\n|---|---|---|---|---|---|---|"
        );
        for crowd in &all[floor..] {
            let at = |q| crowd.times.value_at_quantile(q);
            println!(
                "| {} | {:.2} | {:.0} % | {} | {} | {:.1} | {:.0} |",
                crowd.name,
                crowd.throughput,
                100.0 * crowd.throughput / all[floor].throughput,
                at(0.5),
                at(0.99),
                at(0.9999) as f64 / 1e3,
                crowd.times.max() as f64 / 1e3
            );
        }
    }
    all
}
