//! Any runtime will do, and none.

use crate::block_on::block_on;
use crate::{MINUTE, Place, SECOND, poll_once};
use std::pin::pin;
use std::time::Duration;

#[test]
fn ready_at_the_first_poll_if_it_need_not_wait() {
    for place in [Place::with(|b| b.burst(2), 2, MINUTE), Place::with(|b| b.permits(2).burst(2), 2, MINUTE)] {
        let _held = poll_once(pin!(place.limit.acquire(1).into_future())).expect("ready at once").unwrap();
        let second = pin!(place.limit.acquire(1).timeout(SECOND).into_future());
        assert!(poll_once(second).expect("ready at once").unwrap().is_admitted());
        let third = pin!(place.limit.acquire(1).timeout(Duration::ZERO).into_future());
        assert!(!poll_once(third).expect("ready at once").unwrap().is_admitted());
    }
}

#[test]
fn without_any_runtime() {
    let place = Place::new(20, SECOND);
    let first = block_on(place.limit.acquire(1).into_future()).unwrap();
    let second = block_on(place.limit.acquire(1).into_future()).unwrap();
    assert!(second.at().since(first.at()) >= Duration::from_millis(50));
    assert!(shm_lib::now() >= second.at());
    assert!(block_on(place.limit.acquire(1).timeout(10 * SECOND).into_future()).unwrap().is_admitted());
}

#[test]
fn futures_can_be_sent() {
    fn sendable<T: Send>(value: T) -> T {
        value
    }
    let place = Place::new(1, SECOND);
    drop(sendable(place.limit.acquire(1)));
    drop(sendable(place.limit.acquire(1).timeout(SECOND)));
    drop(sendable(place.limit.acquire(1)));
}
