//! An admission without a wait, as a call and as a future: `cargo bench -p shm-limit-benches --bench asynchronous`.

use criterion::{Criterion, criterion_group, criterion_main};
use shm_lib::{Builder, RateLimit};
use std::hint::black_box;
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);

/// Never full: a token a nanosecond.
fn open(dir: &tempfile::TempDir, name: &str, choose: impl FnOnce(Builder) -> Builder) -> RateLimit {
    let builder = RateLimit::builder(name).directory(dir.path()).burst(1_000_000_000);
    choose(builder).open(1_000_000_000, SECOND).unwrap()
}

fn admissions(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    for (name, limit) in
        [("plain", open(&dir, "plain", |b| b)), ("permits", open(&dir, "permits", |b| b.permits(8)))]
    {
        let mut group = criterion.benchmark_group(name);
        group.bench_function("try_acquire()", |b| b.iter(|| black_box(limit.try_acquire().unwrap())));
        group.bench_function("wait()", |b| b.iter(|| black_box(limit.wait().unwrap())));
        group.bench_function("acquire().await", |b| {
            b.iter_custom(|times| {
                runtime.block_on(async {
                    let begun = Instant::now();
                    for _ in 0..times {
                        black_box(limit.acquire().await.unwrap());
                    }
                    begun.elapsed()
                })
            });
        });
        group.bench_function("wait_timeout()", |b| {
            b.iter(|| black_box(limit.wait_timeout(SECOND).unwrap()));
        });
        group.bench_function("acquire_timeout().await", |b| {
            b.iter_custom(|times| {
                runtime.block_on(async {
                    let begun = Instant::now();
                    for _ in 0..times {
                        let _ = black_box(limit.acquire_timeout(1, SECOND).await.unwrap());
                    }
                    begun.elapsed()
                })
            });
        });
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).warm_up_time(SECOND / 2).measurement_time(SECOND);
    targets = admissions
}
criterion_main!(benches);
