//! One rate limit for all worker processes of an HTTP server, as a [tower] layer.
//!
//! ```
//! use shm_lib::{OnMismatch, RateLimit};
//! use shm_tower::{Mode, OnError, RateLimitLayer};
//! use std::time::Duration;
//! use tower::ServiceBuilder;
//!
//! # fn main() -> shm_lib::Result<()> {
//! # let dir = tempfile::tempdir().unwrap();
//! // In each worker. One that is started again later keeps what `shm-limit set` has changed meanwhile.
//! let limit = RateLimit::builder("api").on_mismatch(OnMismatch::Keep);
//! # let limit = limit.directory(dir.path());
//! let limit = limit.open(100, Duration::from_secs(1))?;
//! let layer = RateLimitLayer::new(limit, Mode::WaitUpTo(Duration::from_secs(1)), OnError::FailClosed);
//! let service = ServiceBuilder::new()
//!     .layer(layer)
//!     .service_fn(|_: http::Request<String>| async { Ok::<_, std::io::Error>(http::Response::new("hello".to_owned())) });
//! # let _ = service;
//! # Ok(())
//! # }
//! ```
//!
//! - Nothing is taken by `poll_ready`; the cost of a request is taken when it is called.
//! - A request that is refused gets `429 Too Many Requests` with `Retry-After`; see [`RateLimitLayer`].
//! - All answers have the fields `RateLimit` and `RateLimit-Policy` of
//!   [draft-ietf-httpapi-ratelimit-headers-11](https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/).
//! - If the limiter has permits, one is held until the response's body has ended or is dropped.
//! - A request whose client goes away while it waits leaves the line and takes nothing along: its future is
//!   [dropped](shm_lib::Acquire#who-waits).
//! - A worker that is killed leaves nothing behind. Workers may be forked after the layer was made, or before.
//! - A worker that is started after somebody has changed the limiter fails with [`Mismatch`](shm_lib::ErrorKind::Mismatch),
//!   unless it opens the limiter with [`OnMismatch::Keep`](shm_lib::OnMismatch::Keep).
//!
//! [tower]: https://docs.rs/tower

#![forbid(unsafe_code)]

mod body;
mod config;
mod fields;
mod future;
mod layer;
mod service;
mod verdict;

pub use body::LimitedBody;
pub use config::{Mode, OnError};
pub use future::ResponseFuture;
pub use layer::RateLimitLayer;
pub use service::Limited;
pub use verdict::{Admitted, Undecided};
