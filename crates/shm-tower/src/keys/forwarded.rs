//! The addresses that proxies report in `X-Forwarded-For` and `Forwarded` (RFC 7239), from the right: the last one first, which is
//! the one that the last proxy added. `None` is an entry that is not an address.
//!
//! What the client itself sent is to the left of everything that proxies added. So it must not matter for what stands to its right:
//! an opened quotation mark there, for example, must not swallow the entry of a proxy. Therefore entries are split off from the
//! right, and the walk never goes on behind an entry that it cannot read.

use http::header::FORWARDED;
use http::{HeaderMap, HeaderName};
use std::net::{IpAddr, SocketAddr};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The entries of all `X-Forwarded-For` fields. Empty ones are not counted (RFC 9110, section 5.6.1).
pub(super) fn x_forwarded_for(headers: &HeaderMap) -> impl Iterator<Item = Option<IpAddr>> {
    let fields = headers.get_all(X_FORWARDED_FOR).iter().rev();
    let entries = fields.flat_map(|field| field.as_bytes().rsplit(|&byte| byte == b','));
    entries.map(<[u8]>::trim_ascii).filter(|entry| !entry.is_empty()).map(node)
}

/// The parameter `for` of each element of all `Forwarded` fields.
pub(super) fn forwarded(headers: &HeaderMap) -> impl Iterator<Item = Option<IpAddr>> {
    let fields = headers.get_all(FORWARDED).iter().rev();
    let elements = fields.flat_map(|field| RightSplit::new(field.as_bytes(), b','));
    elements.map(<[u8]>::trim_ascii).filter(|element| !element.is_empty()).map(node_of_element)
}

/// The node that the element names with `for`, if it does so once.
fn node_of_element(element: &[u8]) -> Option<IpAddr> {
    let mut found = None;
    for pair in RightSplit::new(element, b';') {
        let Some(equals) = pair.iter().position(|&byte| byte == b'=') else { continue };
        let (name, value) = (pair[..equals].trim_ascii(), pair[equals + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"for") && found.replace(value).is_some() {
            return None;
        }
    }
    match found? {
        [b'"', quoted @ .., b'"'] => node(&unescaped(quoted)),
        token => node(token),
    }
}

/// The IP address of a node: `192.0.2.7`, `192.0.2.7:4711`, `2001:db8::7`, `[2001:db8::7]`, `[2001:db8::7]:4711`; the port may be
/// obfuscated (`:_x`). It is not an address if it is `unknown`, an obfuscated name, or anything else.
fn node(text: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(text).ok()?;
    let text = match text.rsplit_once(':') {
        Some((node, port)) if port.starts_with('_') => node,
        _ => text,
    };
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let address = match bare {
        Some(v6) => v6.parse().ok().map(IpAddr::V6),
        None => text.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip())),
    };
    address.map(|address| address.to_canonical())
}

/// The content of a quoted string.
fn unescaped(quoted: &[u8]) -> Vec<u8> {
    let mut content = Vec::with_capacity(quoted.len());
    let mut bytes = quoted.iter();
    while let Some(&byte) = bytes.next() {
        content.push(if byte == b'\\' { *bytes.next().unwrap_or(&byte) } else { byte });
    }
    content
}

/// Splits at a separator outside of quoted strings, from the right.
struct RightSplit<'a> {
    rest: Option<&'a [u8]>,
    separator: u8,
}

impl<'a> RightSplit<'a> {
    fn new(bytes: &'a [u8], separator: u8) -> RightSplit<'a> {
        RightSplit { rest: Some(bytes), separator }
    }
}

impl<'a> Iterator for RightSplit<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let bytes = self.rest.take()?;
        let mut is_quoted = false;
        for (i, &byte) in bytes.iter().enumerate().rev() {
            if byte == b'"' && !(is_quoted && is_escaped(&bytes[..i])) {
                is_quoted = !is_quoted;
            } else if byte == self.separator && !is_quoted {
                self.rest = Some(&bytes[..i]);
                return Some(&bytes[i + 1..]);
            }
        }
        Some(bytes)
    }
}

