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
//! // In each worker. `Keep` lets a restarted worker accept what `shm-limit set` has changed meanwhile.
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
//! | | |
//! |---|---|
//! | [`RateLimitLayer`] | the layer: limiter, cost of a request, name of the policy; the table of responses |
//! | [`RateLimitLayer::per_key`], [`KeyExtractor`], [`RequestKey`] | limit each client, user or path |
//! | [`ClientIp`], [`PeerIp`], [`ProxyHeader`], [`HeaderKey`], [`OnMissing`], [`PathKey`] | the crate's extractors of keys |
//! | [`Mode`] | reject requests over the limit, or let them wait |
//! | [`OnError`] | fail open or fail closed when the limiter cannot decide |
//! | [`Admitted`], [`Undecided`] | in the extensions of requests and responses: when a request was admitted, or why the limiter could not decide |
//! | [`ResponseFields`] | the values of the response fields, for servers that are not tower services |
//! | [`Limited`], [`ResponseFuture`], [`LimitedBody`] | the service, its future and its body |
//!
//! - `poll_ready` charges nothing; `call` charges the request's cost.
//! - A denied request gets `429 Too Many Requests` with `Retry-After`; see [`RateLimitLayer`].
//! - Responses have the fields `RateLimit` and `RateLimit-Policy` of
//!   [draft-ietf-httpapi-ratelimit-headers-11](https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/).
//! - A limit per key has the parameter `pk` in these fields, which stands for the key and does not reveal it.
//! - If the limiter has permits, a request holds one until the response's body has ended or is dropped.
//! - When a client disconnects while its request waits, the server drops the future: the request leaves the line, and nothing
//!   stays charged ([`Acquire`](shm_lib::Acquire#who-waits); for a key see [`KeyAcquire`](shm_lib::KeyAcquire#who-waits)).
//! - A killed worker leaves nothing behind. Workers may be forked before or after the layer is made.
//! - A worker that starts after an operator has changed the limiter fails with [`Mismatch`](shm_lib::ErrorKind::Mismatch),
//!   unless it opens the limiter with [`OnMismatch::Keep`](shm_lib::OnMismatch::Keep).
//!
//! [tower]: https://docs.rs/tower

#![forbid(unsafe_code)]

mod body;
mod budget;
mod config;
mod fields;
mod future;
mod keys;
mod layer;
mod service;
mod verdict;

pub use body::LimitedBody;
pub use config::{Mode, OnError};
pub use fields::ResponseFields;
pub use future::ResponseFuture;
pub use keys::{ClientIp, HeaderKey, KeyExtractor, OnMissing, PathKey, PeerIp, ProxyHeader, RequestKey};
pub use layer::RateLimitLayer;
pub use service::Limited;
pub use verdict::{Admitted, Undecided};
