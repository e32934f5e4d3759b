//! Futures need no particular runtime.

use crate::block_on::block_on;
use crate::{Fixture, MINUTE, SECOND, poll_once};
use std::pin::pin;
use std::time::Duration;

#[test]
fn ready_at_the_first_poll_if_no_wait_is_needed() {
    for fixture in
        [Fixture::with(|b| b.burst(2), 2, MINUTE), Fixture::with(|b| b.permits(2).burst(2), 2, MINUTE)]
    {
        let _held = poll_once(pin!(fixture.limit.acquire(1).into_future())).expect("ready at once").unwrap();
        let second = pin!(fixture.limit.acquire(1).timeout(SECOND).into_future());
        assert!(poll_once(second).expect("ready at once").unwrap().is_admitted());
        let third = pin!(fixture.limit.acquire(1).timeout(Duration::ZERO).into_future());
        assert!(!poll_once(third).expect("ready at once").unwrap().is_admitted());
    }
}

#[test]
fn futures_work_without_a_runtime() {
    let fixture = Fixture::new(20, SECOND);
    let first = block_on(fixture.limit.acquire(1).into_future()).unwrap();
    let second = block_on(fixture.limit.acquire(1).into_future()).unwrap();
    assert!(second.at().since(first.at()) >= Duration::from_millis(50));
    assert!(shm_lib::now() >= second.at());
    assert!(block_on(fixture.limit.acquire(1).timeout(10 * SECOND).into_future()).unwrap().is_admitted());
}

#[test]
fn futures_are_send() {
    fn sendable<T: Send>(value: T) -> T {
        value
    }
    let fixture = Fixture::new(1, SECOND);
    drop(sendable(fixture.limit.acquire(1)));
    drop(sendable(fixture.limit.acquire(1).timeout(SECOND)));
    drop(sendable(fixture.limit.acquire(1)));
}