/// Whether the byte after these is escaped: an odd number of backslashes stands before it.
fn is_escaped(before: &[u8]) -> bool {
    before.iter().rev().take_while(|&&byte| byte == b'\\').count() % 2 == 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn headers(name: HeaderName, values: &[&[u8]]) -> HeaderMap {
        values.iter().map(|value| (name.clone(), HeaderValue::from_bytes(value).unwrap())).collect()
    }

    fn texts(entries: impl Iterator<Item = Option<IpAddr>>) -> Vec<String> {
        entries.map(|entry| entry.map_or("-".to_owned(), |address| address.to_string())).collect()
    }

    fn list(values: &[&str]) -> Vec<String> {
        let values: Vec<&[u8]> = values.iter().map(|value| value.as_bytes()).collect();
        texts(x_forwarded_for(&headers(X_FORWARDED_FOR, &values)))
    }

    fn elements(values: &[&str]) -> Vec<String> {
        let values: Vec<&[u8]> = values.iter().map(|value| value.as_bytes()).collect();
        texts(forwarded(&headers(FORWARDED, &values)))
    }

    #[test]
    fn x_forwarded_for_is_read_from_the_right_over_all_fields() {
        assert_eq!(
            list(&["192.0.2.1, 192.0.2.2", "", " 192.0.2.3 ,, 192.0.2.4,"]),
            ["192.0.2.4", "192.0.2.3", "192.0.2.2", "192.0.2.1"]
        );
        assert_eq!(list(&[]), [""; 0]);
    }

    #[test]
    fn nodes_have_many_forms() {
        assert_eq!(
            list(&[
                "192.0.2.7:4711, 2001:DB8::7, [2001:db8::8], [2001:db8::9]:80, ::ffff:192.0.2.9, 192.0.2.10:_port"
            ]),
            ["192.0.2.10", "192.0.2.9", "2001:db8::9", "2001:db8::8", "2001:db8::7", "192.0.2.7"]
        );
        for garbage in [
            "unknown",
            "_hidden",
            "1.2.3",
            "1.2.3.4.5",
            "1.2.3.4:",
            "1.2.3.4:99999",
            "01.2.3.4",
            "[1.2.3.4]",
            "[::1",
            "::1]",
            "[]",
            "[",
            ":",
            "fe80::1%eth0",
            "1.2.3.4 5.6.7.8",
            "\"1.2.3.4\"",
            "for=1.2.3.4",
            "\u{e9}",
        ] {
            assert_eq!(list(&[garbage]), ["-"], "{garbage}");
        }
    }

    #[test]
    fn forwarded_has_elements_of_pairs() {
        assert_eq!(
            elements(&[
                r#"for=192.0.2.43;proto=https, For="[2001:db8:cafe::17]:4711""#,
                r#"by=10.0.0.1 ; FOR=192.0.2.60;host="a,b;for=9.9.9.9""#,
            ]),
            ["192.0.2.60", "2001:db8:cafe::17", "192.0.2.43"]
        );
        assert_eq!(elements(&[r#"for="192\.0.2.1""#, "for=\"[::1]:_x\""]), ["::1", "192.0.2.1"]);
        for garbage in [
            "for=unknown",
            "for=_mdn",
            "for=",
            "for",
            "=",
            "proto=https",
            "for=\"",
            "for=\"\"",
            "for=1.2.3.4;for=5.6.7.8",
            "for=\"1.2.3.4",
            "for=1.2.3.4\"",
        ] {
            assert_eq!(elements(&[garbage]), ["-"], "{garbage}");
        }
    }

    /// The element of a proxy stands to the right of what the client sent.
    #[test]
    fn what_the_client_sent_does_not_change_the_element_of_the_proxy() {
        for sent in
            ["for=\"1.2.3.4", "\"", "for=\"1.2.3.4\\", "\\\"", "for=\"a,b", "a\"b\"c\"", ";;;=\"\"\"", "\\"]
        {
            for added in [
                "for=192.0.2.60",
                "for=\"[2001:db8::1]\"",
                r#"host="\"";for=192.0.2.60"#,
                r#"host="x\\";for=192.0.2.60"#,
                r#"for=192.0.2.60;host="a\\\",for=9.9.9.9""#,
                r#"for=192.0.2.60;host="\\\\""#,
            ] {
                let found = elements(&[&format!("{sent}, {added}")]);
                assert_eq!(found[0], elements(&[added])[0], "{sent} and {added}");
                assert_ne!(found[0], "-");
            }
        }
    }

    /// All short sequences of the bytes that mean something, and of some that do not: none panics, and none changes what stands to
    /// its right.
    #[test]
    fn no_bytes_panic_or_change_the_entry_of_the_proxy() {
        let alphabet = b"for=\"\\,;:[]._1 \xff";
        let added = "192.0.2.60".parse().ok();
        let mut sequences: Vec<Vec<u8>> = vec![Vec::new()];
        for _ in 0..3 {
            let longer = |sequence: &Vec<u8>| -> Vec<Vec<u8>> {
                alphabet.iter().map(|&byte| [&sequence[..], &[byte]].concat()).collect()
            };
            sequences = sequences.iter().flat_map(longer).collect();
            for bytes in &sequences {
                for sent in [bytes, &[b"for=", &bytes[..]].concat()] {
                    assert!(x_forwarded_for(&headers(X_FORWARDED_FOR, &[sent])).count() <= 4);
                    assert!(forwarded(&headers(FORWARDED, &[sent])).count() <= 4);
                    let list = [sent, &b", 192.0.2.60"[..]].concat();
                    assert_eq!(x_forwarded_for(&headers(X_FORWARDED_FOR, &[&list])).next(), Some(added));
                    let elements = [sent, &b", host=\"\\\"\";for=\"192.0.2.60:1\""[..]].concat();
                    assert_eq!(forwarded(&headers(FORWARDED, &[&elements])).next(), Some(added), "{sent:?}");
                }
            }
        }
    }
}
