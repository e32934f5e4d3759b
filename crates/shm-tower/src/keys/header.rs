//! The value of a header as a key.

use super::{KeyExtractor, RequestKey};
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderName, StatusCode};

/// What happens to a request that lacks the header of a [`HeaderKey`], or has it without a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnMissing {
    /// It gets this status, for example `401 Unauthorized`.
    Refuse(StatusCode),
    /// All such requests share one key.
    ShareKey,
    /// It takes only from the limits of all keys, if the limiter has some.
    Exempt,
}

/// The value of a header, such as an API token: each value has a budget. A request that has the header several times gets
/// `400 Bad Request`, since the service behind could read another value than the layer.
///
/// - The value counts byte by byte. If several spellings mean the same, use [`bearer`](Self::bearer) or a closure.
/// - A client that invents values gets a new budget with each. So put the layer behind the authentication, or limit by
///   [`ClientIp`](super::ClientIp) as well.
/// - Responses do not reveal the value (see [`RateLimitLayer::per_key`](crate::RateLimitLayer::per_key)). The limiter's file has a
///   sample of the keys that are denied most: for secrets, open it with
///   [`hide_names`](shm_lib::KeyedBuilder::hide_names).
///
/// ```
/// use http::{HeaderName, StatusCode};
/// use shm_tower::{HeaderKey, OnMissing};
///
/// let per_user = HeaderKey::new(HeaderName::from_static("x-api-key"), OnMissing::Refuse(StatusCode::UNAUTHORIZED));
/// let per_token = HeaderKey::bearer(OnMissing::ShareKey);
/// # let _ = (per_user, per_token);
/// ```
#[derive(Clone, Debug)]
pub struct HeaderKey {
    name: HeaderName,
    is_bearer: bool,
    on_missing: OnMissing,
}

impl HeaderKey {
    /// The value of this header.
    pub fn new(name: HeaderName, on_missing: OnMissing) -> HeaderKey {
        HeaderKey { name, is_bearer: false, on_missing }
    }

    /// The token in `Authorization: Bearer TOKEN`. The upper and lower case of the word `Bearer` and the number of spaces do not
    /// matter. Another scheme counts as missing.
    pub fn bearer(on_missing: OnMissing) -> HeaderKey {
        HeaderKey { name: AUTHORIZATION, is_bearer: true, on_missing }
    }

    fn value<'v>(&self, field: &'v [u8]) -> &'v [u8] {
        const SCHEME: usize = "Bearer ".len();
        match field.trim_ascii() {
            value if !self.is_bearer => value,
            value if value.len() > SCHEME && value[..SCHEME].eq_ignore_ascii_case(b"bearer ") => {
                value[SCHEME..].trim_ascii()
            }
            _ => b"",
        }
    }
}

impl KeyExtractor for HeaderKey {
    fn extract(&self, request: &Parts) -> RequestKey {
        let mut fields = request.headers.get_all(&self.name).iter();
        let value = self.value(fields.next().map_or(b"", |field| field.as_bytes()));
        if fields.next().is_some() {
            return RequestKey::Refused(StatusCode::BAD_REQUEST);
        }
        match self.on_missing {
            _ if !value.is_empty() => RequestKey::of(value),
            // No value is the empty key.
            OnMissing::ShareKey => RequestKey::of(""),
            OnMissing::Refuse(status) => RequestKey::Refused(status),
            OnMissing::Exempt => RequestKey::Exempt,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderValue, Request};

    const REFUSE: OnMissing = OnMissing::Refuse(StatusCode::UNAUTHORIZED);

    fn key(extractor: &HeaderKey, values: &[&[u8]]) -> RequestKey {
        let mut request = Request::new(());
        for value in values {
            request.headers_mut().append(extractor.name.clone(), HeaderValue::from_bytes(value).unwrap());
        }
        extractor.extract(&request.into_parts().0)
    }

    #[test]
    fn the_value_is_the_key() {
        let token = HeaderKey::new(HeaderName::from_static("x-api-key"), REFUSE);
        assert_eq!(key(&token, &[b"abc"]), RequestKey::of("abc"));
        assert_eq!(key(&token, &[b"Bearer abc"]), RequestKey::of("Bearer abc"));
        assert_eq!(key(&token, &[b"\xff"]), RequestKey::of(b"\xff"));
    }

    #[test]
    fn every_spelling_of_a_bearer_token_is_one_key() {
        let bearer = HeaderKey::bearer(REFUSE);
        for value in [&b"Bearer abc"[..], b"bearer abc", b"BEARER   abc", b" Bearer abc "] {
            assert_eq!(key(&bearer, &[value]), RequestKey::of("abc"));
        }
        for other in [
            &b"Basic abc"[..],
            b"Bearer",
            b"Bearer ",
            b"Bearerabc",
            b"abc",
            b"\xff\xff\xff\xff\xff\xff\xff\xff",
        ] {
            assert_eq!(key(&bearer, &[other]), RequestKey::Refused(StatusCode::UNAUTHORIZED));
        }
    }

    #[test]
    fn a_missing_value_is_refused_shared_or_exempt() {
        for (on_missing, expected) in [
            (REFUSE, RequestKey::Refused(StatusCode::UNAUTHORIZED)),
            (OnMissing::ShareKey, RequestKey::of("")),
            (OnMissing::Exempt, RequestKey::Exempt),
        ] {
            let token = HeaderKey::new(HeaderName::from_static("x-api-key"), on_missing);
            assert_eq!(key(&token, &[]), expected);
            assert_eq!(key(&token, &[b""]), expected);
        }
    }

    #[test]
    fn a_repeated_header_is_refused() {
        for on_missing in [REFUSE, OnMissing::ShareKey, OnMissing::Exempt] {
            let token = HeaderKey::new(HeaderName::from_static("x-api-key"), on_missing);
            for values in [[&b"a"[..], b"b"], [b"", b"b"], [b"a", b"a"]] {
                assert_eq!(key(&token, &values), RequestKey::Refused(StatusCode::BAD_REQUEST));
            }
        }
    }
}
