//! The thread that wakes waiting tasks. A program of its own, since the test counts the program's threads.

#[path = "asynchronous/block_on.rs"]
mod block_on;

use block_on::block_on;
use shm_lib::RateLimit;
use std::thread;
use std::time::{Duration, Instant};

fn waker_threads() -> usize {
    let name =
        |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    tasks.flatten().map(name).filter(|name| name.trim() == "shm-limit").count()
}

#[test]
fn it_runs_while_tasks_wait_and_ends_afterwards() {
    let dir = tempfile::tempdir().unwrap();
    let open =
        || RateLimit::builder("fixture").directory(dir.path()).open(20, Duration::from_secs(1)).unwrap();
    let handles = [open(), open()];
    block_on(handles[0].acquire(1).into_future()).unwrap();
    assert_eq!(waker_threads(), 0, "no task has waited yet");
    for _ in 0..2 {
        for limit in &handles {
            // The first of the two may be admitted without waiting.
            (0..2).for_each(|_| drop(block_on(limit.acquire(1).into_future()).unwrap()));
            assert_eq!(waker_threads(), 1);
        }
        let begun = Instant::now();
        while waker_threads() > 0 {
            assert!(begun.elapsed() < Duration::from_secs(20), "the thread is still running");
            thread::sleep(Duration::from_millis(50));
        }
    }
}
