//! One decision, beside the floors that it can't be under and the peer that people know. One run, so that ratios
//! mean something on a noisy machine: `cargo bench -p shm-limit-benches --bench decision`.

use criterion::{
    BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime,
};
use governor::clock::{Clock, MonotonicClock, QuantaClock};
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use shm_lib::{Limit, Policy, Rate, RateLimit};
use std::hint::black_box;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const DAY: Duration = Duration::from_secs(86_400);

/// A page like the one that the limiter is in, so that the floor pays for the same memory.
#[repr(align(4096))]
struct Page([AtomicU64; 512]);

fn page() -> Box<Page> {
    Box::new(Page(std::array::from_fn(|_| AtomicU64::new(0))))
}

fn clock() -> u64 {
    shm_lib::now().as_nanos()
}

fn clock_and_cas(word: &AtomicU64) -> bool {
    let now = clock();
    let seen = word.load(Ordering::Acquire);
    word.compare_exchange(seen, seen.max(now) + 1, Ordering::AcqRel, Ordering::Relaxed).is_ok()
}

/// Never full: a token a nanosecond.
fn open(dir: &tempfile::TempDir) -> RateLimit {
    RateLimit::builder("open")
        .directory(dir.path())
        .burst(1_000_000_000)
        .open(1_000_000_000, Duration::from_secs(1))
        .unwrap()
}

/// Full for the rest of the day.
fn full(dir: &tempfile::TempDir) -> RateLimit {
    let limit = RateLimit::builder("full").directory(dir.path()).open(1, DAY).unwrap();
    let _ = limit.try_acquire().unwrap();
    limit
}

fn governor_open<C: Clock>(
    clock: C,
) -> RateLimiter<NotKeyed, InMemoryState, C, governor::middleware::NoOpMiddleware<C::Instant>> {
    RateLimiter::direct_with_clock(Quota::per_second(NonZeroU32::new(1_000_000_000).unwrap()), clock)
}

fn governor_full<C: Clock>(
    clock: C,
) -> RateLimiter<NotKeyed, InMemoryState, C, governor::middleware::NoOpMiddleware<C::Instant>> {
    let limiter = RateLimiter::direct_with_clock(Quota::with_period(DAY).unwrap(), clock);
    let _ = limiter.check();
    limiter
}

fn alone(c: &mut Criterion) {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let mut g = c.benchmark_group("alone");
    g.throughput(Throughput::Elements(1));
    let page = page();
    g.bench_function("floor: clock", |b| b.iter(clock));
    let limit = full(&dir);
    g.bench_function("denied: shm-limit", |b| b.iter(|| limit.try_acquire().unwrap()));
    let peer = governor_full(QuantaClock::default());
    g.bench_function("denied: governor quanta", |b| b.iter(|| peer.check()));
    let peer = governor_full(MonotonicClock);
    g.bench_function("denied: governor monotonic", |b| b.iter(|| peer.check()));
    g.bench_function("floor: clock + CAS", |b| b.iter(|| clock_and_cas(&page.0[8])));
    let limit = open(&dir);
    g.bench_function("admitted: shm-limit", |b| b.iter(|| limit.try_acquire().unwrap()));
    let peer = governor_open(QuantaClock::default());
    g.bench_function("admitted: governor quanta", |b| b.iter(|| peer.check()));
    let peer = governor_open(MonotonicClock);
    g.bench_function("admitted: governor monotonic", |b| b.iter(|| peer.check()));
    g.finish();
}

/// Measures `ours` while another process, forked here, does the same.
fn beside_a_process(g: &mut BenchmarkGroup<'_, WallTime>, name: &str, work: impl Fn()) {
    // SAFETY: the child only calls `work` (atomics and the clock) until it is killed.
    let child = unsafe { libc::fork() };
    if child == 0 {
        loop {
            work();
        }
    }
    g.bench_function(name, |b| b.iter(&work));
    // SAFETY: our own child.
    unsafe {
        libc::kill(child, libc::SIGKILL);
        libc::waitpid(child, std::ptr::null_mut(), 0);
    }
}

/// Measures `work` while another thread does the same.
fn beside_a_thread(g: &mut BenchmarkGroup<'_, WallTime>, name: &str, work: impl Fn() + Sync) {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                work();
            }
        });
        g.bench_function(name, |b| b.iter(&work));
        stop.store(true, Ordering::Relaxed);
    });
}

