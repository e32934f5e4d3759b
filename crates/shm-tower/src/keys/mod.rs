//! Which key a request has.
//!
//! | file | content |
//! |---|---|
//! | `mod` | what an extractor is, closures, and two extractors as one |
//! | `client_ip` | the client's IP address |
//! | `forwarded` | the addresses in `X-Forwarded-For` and `Forwarded`, from the right |
//! | `networks` | the networks of trusted proxies |
//! | `header` | the value of a header, such as an API token |
//! | `path` | the normalised path |

mod client_ip;
mod forwarded;
mod header;
mod networks;
mod path;

pub use client_ip::{ClientIp, PeerIp, ProxyHeader};
pub use header::{HeaderKey, OnMissing};
pub use path::PathKey;

use http::StatusCode;
use http::request::Parts;
use shm_lib::{Key, OwnedKey};

/// Finds the key of a request, for [`RateLimitLayer::per_key`](crate::RateLimitLayer::per_key).
///
/// The crate has [`ClientIp`], [`HeaderKey`] and [`PathKey`]. A closure is an extractor, too, and so is a pair of extractors: its
/// key has the parts of both. In a pair, the first extractor that finds no key decides what happens to the request.
///
/// ```
/// use http::request::Parts;
/// use shm_tower::{ClientIp, KeyExtractor, PathKey, RequestKey};
///
/// // Each client has a budget for each path.
/// let per_client_and_path = (ClientIp::new(), PathKey);
///
/// // Each method has a budget; `OPTIONS` is not limited.
/// let per_method = |request: &Parts| match request.method {
///     http::Method::OPTIONS => RequestKey::Exempt,
///     ref method => RequestKey::of(method.as_str()),
/// };
/// # fn check(_: impl KeyExtractor, _: impl KeyExtractor) {}
/// # check(per_client_and_path, per_method);
/// ```
///
/// A value that a client can choose freely is not a good key by itself: with each new key, the client gets a new budget and takes
/// room in the limiter's table.
pub trait KeyExtractor: Send + Sync + 'static {
    /// The key of this request.
    fn extract(&self, request: &Parts) -> RequestKey;
}

/// What a [`KeyExtractor`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RequestKey {
    /// The request takes from the budget of this key.
    Limited(OwnedKey),
    /// The request has no key and needs none: it takes only from the limits of all keys, if the limiter has some.
    Exempt,
    /// The request is answered with this status and an empty body, and takes from no budget.
    Refused(StatusCode),
    /// The service lacks what the extractor needs. The request gets `500 Internal Server Error`, with this reason in the response's
    /// [`Undecided`](crate::Undecided).
    Misconfigured(String),
}

impl RequestKey {
    /// The request takes from the budget of this key: text, bytes, a number, an IP address, or a tuple of these.
    ///
    /// ```
    /// use shm_lib::Key;
    /// use shm_tower::RequestKey;
    ///
    /// let key = RequestKey::of(("alice", 7));
    /// assert_eq!(key, RequestKey::Limited(Key::from(("alice", 7)).into_owned()));
    /// ```
    pub fn of<'k>(key: impl Into<Key<'k>>) -> RequestKey {
        RequestKey::Limited(key.into().into_owned())
    }
}

/// A closure.
impl<F> KeyExtractor for F
where
    F: Fn(&Parts) -> RequestKey + Send + Sync + 'static,
{
    fn extract(&self, request: &Parts) -> RequestKey {
        self(request)
    }
}

/// A key that has the parts of both. If one of them is a key for each limit (several prefixes of an IPv6 address), the other counts
/// for each limit.
impl<A: KeyExtractor, B: KeyExtractor> KeyExtractor for (A, B) {
    fn extract(&self, request: &Parts) -> RequestKey {
        let first = match self.0.extract(request) {
            RequestKey::Limited(key) => key,
            none => return none,
        };
        match self.1.extract(request) {
            RequestKey::Limited(second) => RequestKey::of((&first, &second)),
            none => none,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn request() -> Parts {
        Request::builder().uri("/a").body(()).unwrap().into_parts().0
    }

    #[test]
    fn a_pair_has_the_parts_of_both_keys() {
        let pair = (|_: &Parts| RequestKey::of("ab"), |_: &Parts| RequestKey::of(7));
        assert_eq!(pair.extract(&request()), RequestKey::of(("ab", 7)));
        let nested = (pair, PathKey);
        assert_eq!(nested.extract(&request()), RequestKey::of(("ab", 7, "/a")));
    }

    #[test]
    fn a_pair_combines_each_network_with_the_other_part() {
        let networks =
            |_: &Parts| RequestKey::of(Key::networks([0x2001, 0xdb8, 1, 2, 3, 4, 5, 6].into(), &[64, 48]));
        let part = |text: &'static str| Key::from((text, "/a"));
        let expected = Key::each([part("2001:db8:1:2::/64"), part("2001:db8:1::/48")]);
        assert_eq!((networks, PathKey).extract(&request()), RequestKey::of(expected));
    }

    #[test]
    fn in_a_pair_the_first_extractor_without_a_key_decides() {
        let refused = |_: &Parts| RequestKey::Refused(StatusCode::UNAUTHORIZED);
        let exempt = |_: &Parts| RequestKey::Exempt;
        assert_eq!((PathKey, refused).extract(&request()), RequestKey::Refused(StatusCode::UNAUTHORIZED));
        assert_eq!((refused, exempt).extract(&request()), RequestKey::Refused(StatusCode::UNAUTHORIZED));
        assert_eq!((exempt, refused).extract(&request()), RequestKey::Exempt);
    }
}
