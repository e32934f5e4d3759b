//! Futures in processes that are killed, and that fork.

use crate::{LONG, MINUTE, Place, SECOND, poll_once};
use shm_lib::RateLimit;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tokio::time::timeout;

const DIR: &str = "SHM_LIMIT_TEST_HOLDER";

/// A child that is gone when the test ends, however it ends.
struct Mortal(Child);

impl Drop for Mortal {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Holds a permit until it is killed. Does nothing unless it is started by the test below.
#[test]
#[ignore = "a part of another test"]
fn holder() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let limit = RateLimit::builder("place").directory(dir).attach().unwrap();
    let _held = limit.try_acquire(1).unwrap().admission().expect("a permit");
    println!("\nHOLDING");
    std::thread::sleep(MINUTE);
}

#[tokio::test]
async fn a_killed_holders_permit_is_taken_soon() {
    let place = Place::with(|b| b.burst(100).permits(1), 100, SECOND);
    let mut holder = Mortal(
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "processes::holder", "--ignored", "--nocapture"])
            .env(DIR, place.dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let mut lines = BufReader::new(holder.0.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "HOLDING"), "it ended without a permit");
    let limit = place.limit.clone();
    let task = tokio::spawn(async move { limit.acquire(1).await.map(drop) });
    tokio::time::sleep(Duration::from_millis(120)).await;
    assert!(!task.is_finished());
    let killed = Instant::now();
    drop(holder);
    timeout(LONG, task).await.unwrap().unwrap().unwrap();
    // 50 ms on an idle machine; a loaded one may let nobody run for a while.
    assert!(killed.elapsed() < 2 * SECOND, "after {:?}", killed.elapsed());
}

/// Runs `work` in a forked child; whether it said true.
fn in_a_fork(work: impl FnOnce() -> bool) -> bool {
    // SAFETY: the child only does `work`, which takes no lock that another thread may have held, and leaves by _exit.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "no more processes");
    if child == 0 {
        // SAFETY: plain system calls. The alarm ends a child that hangs.
        unsafe { libc::alarm(20) };
        let well = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_or(false);
        // SAFETY: as above.
        unsafe { libc::_exit(i32::from(!well)) };
    }
    let mut status = 0;
    // SAFETY: waits for the child just made.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0
}

#[test]
fn a_forked_copy_that_is_dropped_leaves_its_parent_in_the_line() {
    let place = Place::new(1, MINUTE);
    assert!(place.limit.try_acquire(1).unwrap().is_admitted());
    let mut waiting = Box::pin(place.limit.acquire(1).into_future());
    assert!(poll_once(waiting.as_mut()).is_none());
    let before = place.limit.peek().unwrap().next_at;
    // The child gets a copy of all of its parent's memory, so the future is taken apart here only in the child.
    assert!(in_a_fork(|| {
        drop(std::mem::replace(&mut waiting, Box::pin(place.limit.acquire(1).into_future())));
        true
    }));
    assert_eq!(place.limit.peek().unwrap().next_at, before, "the parent's turn is still charged");
}

#[test]
fn a_forked_copy_that_is_polled_stands_anew() {
    let place = Place::new(1, 2 * SECOND);
    assert!(place.limit.try_acquire(1).unwrap().is_admitted());
    let mut waiting = Box::pin(place.limit.acquire(1).into_future());
    assert!(poll_once(waiting.as_mut()).is_none());
    let before = place.limit.peek().unwrap().next_at;
    assert!(in_a_fork(|| {
        let still_waits = poll_once(waiting.as_mut()).is_none();
        std::mem::forget(std::mem::replace(&mut waiting, Box::pin(place.limit.acquire(1).into_future())));
        still_waits
    }));
    // It died in the line, and took nothing along.
    assert_eq!(place.limit.peek().unwrap().next_at, before);
    while poll_once(waiting.as_mut()).is_none() {
        std::thread::sleep(Duration::from_millis(10));
    }
}
