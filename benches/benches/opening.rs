//! Opening a limiter that is there, beside what the file alone takes: `cargo bench -p shm-limit-benches --bench opening`.
//! Decisions are in the report (`cargo xtask bench`).

use criterion::{Criterion, criterion_group, criterion_main};
use shm_lib::RateLimit;
use std::time::{Duration, Instant};

const DAY: Duration = Duration::from_secs(86_400);

fn opening(c: &mut Criterion) {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let mut g = c.benchmark_group("opening");
    let _there = RateLimit::builder("full").directory(dir.path()).open(1, DAY).unwrap();
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

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = opening
}
criterion_main!(benches);
