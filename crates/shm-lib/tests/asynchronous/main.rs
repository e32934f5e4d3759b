//! Waiting in futures: admitted, denied, dropped, told of news; in tokio and without a runtime. Changes by tasks.

mod block_on;
mod changes;
mod dropping;
mod news;
mod permits;
mod processes;
mod runtimes;
mod waiting;

use shm_lib::{Builder, RateLimit};
use std::time::Duration;
use tempfile::TempDir;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
/// More than any test waits, unless the machine stands still: then it fails and doesn't hang.
const LONG: Duration = Duration::from_secs(20);

/// A limiter in a directory of its own.
struct Place {
    dir: TempDir,
    limit: RateLimit,
}

impl Place {
    fn new(max: u64, per: Duration) -> Place {
        Place::with(|builder| builder, max, per)
    }

    fn with(choose: impl FnOnce(Builder) -> Builder, max: u64, per: Duration) -> Place {
        let dir = tempfile::tempdir().expect("a directory to work in");
        let builder = RateLimit::builder("place").directory(dir.path());
        let limit = choose(builder).open(max, per).expect("a limiter");
        Place { dir, limit }
    }
}

/// Polls once; for futures that must, or must not, be ready at once. Whatever wakes them later is ignored.
fn poll_once<F: Future>(future: std::pin::Pin<&mut F>) -> Option<F::Output> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match future.poll(&mut context) {
        std::task::Poll::Ready(output) => Some(output),
        std::task::Poll::Pending => None,
    }
}
