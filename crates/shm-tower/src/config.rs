//! The configuration of a layer.

use crate::fields::Names;
use shm_lib::{Cost, RateLimit};
use std::time::Duration;

/// What becomes of a request whose turn is not now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It is refused.
    Reject,
    /// It waits for its turn, however long; the client may give up first. It is refused at once only if as many requests
    /// wait already as the limiter's policy lets wait ([`max_waiters`](shm_lib::Builder::max_waiters)).
    Wait,
    /// It waits if its turn comes within this time, and is refused at once otherwise. For a permit it waits that long.
    WaitUpTo(Duration),
}

/// What becomes of a request when the limiter can't decide: it was retired, its file was removed or damaged, there are
/// more processes than seats. There is no default: it is either your service or your limit that gives way.
///
/// A mistake in what is asked (more than the limiter can ever admit, units that it doesn't count) is neither: then
/// all requests get `500 Internal Server Error` until it is mended. The error is in the [`Undecided`](crate::Undecided)
/// of the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnError {
    /// It is admitted, without a limit.
    FailOpen,
    /// It gets `503 Service Unavailable`.
    FailClosed,
}

/// The configuration that all services of a layer share.
#[derive(Clone, Debug)]
pub(crate) struct LayerConfig {
    pub(crate) limit: RateLimit,
    pub(crate) mode: Mode,
    pub(crate) on_error: OnError,
    pub(crate) cost: Cost,
    pub(crate) names: Names,
}
