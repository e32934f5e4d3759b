//! Futures in processes that are killed or fork.

use crate::{Fixture, LONG, MINUTE, SECOND, poll_once};
use shm_lib::RateLimit;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tokio::time::timeout;

const DIR: &str = "SHM_LIMIT_TEST_HOLDER";

/// A child process that is killed when this is dropped.
struct KillOnDrop(Child);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The program of the child that the test below starts: holds a permit until it is killed.
#[test]
#[ignore = "part of another test"]
fn holder() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let limit = RateLimit::builder("fixture").directory(dir).attach().unwrap();
    let _held = limit.try_acquire(1).unwrap().admission().expect("a permit");
    println!("\nHOLDING");
    std::thread::sleep(MINUTE);
}

#[tokio::test]
async fn a_waiter_gets_a_killed_holders_permit() {
    let fixture = Fixture::with(|b| b.burst(100).permits(1), 100, SECOND);
    let mut holder = KillOnDrop(
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "processes::holder", "--ignored", "--nocapture"])
            .env(DIR, fixture.dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let mut lines = BufReader::new(holder.0.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "HOLDING"), "the holder ended without a permit");
    let limit = fixture.limit.clone();
    let task = tokio::spawn(async move { limit.acquire(1).await.map(drop) });
    tokio::time::sleep(Duration::from_millis(120)).await;
    assert!(!task.is_finished());
    let killed = Instant::now();
    drop(holder);
    timeout(LONG, task).await.unwrap().unwrap().unwrap();
    // 50 ms on an idle machine; a busy one may not schedule any process for a while.
    assert!(killed.elapsed() < 2 * SECOND, "after {:?}", killed.elapsed());
}

/// Runs `work` in a forked child, and returns whether it returned true.
fn in_forked_child(work: impl FnOnce() -> bool) -> bool {
    // SAFETY: the child only runs `work`, which takes no lock that another thread may hold, and ends by _exit.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "no more processes");
    if child == 0 {
        // SAFETY: plain system calls. The alarm ends a child that hangs.
        unsafe { libc::alarm(20) };
        let success = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_or(false);
        // SAFETY: as above.
        unsafe { libc::_exit(i32::from(!success)) };
    }
    let mut status = 0;
    // SAFETY: waits for the child just made.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0
}

#[test]
fn dropping_a_forked_copy_leaves_the_parent_in_line() {
    let fixture = Fixture::new(1, MINUTE);
    assert!(fixture.limit.try_acquire(1).unwrap().is_admitted());
    let mut waiting = Box::pin(fixture.limit.acquire(1).into_future());
    assert!(poll_once(waiting.as_mut()).is_none());
    let before = fixture.limit.status().unwrap().next_at;
    // The child has a copy of the parent's memory, so this drops only the child's copy of the future.
    assert!(in_forked_child(|| {
        drop(std::mem::replace(&mut waiting, Box::pin(fixture.limit.acquire(1).into_future())));
        true
    }));
    assert_eq!(fixture.limit.status().unwrap().next_at, before, "the parent's turn is still charged");
}

#[test]
fn polling_a_forked_copy_joins_the_line_anew() {
    let fixture = Fixture::new(1, 2 * SECOND);
    assert!(fixture.limit.try_acquire(1).unwrap().is_admitted());
    let mut waiting = Box::pin(fixture.limit.acquire(1).into_future());
    assert!(poll_once(waiting.as_mut()).is_none());
    let before = fixture.limit.status().unwrap().next_at;
    assert!(in_forked_child(|| {
        let still_waits = poll_once(waiting.as_mut()).is_none();
        std::mem::forget(std::mem::replace(&mut waiting, Box::pin(fixture.limit.acquire(1).into_future())));
        still_waits
    }));
    // The child ended while it waited in line, and nothing stays charged for it.
    assert_eq!(fixture.limit.status().unwrap().next_at, before);
    while poll_once(waiting.as_mut()).is_none() {
        std::thread::sleep(Duration::from_millis(10));
    }
}
