//! A future that is admitted immediately does not allocate. A program of its own, since the allocator counts for all threads.

use shm_lib::{Builder, RateLimit};
use std::alloc::{GlobalAlloc, Layout, System};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: forwards every call to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's own obligations.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's own obligations; the memory came from the system's allocator.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn admit_immediately(limit: &RateLimit) {
    let mut future = pin!(limit.acquire(1).into_future());
    let ready = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(ready, Poll::Ready(Ok(_))));
}

#[test]
fn an_immediate_admission_allocates_nothing() {
    let kinds: [fn(Builder) -> Builder; 2] = [|b| b, |b| b.permits(2)];
    for kind in kinds {
        let dir = tempfile::tempdir().unwrap();
        let builder = RateLimit::builder("fixture").directory(dir.path()).burst(1_000_000);
        let limit = kind(builder).open(1_000_000, Duration::from_secs(1)).unwrap();
        // The first admission claims a seat, which allocates.
        admit_immediately(&limit);
        // Some admissions also check whether the file still exists, which allocates. So the minimum of ten is zero.
        let fewest = (0..10).map(|_| {
            let before = ALLOCATIONS.load(Ordering::Relaxed);
            admit_immediately(&limit);
            ALLOCATIONS.load(Ordering::Relaxed) - before
        });
        assert_eq!(fewest.min(), Some(0));
    }
}
