//! A key: what a limiter with limits per key counts by.

use shm_core::KeyOf;
use std::fmt::{self, Write};
use std::net::IpAddr;

/// A key of a [`KeyedRateLimit`](crate::KeyedRateLimit): a user, an address, a token.
///
/// Any bytes are a key: `limit.key("alice")`, `limit.key(&token)`. A number or an IP address counts as its usual text, so that shell
/// scripts and programs in other languages can name the same key: the number 42 and the text `42` are one key.
/// A tuple is a key of several parts: `("ab", "c")` and `("a", "bc")` are different keys.
///
/// ```
/// use shm_lib::Key;
/// use std::net::IpAddr;
///
/// let keys = [
///     Key::from("alice"),
///     Key::from(42_u64),
///     Key::from(("alice", "/login")),
///     Key::from("2001:db8:0:0::7".parse::<IpAddr>().unwrap()),
///     Key::network("2001:db8:0:0::7".parse().unwrap(), 64),
/// ];
/// let texts = ["alice", "42", "alice + /login", "2001:db8::7", "2001:db8::/64"];
/// assert_eq!(keys.map(|key| key.to_string()), texts);
/// ```
///
/// In memory a key is borrowed or a short text; only keys of several parts allocate. In the limiter's file a key is a hash, under
/// a random key of the file. (The names of denied keys are kept, in a small sample: see [`KeyedBuilder::hide_names`].)
///
/// [`KeyedBuilder::hide_names`]: crate::KeyedBuilder::hide_names
#[derive(Clone)]
pub struct Key<'a>(Content<'a>);

