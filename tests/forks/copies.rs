//! Copies of admissions and reservations in a forked child.
//!
//! The test process itself forks here, so each of these tests is alone: a child holds copies of all descriptors and locks of
//! the process until it ends.

use harness::{alone, in_child, shared_dir};
use shm_lib::{Limit, RateLimit};
use std::path::Path;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3_600);

fn builder(dir: &Path) -> shm_lib::Builder {
    RateLimit::builder("r").directory(dir).on_lost(shm_lib::OnLost::Error)
}

/// A child that settles the admission that it inherited gives nothing back; its parent still can.
#[test]
fn a_forked_copy_of_an_admission_refunds_nothing() {
    let _alone = alone();
    for records in [false, true] {
        let dir = shared_dir();
        let b = builder(dir.path()).burst(10);
        let b = if records { b.and(Limit::with_burst("20/h".parse().unwrap(), 20).unwrap()) } else { b };
        let limit = b.open(10, HOUR).unwrap();
        let _three = limit.try_acquire(3).unwrap();
        let mut five = limit.try_acquire(5).unwrap().admission().unwrap();
        assert!(in_child(|| {
            let _ = limit.settle(&mut five, 0);
            true
        }));
        assert_eq!(limit.status().unwrap().available, 2, "records: {records}: a copy gave back");
        limit.settle(&mut five, 0).unwrap();
        // What leaked since is not given back.
        assert!((6..=7).contains(&limit.status().unwrap().available), "records: {records}");
    }
}

/// The turn is the parent's.
#[test]
fn a_forked_copy_of_a_reservation_is_not_admitted() {
    let _alone = alone();
    let dir = shared_dir();
    let limit = builder(dir.path()).burst(1).open(1, HOUR).unwrap();
    let turn = limit.reserve(1).unwrap();
    let child_got_it = in_child(|| turn.wait().is_ok());
    assert!(!child_got_it);
}
