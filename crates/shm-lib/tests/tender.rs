//! The thread that wakes waiting tasks. Alone in its program, whose threads are counted.

#[path = "asynchronous/block_on.rs"]
mod block_on;

use block_on::block_on;
use shm_lib::RateLimit;
use std::thread;
use std::time::{Duration, Instant};

fn tenders() -> usize {
    let name =
        |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    tasks.flatten().map(name).filter(|name| name.trim() == "shm-limit").count()
}

#[test]
fn there_is_one_while_tasks_wait_and_none_a_while_later() {
    let dir = tempfile::tempdir().unwrap();
    let open = || RateLimit::builder("place").directory(dir.path()).open(20, Duration::from_secs(1)).unwrap();
    let handles = [open(), open()];
    block_on(handles[0].acquire(1).into_future()).unwrap();
    assert_eq!(tenders(), 0, "nobody has waited yet");
    for _ in 0..2 {
        for limit in &handles {
            // The first may be admitted at once.
            (0..2).for_each(|_| drop(block_on(limit.acquire(1).into_future()).unwrap()));
            assert_eq!(tenders(), 1);
        }
        let begun = Instant::now();
        while tenders() > 0 {
            assert!(begun.elapsed() < Duration::from_secs(20), "it is still there");
            thread::sleep(Duration::from_millis(50));
        }
    }
}