#[derive(Clone)]
enum Content<'a> {
    Bytes(&'a [u8]),
    Text(ShortText),
    /// Parts, none of which has parts.
    Parts(Vec<Key<'a>>),
    /// A key for each limit.
    Each(Vec<Key<'a>>),
}

/// A text of at most this many bytes: the longest is an IPv6 address with the length of a prefix.
const SHORT: usize = 43;

#[derive(Clone)]
struct ShortText {
    bytes: [u8; SHORT],
    len: u8,
}

impl ShortText {
    fn of(text: fmt::Arguments<'_>) -> ShortText {
        let mut short = ShortText { bytes: [0; SHORT], len: 0 };
        let written = short.write_fmt(text);
        debug_assert!(written.is_ok());
        short
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl Write for ShortText {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let start = usize::from(self.len);
        let to = self.bytes.get_mut(start..start + text.len()).ok_or(fmt::Error)?;
        to.copy_from_slice(text.as_bytes());
        self.len += text.len() as u8;
        Ok(())
    }
}

impl<'a> Key<'a> {
    /// The network of an IP address: the first `prefix` bits of an IPv6 address, in the form `2001:db8::/64`, or a whole IPv4
    /// address. (An IPv6 address alone is a poor key: a host can choose from at least 2^64 of them.) An IPv4 address in IPv6 form
    /// (`::ffff:192.0.2.7`) is an IPv4 address.
    pub fn network(address: IpAddr, prefix: u8) -> Key<'static> {
        match address.to_canonical() {
            IpAddr::V6(v6) if prefix < 128 => {
                let shift = 128 - u32::from(prefix);
                let network = u128::from(v6).checked_shr(shift).and_then(|bits| bits.checked_shl(shift));
                let network = IpAddr::from(network.unwrap_or(0).to_be_bytes());
                Key(Content::Text(ShortText::of(format_args!("{network}/{prefix}"))))
            }
            whole => Key(Content::Text(ShortText::of(format_args!("{whole}")))),
        }
    }

    /// The networks of an IP address with these prefixes, one for each limit per key of the limiter: for example /64, /56 and /48,
    /// each with its own limit. All of them admit a request, or it is denied. Without a prefix, the key is the whole address. See
    /// [`network`](Self::network).
    ///
    /// ```
    /// # fn main() -> shm_lib::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use shm_lib::{Key, KeyedRateLimit, Limit, Rate};
    ///
    /// let per_second = |n| Limit::token_bucket(Rate::per_second(n)?);
    /// let limit = KeyedRateLimit::builder("clients").burst(5).and(per_second(20)?).and(per_second(100)?);
    /// let limit = limit.directory(dir.path()).open_rate(Rate::per_second(5)?)?;
    /// let host = |n: u16| Key::networks([0x2001, 0xdb8, 0, n, 0, 0, 0, 1].into(), &[64, 56, 48]);
    /// let admitted = (0..30).filter(|&n| limit.key(host(n)).try_acquire(1).is_ok_and(|outcome| outcome.is_admitted())).count();
    /// assert_eq!(admitted, 20, "all are in one /56");
    /// # Ok(())
    /// # }
    /// ```
    pub fn networks(address: IpAddr, prefixes: &[u8]) -> Key<'static> {
        match prefixes {
            [] => Key::network(address, 128),
            _ => Key::each(prefixes.iter().map(|&prefix| Key::network(address, prefix))),
        }
    }

    /// A key for each limit per key of the limiter, in order. If the limiter has more limits, the last key counts for the rest. A
    /// key that is itself one for each limit counts for its place. A request with more keys than the limiter has limits is an
    /// error, and so is one with none.
    pub fn each(keys: impl IntoIterator<Item = Key<'a>>) -> Key<'a> {
        let of_place = |(index, key): (usize, Key<'a>)| match &key.0 {
            Content::Each(_) => key.of_limit(index).clone(),
            _ => key,
        };
        Key(Content::Each(keys.into_iter().enumerate().map(of_place).collect()))
    }

    /// A key of these parts. If a part is a key for each limit ([`each`](Self::each), [`networks`](Self::networks)), so is the
    /// whole: its key for a limit has that part's key for the limit.
    ///
    /// ```
    /// use shm_lib::Key;
    ///
    /// let networks = Key::networks([0x2001, 0xdb8, 0, 1, 0, 0, 0, 1].into(), &[64, 48]);
    /// let key = Key::of_parts([networks, Key::from("/login")]);
    /// let of_limit = |prefix| Key::of_parts([Key::network([0x2001, 0xdb8, 0, 1, 0, 0, 0, 1].into(), prefix), Key::from("/login")]);
    /// assert_eq!(key, Key::each([of_limit(64), of_limit(48)]));
    /// ```
    pub fn of_parts(parts: impl IntoIterator<Item = Key<'a>>) -> Key<'a> {
        let parts: Vec<Key<'a>> = parts.into_iter().collect();
        let count_of = |part: &Key<'a>| match &part.0 {
            Content::Each(keys) => Some(keys.len()),
            _ => None,
        };
        match parts.iter().filter_map(count_of).max() {
            None => Key::joined(parts),
            Some(limits) => Key::each(
                (0..limits).map(|index| Key::joined(parts.iter().map(|part| part.of_limit(index).clone()))),
            ),
        }
    }

    /// The key for limit `index`, of a key for each limit; otherwise this key.
    fn of_limit(&self, index: usize) -> &Key<'a> {
        match &self.0 {
            Content::Each(keys) => keys.get(index).or(keys.last()).unwrap_or(self),
            _ => self,
        }
    }

    /// A key of these parts, and of the parts of those that have some.
    fn joined(parts: impl IntoIterator<Item = Key<'a>>) -> Key<'a> {
        let mut all = Vec::new();
        for part in parts {
            match part.0 {
                Content::Parts(parts) => all.extend(parts),
                _ => all.push(part),
            }
        }
        Key(Content::Parts(all))
    }

    /// The bytes of a key of one part.
    fn bytes(&self) -> &[u8] {
        match &self.0 {
            Content::Bytes(bytes) => bytes,
            Content::Text(text) => text.bytes(),
            Content::Parts(_) | Content::Each(_) => &[],
        }
    }

    /// The bytes of a key that has one part, for all limits.
    pub(super) fn single(&self) -> Option<&[u8]> {
        match &self.0 {
            Content::Bytes(_) | Content::Text(_) => Some(self.bytes()),
            Content::Parts(_) | Content::Each(_) => None,
        }
    }

    fn parts(&self) -> Vec<&[u8]> {
        match &self.0 {
            Content::Parts(parts) => parts.iter().map(Key::bytes).collect(),
            _ => vec![self.bytes()],
        }
    }

    /// Passes on the key in the form of a request.
    #[inline]
    pub(crate) fn with<T>(&self, use_it: impl FnOnce(KeyOf<'_>) -> T) -> T {
        match &self.0 {
            Content::Bytes(bytes) => use_it(KeyOf::All(&[bytes])),
            Content::Text(text) => use_it(KeyOf::All(&[text.bytes()])),
            Content::Parts(_) => use_it(KeyOf::All(&self.parts())),
            Content::Each(keys) => {
                let keys: Vec<Vec<&[u8]>> = keys.iter().map(Key::parts).collect();
                use_it(KeyOf::Each(&keys.iter().map(Vec::as_slice).collect::<Vec<_>>()))
            }
        }
    }

    /// The same key with bytes of its own.
    pub fn into_owned(self) -> OwnedKey {
        OwnedKey(self.owned_parts())
    }

    fn owned_parts(&self) -> Owned {
        match &self.0 {
            Content::Each(keys) => Owned::Each(keys.iter().map(Key::owned_parts).collect()),
            Content::Parts(parts) => match &parts[..] {
                // It counts as that part.
                [part] => Owned::Bytes(part.bytes().into()),
                parts => Owned::Parts(parts.iter().map(|part| part.bytes().into()).collect()),
            },
            _ => Owned::Bytes(self.bytes().into()),
        }
    }
}

/// Keys are equal if they are the same key for a limiter, in whatever way they were made.
impl PartialEq for Key<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Content::Each(keys), Content::Each(others)) => keys == others,
            (Content::Each(_), _) | (_, Content::Each(_)) => false,
            _ => self.parts() == other.parts(),
        }
    }
}

