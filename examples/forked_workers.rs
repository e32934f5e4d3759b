//! Four forked workers share one limit: together, not each, they start 20 jobs a second.
//!
//! `cargo run --example forked_workers`

use shm_lib::RateLimit;
use std::time::{Duration, Instant};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?; // leave `.directory(…)` out to share the limit with everything you run
    let limit = RateLimit::builder("jobs").directory(dir.path()).open(20, Duration::from_secs(1))?;
    let start = Instant::now();

    for worker in 1..=4 {
        // SAFETY: this process has one thread, so the child may do anything.
        if unsafe { libc::fork() } == 0 {
            for job in 1..=10 {
                limit.wait()?; // the handle goes on working in the child
                println!("{:>6.3} s  worker {worker}  job {job}", start.elapsed().as_secs_f64());
            }
            std::process::exit(0);
        }
    }
    // SAFETY: waits for our own children.
    while unsafe { libc::wait(std::ptr::null_mut()) } > 0 {}
    println!("40 jobs in {:.2} s, at 20/s (the first goes at once)", start.elapsed().as_secs_f64());
    Ok(())
}