fn together(c: &mut Criterion) {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let mut g = c.benchmark_group("two together");
    g.throughput(Throughput::Elements(1));
    let page = page();
    beside_a_thread(&mut g, "floor: clock + CAS, retried, 2 threads", || {
        let now = clock();
        let word = &page.0[8];
        let mut seen = word.load(Ordering::Acquire);
        while let Err(other) =
            word.compare_exchange_weak(seen, seen.max(now) + 1, Ordering::AcqRel, Ordering::Acquire)
        {
            seen = other;
        }
    });
    let limit = open(&dir);
    beside_a_process(&mut g, "admitted: shm-limit, 2 processes", || {
        let _ = black_box(limit.try_acquire().unwrap());
    });
    let peer = governor_open(QuantaClock::default());
    beside_a_thread(&mut g, "admitted: governor quanta, 2 threads", || {
        let _ = black_box(peer.check());
    });
    let peer = governor_open(MonotonicClock);
    beside_a_thread(&mut g, "admitted: governor monotonic, 2 threads", || {
        let _ = black_box(peer.check());
    });
    let limit = full(&dir);
    beside_a_process(&mut g, "denied: shm-limit, 2 processes", || {
        let _ = black_box(limit.try_acquire().unwrap());
    });
    let peer = governor_full(QuantaClock::default());
    beside_a_thread(&mut g, "denied: governor quanta, 2 threads", || {
        let _ = black_box(peer.check());
    });
    g.finish();
}

fn opening(c: &mut Criterion) {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let mut g = c.benchmark_group("opening");
    let _there = full(&dir);
    g.bench_function("an existing limiter, and closing it", |b| {
        b.iter(|| RateLimit::builder("full").directory(dir.path()).open(1, DAY).unwrap());
    });
    g.bench_function("the same, without closing", |b| {
        b.iter_custom(|n| {
            let mut time = Duration::ZERO;
            for _ in 0..n {
                let start = Instant::now();
                let limit = RateLimit::builder("full").directory(dir.path()).open(1, DAY).unwrap();
                time += start.elapsed();
                drop(limit);
            }
            time
        });
    });
    g.bench_function("floor: open, fstat, close", |b| {
        b.iter(|| {
            let file =
                std::fs::OpenOptions::new().read(true).write(true).open(dir.path().join("full")).unwrap();
            file.metadata().unwrap().len()
        });
    });
    g.finish();
}

/// Never full: a token a nanosecond.
fn wide_open() -> Limit {
    let rate = Rate::new(1_000_000_000, Duration::from_secs(1)).unwrap();
    Limit::with_burst(rate, 1_000_000_000).unwrap()
}

/// Limiters of other kinds, beside one with one limit.
fn several(c: &mut Criterion) {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let mut g = c.benchmark_group("several");
    g.throughput(Throughput::Elements(1));
    for limits in 1..=4 {
        let policy = Policy::new(&vec![wide_open(); limits]).unwrap();
        let name = format!("limits-{limits}");
        let limit = RateLimit::builder(&name).directory(dir.path()).open_policy(policy).unwrap();
        g.bench_function(format!("admitted: {limits} limits"), |b| b.iter(|| limit.try_acquire().unwrap()));
    }
    for entries in [100, 10_000, 1_000_000] {
        let limit = RateLimit::builder(&format!("greedy-{entries}"))
            .directory(dir.path())
            .greedy()
            .open(entries, Duration::from_nanos(entries))
            .unwrap();
        g.bench_function(format!("admitted: greedy, {entries} entries"), |b| {
            b.iter(|| limit.try_acquire().unwrap());
        });
    }
    let full = RateLimit::builder("full-2").directory(dir.path()).and(wide_open()).open(1, DAY).unwrap();
    let _ = full.try_acquire().unwrap();
    g.bench_function("denied: 2 limits", |b| b.iter(|| full.try_acquire().unwrap()));
    let permits = RateLimit::builder("permits").directory(dir.path()).permits(8);
    let permits = permits.burst(1_000_000_000).open(1_000_000_000, Duration::from_secs(1)).unwrap();
    g.bench_function("admitted: 1 limit, permit taken and given back", |b| {
        b.iter(|| permits.try_acquire().unwrap());
    });
    g.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = alone, together, several, opening
}
criterion_main!(benches);