impl Eq for Key<'_> {}

/// A key with bytes of its own, for a caller that waits or to be kept: `Key::from(&owned)` is the key again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OwnedKey(Owned);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Owned {
    Bytes(Box<[u8]>),
    Parts(Vec<Box<[u8]>>),
    Each(Vec<Owned>),
}

impl<'a> From<&'a OwnedKey> for Key<'a> {
    fn from(key: &'a OwnedKey) -> Key<'a> {
        fn borrowed(owned: &Owned) -> Key<'_> {
            Key(match owned {
                Owned::Bytes(bytes) => Content::Bytes(bytes),
                Owned::Parts(parts) => {
                    Content::Parts(parts.iter().map(|part| Key(Content::Bytes(part))).collect())
                }
                Owned::Each(keys) => Content::Each(keys.iter().map(borrowed).collect()),
            })
        }
        borrowed(&key.0)
    }
}

/// Its parts, separated by ` + `. Bytes that are not UTF-8 are replaced.
impl fmt::Display for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Content::Parts(keys) | Content::Each(keys) => {
                for (i, key) in keys.iter().enumerate() {
                    write!(f, "{}{key}", if i > 0 { " + " } else { "" })?;
                }
                Ok(())
            }
            _ => f.write_str(&String::from_utf8_lossy(self.bytes())),
        }
    }
}

impl fmt::Debug for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:?})", self.to_string())
    }
}

/// Any bytes.
impl<'a, T: AsRef<[u8]> + ?Sized> From<&'a T> for Key<'a> {
    #[inline]
    fn from(bytes: &'a T) -> Key<'a> {
        Key(Content::Bytes(bytes.as_ref()))
    }
}

/// The address as a text (RFC 5952). An IPv4 address in IPv6 form is an IPv4 address.
impl From<IpAddr> for Key<'_> {
    fn from(address: IpAddr) -> Self {
        Key(Content::Text(ShortText::of(format_args!("{}", address.to_canonical()))))
    }
}

macro_rules! numbers {
    ($($type:ty),*) => {$(
        /// The number in decimal digits.
        impl From<$type> for Key<'_> {
            fn from(number: $type) -> Self {
                Key(Content::Text(ShortText::of(format_args!("{number}"))))
            }
        }
    )*};
}

numbers!(u8, u16, u32, u64, u128, usize, i8, i16, i32, i64, i128, isize);

macro_rules! tuples {
    ($(($($part:ident)+))*) => {$(
        /// A key of several parts.
        impl<'a, $($part: Into<Key<'a>>),+> From<($($part,)+)> for Key<'a> {
            #[allow(non_snake_case)]
            fn from(($($part,)+): ($($part,)+)) -> Key<'a> {
                Key::of_parts([$($part.into()),+])
            }
        }
    )*};
}

