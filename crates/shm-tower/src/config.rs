//! The configuration of a layer.

use crate::budget::Limiter;
use crate::fields::Names;
use shm_lib::Cost;
use std::time::Duration;

/// What happens to a request that cannot be admitted now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mode {
    /// It gets `429 Too Many Requests`.
    Reject,
    /// It waits for its turn, however long that takes; the client may give up first. It gets 429 immediately only if the
    /// maximum number of requests already waits ([`max_waiters`](shm_lib::Builder::max_waiters)). For a key, these are the requests
    /// of this process that wait for the key.
    Wait,
    /// It waits if its turn is estimated to come within this time; otherwise it gets 429 immediately. There is no estimate for
    /// permits: a request for a permit waits up to this time.
    WaitUpTo(Duration),
}

/// What happens to a request when the limiter cannot decide because it was retired, its file was removed or damaged, or more
/// processes use it than it has seats. There is no default: the choice is between the availability of your service and the
/// enforcement of your limit.
///
/// It does not apply to a misconfigured cost (more than the limiter can ever admit, or units that do not match its limits):
/// then all requests get `500 Internal Server Error` until that is fixed. The error is in the response's
/// [`Undecided`](crate::Undecided). The same holds for a request without what its [`KeyExtractor`](crate::KeyExtractor) needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnError {
    /// It is passed to the service without a limit.
    FailOpen,
    /// It gets `503 Service Unavailable`.
    FailClosed,
}

/// The configuration that a layer and its services share.
#[derive(Clone, Debug)]
pub(crate) struct LayerConfig {
    pub(crate) limiter: Limiter,
    pub(crate) mode: Mode,
    pub(crate) on_error: OnError,
    pub(crate) cost: Cost,
    pub(crate) names: Names,
}
