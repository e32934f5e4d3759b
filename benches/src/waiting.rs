//! Waiting: how late one wakes, what sleepers cost, in which order they are served, how soon they hear of a change.
#![allow(unsafe_code)]

use crate::floors::shared_words;
use crate::ours::{Place, place};
use hdrhistogram::Histogram;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::time::ClockId;
use nix::unistd::{ForkResult, Pid, fork};
use shm_lib::{Limit, Rate, RateLimit};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3_600);

/// Children that do something until they are done or killed.
struct Children(Vec<Pid>);

impl Children {
    fn fork(count: usize, work: impl Fn(usize)) -> Children {
        let one = |index| {
            // SAFETY: this process has one thread here. The child works with what it inherits and exits.
            match unsafe { fork() }.expect("a process") {
                ForkResult::Child => {
                    work(index);
                    // SAFETY: ends the child without running what belongs to the parent.
                    unsafe { libc::_exit(0) };
                }
                ForkResult::Parent { child } => child,
            }
        };
        Children((0..count).map(one).collect())
    }

    fn wait(mut self) {
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

fn quantiles(times: &Histogram<u64>) -> String {
    let at = |q| times.value_at_quantile(q) as f64 / 1e3;
    format!("{:.0} | {:.0} | {:.0}", at(0.5), at(0.99), times.max() as f64 / 1e3)
}

/// How late a wait for a turn so far away ends, beside the kernel's own sleep.
fn lateness() {
    println!(
        "\n| a wait of | late by, p50 µs | p99 µs | slowest µs | of a plain sleep, p50 µs | p99 µs | slowest µs |"
    );
    println!("|---|---|---|---|---|---|---|");
    for (wait, samples) in [(1, 1_000), (10, 200), (1_000, 10)] {
        let time = Duration::from_millis(wait);
        let place = place(|b| b.open(1, time));
        let limit = &place.limit;
        let (mut ours, mut plain) = (empty(), empty());
        for _ in 0..samples {
            let admission = limit.wait().expect("an admission");
            ours.saturating_record(shm_lib::now().since(admission.at()).as_nanos() as u64);
            let began = shm_lib::now();
            std::thread::sleep(time);
            plain.saturating_record(shm_lib::now().since(began).saturating_sub(time).as_nanos() as u64);
            // So that the next one waits its whole time.
            let _ = limit.reset();
            let _ = limit.try_acquire(1);
        }
        println!("| {time:?} ({samples} times) | {} | {} |", quantiles(&ours), quantiles(&plain));
    }
}

fn empty() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("bounds")
}

/// A limiter with places for twice so many processes, whose one token is taken: the next comes in an hour.
fn far(seats: usize) -> Place {
    let place = place(|b| b.seats(seats).open(1, HOUR));
    let _ = place.limit.try_acquire(1);
    place
}

/// Until so many wait.
fn until_queued(limit: &RateLimit, count: usize) {
    while limit.inspect().expect("a healthy limiter").callers_waiting() < count as u64 {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// What they have used so far.
fn processor_time(processes: &[Pid]) -> Duration {
    let one = |&process| {
        let clock = ClockId::pid_cpu_clock_id(process).expect("the clock of a child");
        Duration::from(clock.now().expect("its time"))
    };
    processes.iter().map(one).sum()
}

fn sleepers() {
    const SLEEPERS: usize = 1_000;
    const TIME: Duration = Duration::from_secs(5);
    let place = far(SLEEPERS);
    let children = Children::fork(SLEEPERS, |_| drop(place.limit.acquire(1).timeout(100_000 * HOUR).wait()));
    until_queued(&place.limit, SLEEPERS);
    let before = processor_time(&children.0);
    std::thread::sleep(TIME);
    let share = (processor_time(&children.0) - before).as_secs_f64() / TIME.as_secs_f64();
    println!("\n{SLEEPERS} sleeping processes use {:.2} % of a processor.", 100.0 * share);
}

fn fairness() {
    const PROCESSES: usize = 64;
    const TURNS: usize = 40;
    let place = place(|b| b.open(2_000, Duration::from_secs(1)));
    let limit = &place.limit;
    let words = shared_words(PROCESSES * TURNS * 2);
    let work = |index: usize| {
        for turn in 0..TURNS {
            let arrived = shm_lib::now();
            let at = limit.wait().expect("an admission").at();
            let word = 2 * (index * TURNS + turn);
            words[word].store(arrived.as_nanos(), Ordering::Relaxed);
            words[word + 1].store(at.as_nanos(), Ordering::Relaxed);
        }
    };
    Children::fork(PROCESSES, work).wait();
    let pair = |pair: &[AtomicU64]| (pair[0].load(Ordering::Relaxed), pair[1].load(Ordering::Relaxed));
    let mut all: Vec<(u64, u64)> = words.chunks_exact(2).map(pair).collect();
    all.sort_unstable();
    let overtaken = all.windows(2).filter(|two| two[1].1 < two[0].1).count();
    let furthest = all.windows(2).map(|two| two[0].1.saturating_sub(two[1].1)).max().unwrap_or(0);
    println!(
        "\nOf {} waits by {PROCESSES} processes {overtaken} were admitted before the one that arrived just before them; the furthest by {:.1} ms (a turn is 0.5 ms).",
        all.len(),
        furthest as f64 / 1e6
    );
}

fn news() {
    const PROCESSES: usize = 64;
    let (mut last, mut first) = (empty(), empty());
    for _ in 0..20 {
        let place = far(64);
        let words = shared_words(PROCESSES);
        let limit: &RateLimit = &place.limit;
        let children = Children::fork(PROCESSES, |index| {
            let _ = limit.wait();
            words[index].store(shm_lib::now().as_nanos(), Ordering::Relaxed);
        });
        until_queued(limit, PROCESSES);
        std::thread::sleep(Duration::from_millis(20));
        let changed = shm_lib::now().as_nanos();
        let fast = Rate::new(1_000_000_000, Duration::from_secs(1)).expect("a rate");
        limit.change_policy(Limit::with_burst(fast, 1_000_000).expect("a limit")).expect("a change");
        children.wait();
        let awake = || words.iter().map(|word| word.load(Ordering::Relaxed).saturating_sub(changed));
        last.saturating_record(awake().max().unwrap_or(0));
        first.saturating_record(awake().min().unwrap_or(0));
    }
    println!(
        "\nFrom a change to the first of {PROCESSES} sleeping processes awake and admitted: {:.2} ms; to the last: {:.2} ms (medians of 20).",
        first.value_at_quantile(0.5) as f64 / 1e6,
        last.value_at_quantile(0.5) as f64 / 1e6
    );
}

pub(crate) fn print() {
    println!("\n## Waiting");
    lateness();
    sleepers();
    fairness();
    news();
}
