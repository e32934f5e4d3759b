//! The normalised path as a key.

use super::{KeyExtractor, RequestKey};
use http::request::Parts;

/// The path of a request: each path has a budget. Spellings that a service might treat alike are one path:
///
/// 1. The query is left out.
/// 2. Each percent-encoded byte is decoded, once. (A `%` without two hexadecimal digits stays.)
/// 3. Empty segments and `.` are left out, and `..` removes the segment before it; so `//` and a slash at the end do not count.
///
/// Upper and lower case count. All paths of a route with parameters (`/users/7`, `/users/8`) are different keys: for one budget per
/// route, use a closure that returns what your router has matched (in axum, the extension `MatchedPath`). A client that invents
/// paths has a new budget with each: so combine the path with [`ClientIp`](super::ClientIp) only if the number of paths is
/// limited, and set a limit of all keys.
///
/// ```
/// use shm_tower::{KeyExtractor, PathKey, RequestKey};
///
/// let (request, ()) = http::Request::get("//api/./v1/..%2fv2/us%65rs/?page=2").body(()).unwrap().into_parts();
/// assert_eq!(PathKey.extract(&request), RequestKey::of("/api/v2/users"));
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct PathKey;

impl KeyExtractor for PathKey {
    fn extract(&self, request: &Parts) -> RequestKey {
        RequestKey::of(&normalised(request.uri.path().as_bytes()))
    }
}

fn normalised(path: &[u8]) -> Vec<u8> {
    let decoded = decoded(path);
    let mut segments: Vec<&[u8]> = Vec::new();
    for segment in decoded.split(|&byte| byte == b'/') {
        match segment {
            b"" | b"." => {}
            b".." => drop(segments.pop()),
            _ => segments.push(segment),
        }
    }
    [&b"/"[..], &segments.join(&b'/')].concat()
}

fn decoded(path: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path;
    while let [byte, after @ ..] = rest {
        let digits = match rest {
            [b'%', high, low, ..] => digit(*high).zip(digit(*low)),
            _ => None,
        };
        match digits {
            Some((high, low)) => {
                decoded.push(high << 4 | low);
                rest = &rest[3..];
            }
            None => {
                decoded.push(*byte);
                rest = after;
            }
        }
    }
    decoded
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_a_path_are_one_key() {
        for (path, key) in [
            ("/a/b", "/a/b"),
            ("/a/b/", "/a/b"),
            ("//a///b//", "/a/b"),
            ("/a/./b/.", "/a/b"),
            ("/a/x/../b", "/a/b"),
            ("/../../a/b", "/a/b"),
            ("/%61/%62", "/a/b"),
            ("/a%2Fb", "/a/b"),
            ("/a%2fb", "/a/b"),
            ("/x/%2e%2E/a/b", "/a/b"),
            ("a/b", "/a/b"),
            ("", "/"),
            ("/", "/"),
            ("/..", "/"),
            ("/A/b", "/A/b"),
            ("/a/%2561", "/a/%61"),
            ("/%", "/%"),
            ("/%4", "/%4"),
            ("/%zz%61", "/%zza"),
            ("/%+1", "/%+1"),
            ("*", "/*"),
        ] {
            assert_eq!(String::from_utf8(normalised(path.as_bytes())).unwrap(), key, "{path}");
        }
        assert_eq!(normalised(b"/%ff\xfe"), b"/\xff\xfe");
    }

    #[test]
    fn the_query_does_not_count() {
        let (request, ()) = http::Request::get("/a?b=/c").body(()).unwrap().into_parts();
        assert_eq!(PathKey.extract(&request), RequestKey::of("/a"));
    }
}
