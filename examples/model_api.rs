//! Four forked workers call one model API under its quotas of requests and tokens. Before a call they take an estimate;
//! after it they settle what it really was. The API is a pretend one.
//!
//! `cargo run --example model_api`

use shm_lib::{Cost, Policy, RateLimit, Unit};
use std::time::{Duration, Instant};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Requests, input and output tokens a minute, requests a day.
    let quotas = Policy::model_api(600, 60_000, 9_000, 10_000)?;
    let dir = tempfile::tempdir()?; // leave `.directory(…)` out to share the quotas with everything you run
    let limit = RateLimit::builder("model").directory(dir.path()).open_policy(quotas)?;
    let (input, output) = (Unit::named("input")?, Unit::named("output")?);
    let start = Instant::now();

    for worker in 1..=4 {
        // SAFETY: this process has one thread, so the child may do anything.
        if unsafe { libc::fork() } == 0 {
            for call in 1..=5 {
                let prompt = 300 * call;
                let estimate = Cost::one().and(input, prompt).and(output, 1_000);
                let mut admission = limit.acquire(estimate).wait()?;
                let answer = pretend_to_call(worker, call);
                limit.settle(&mut admission, Cost::one().and(output, answer))?;
                let level = limit.status()?;
                println!(
                    "{:>6.3} s  worker {worker} call {call}: waited {:>5} ms, {prompt:>4} in, {answer:>3} out; \
                     left this minute: {} requests, {} in, {} out",
                    start.elapsed().as_secs_f64(),
                    admission.waited().as_millis(),
                    level.limits[0].available,
                    level.limits[1].available,
                    level.limits[2].available,
                );
            }
            std::process::exit(0);
        }
    }
    // SAFETY: waits for our own children.
    while unsafe { libc::wait(std::ptr::null_mut()) } > 0 {}
    Ok(())
}

/// Answers after a while; says how many tokens it wrote.
fn pretend_to_call(worker: u64, call: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(20 * worker));
    200 + (worker * 7 + call * 13) % 10 * 60
}
