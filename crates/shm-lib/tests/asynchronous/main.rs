//! Waiting as a future: admission, denial, dropping, wakeups after changes; in tokio and without a runtime. Changes as futures.

mod block_on;
mod changes;
mod dropping;
mod permits;
mod processes;
mod runtimes;
mod waiting;
mod wakeups;

use shm_lib::{Builder, RateLimit};
use std::time::Duration;
use tempfile::TempDir;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
/// Longer than any test should wait, even on a busy machine, so that a test fails rather than hangs.
const LONG: Duration = Duration::from_secs(20);

/// A limiter in a directory of its own.
struct Fixture {
    dir: TempDir,
    limit: RateLimit,
}

impl Fixture {
    fn new(max: u64, per: Duration) -> Fixture {
        Fixture::with(|builder| builder, max, per)
    }

    fn with(choose: impl FnOnce(Builder) -> Builder, max: u64, per: Duration) -> Fixture {
        let dir = tempfile::tempdir().expect("a directory to work in");
        let builder = RateLimit::builder("fixture").directory(dir.path());
        let limit = choose(builder).open(max, per).expect("a limiter");
        Fixture { dir, limit }
    }
}

/// Polls the future once, with a waker that does nothing.
fn poll_once<F: Future>(future: std::pin::Pin<&mut F>) -> Option<F::Output> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match future.poll(&mut context) {
        std::task::Poll::Ready(output) => Some(output),
        std::task::Poll::Pending => None,
    }
}
