//! Any timer will do; and where nobody waits, none is asked.

use crate::{MINUTE, Place, SECOND, poll_once};
use shm_lib::{Request, Timer};
use std::pin::pin;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

/// There is no time here.
struct Untouched;

impl Timer for Untouched {
    async fn sleep(&self, time: Duration) {
        panic!("asked to sleep for {time:?}");
    }
}

/// A runtime's worth of timer: a thread that sleeps.
struct Threads;

impl Timer for Threads {
    async fn sleep(&self, time: Duration) {
        let mut done: Option<Receiver<()>> = None;
        std::future::poll_fn(move |context: &mut Context<'_>| match &done {
            Some(receiver) if receiver.try_recv().is_ok() => Poll::Ready(()),
            Some(_) => Poll::Pending,
            None => {
                let (sender, receiver) = channel();
                let waker = context.waker().clone();
                thread::spawn(move || {
                    thread::sleep(time);
                    let _ = sender.send(());
                    waker.wake();
                });
                done = Some(receiver);
                Poll::Pending
            }
        })
        .await;
    }
}

struct Unpark(thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

#[test]
fn at_once_no_timer_is_asked() {
    for place in [Place::with(|b| b.burst(2), 2, MINUTE), Place::with(|b| b.permits(2).burst(2), 2, MINUTE)] {
        let request = Request::one();
        let first = pin!(place.limit.acquire_with(&Untouched, &request));
        let _held = poll_once(first).expect("ready at once").unwrap();
        let soon = Instant::now() + SECOND;
        let second = pin!(place.limit.acquire_with_deadline(&Untouched, &request, soon));
        assert!(poll_once(second).expect("ready at once").unwrap().is_admitted());
        let third = pin!(place.limit.acquire_with_deadline(&Untouched, &request, Instant::now()));
        assert!(!poll_once(third).expect("ready at once").unwrap().is_admitted());
    }
}

#[test]
fn without_any_runtime() {
    let place = Place::new(20, SECOND);
    let request = Request::one();
    let first = block_on(place.limit.acquire_with(&Threads, &request)).unwrap();
    let second = block_on(place.limit.acquire_with(&Threads, &request)).unwrap();
    assert!(second.at().since(first.at()) >= Duration::from_millis(50));
    assert!(shm_lib::now() >= second.at());
    let soon = Instant::now() + 10 * SECOND;
    let third = block_on(place.limit.acquire_with_deadline(&Threads, &request, soon)).unwrap();
    assert!(third.is_admitted());
}

#[test]
fn futures_can_be_sent() {
    fn sendable<T: Send>(value: T) -> T {
        value
    }
    let place = Place::new(1, SECOND);
    let request = Request::one();
    drop(sendable(place.limit.acquire_with(&Threads, &request)));
    drop(sendable(place.limit.acquire_with_deadline(&Threads, &request, Instant::now())));
    drop(sendable(place.limit.acquire()));
    drop(sendable(place.limit.acquire_timeout(1, SECOND)));
    drop(sendable(place.limit.acquire_request(&request)));
}