tuples! { (A B) (A B C) (A B C D) }

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(key: &Key<'_>) -> Vec<Vec<String>> {
        let text =
            |parts: &[&[u8]]| parts.iter().map(|part| String::from_utf8_lossy(part).into_owned()).collect();
        key.with(|key| match key {
            KeyOf::All(parts) => vec![text(parts)],
            KeyOf::Each(keys) => keys.iter().map(|parts| text(parts)).collect(),
        })
    }

    #[test]
    fn a_key_equals_itself_in_every_form() {
        let address: IpAddr = "192.0.2.7".parse().unwrap();
        for (one, other) in [
            (Key::from(42_u64), Key::from("42")),
            (Key::from(address), Key::from("192.0.2.7")),
            (Key::of_parts([Key::from("a")]), Key::from("a")),
            (Key::networks(address, &[]), Key::from(address)),
        ] {
            assert_eq!(one, other);
            assert_eq!(one.into_owned(), other.into_owned());
        }
        assert_ne!(Key::from(("ab", "c")), Key::from(("a", "bc")));
        assert_ne!(Key::each([Key::from("a")]), Key::from("a"));
    }

    #[test]
    fn equal_values_are_equal_keys_in_every_form() {
        let v6: IpAddr = "2001:DB8:0:0:0:0:0:1".parse().unwrap();
        let mapped: IpAddr = "::ffff:192.0.2.7".parse().unwrap();
        for (key, text) in [
            (Key::from(&b"bytes"[..]), "bytes"),
            (Key::from(&String::from("text")), "text"),
            (Key::from(u128::MAX), "340282366920938463463374607431768211455"),
            (Key::from(i128::MIN), "-170141183460469231731687303715884105728"),
            (Key::from(v6), "2001:db8::1"),
            (Key::from(mapped), "192.0.2.7"),
            (Key::network(mapped, 64), "192.0.2.7"),
            (Key::network(v6, 128), "2001:db8::1"),
            (Key::network(v6, 48), "2001:db8::/48"),
            (Key::network(v6, 0), "::/0"),
            (
                Key::network("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff".parse().unwrap(), 127),
                "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe/127",
            ),
        ] {
            assert_eq!(parts(&key), [[text]]);
            let owned = key.clone().into_owned();
            assert_eq!(parts(&Key::from(&owned)), [[text]]);
        }
    }

    #[test]
    fn a_tuple_has_parts_and_an_address_has_networks() {
        let key = Key::from(("alice", 7, ("a", "b")));
        assert_eq!(parts(&key), [["alice", "7", "a", "b"]]);
        assert_eq!(key.to_string(), "alice + 7 + a + b");
        let networks = Key::networks("2001:db8:1:2ff::9".parse().unwrap(), &[64, 56, 48]);
        assert_eq!(parts(&networks), [["2001:db8:1:2ff::/64"], ["2001:db8:1:200::/56"], ["2001:db8:1::/48"]]);
        let owned = networks.clone().into_owned();
        assert_eq!(parts(&Key::from(&owned)), parts(&networks));
        assert_ne!(owned, key.into_owned());
    }

    #[test]
    fn a_key_for_each_limit_within_another_counts_for_its_place() {
        let networks = Key::networks("2001:db8:1:2ff::9".parse().unwrap(), &[64, 48]);
        let key = Key::each([Key::from("a"), networks.clone(), networks]);
        assert_eq!(parts(&key), [["a"], ["2001:db8:1::/48"], ["2001:db8:1::/48"]]);
    }

    #[test]
    fn parts_beside_networks_count_for_each_network() {
        let networks = Key::networks("2001:db8:1:2ff::9".parse().unwrap(), &[64, 48]);
        let key = Key::from((networks, "/login", (1, 2)));
        let of_limit = |network| [network, "/login", "1", "2"].map(str::to_owned).to_vec();
        assert_eq!(parts(&key), [of_limit("2001:db8:1:2ff::/64"), of_limit("2001:db8:1::/48")]);
        let owned = key.clone().into_owned();
        assert_eq!(parts(&Key::from(&owned)), parts(&key));
    }
}
