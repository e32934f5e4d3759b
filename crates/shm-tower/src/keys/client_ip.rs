//! The client's IP address as a key.

use super::networks::Networks;
use super::{KeyExtractor, RequestKey, forwarded};
use http::request::Parts;
use http::{Extensions, HeaderMap};
use shm_lib::{Key, Result};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// An extension of requests: the IP address of the peer of the request's connection. The server inserts it, for [`ClientIp::new`].
/// For a connection over a Unix socket, insert a loopback address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerIp(pub IpAddr);

/// The header in which trusted proxies report the address of their peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProxyHeader {
    /// `X-Forwarded-For`: a list of addresses, each with or without a port.
    XForwardedFor,
    /// `Forwarded` (RFC 7239): the parameter `for` of each element.
    Forwarded,
}

/// The client's IP address: each IPv4 address and each IPv6 network of 64 bits has a budget.
///
/// # Which address is the client's
/// By default, the client is the peer of the connection, and headers are ignored. Behind [trusted proxies](Self::trusted_proxies):
///
/// - If the peer is not trusted, it is the client, and its headers are ignored.
/// - Otherwise the addresses in the header are read from the right, and the first one that is not trusted is the client.
/// - If all of them are trusted, the leftmost one is the client; without the header, the peer is. If an entry is not an address
///   (`unknown`, an obfuscated name, garbage), the client is the address to its right: the proxy that reported it.
///
/// So a client cannot choose its key: what it sends in the header is to the left of the address that a trusted proxy added. This
/// requires that
///
/// - only proxies are trusted, since a trusted host can name any client. Trust a network only if all its hosts are proxies;
/// - each of them adds the address of its peer to the chosen header, as nginx does with `$proxy_add_x_forwarded_for`, or replaces
///   the header. A proxy that adds to one header passes on the other one as the client sent it, so exactly one is read.
///
/// ```
/// # fn main() -> shm_lib::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// use shm_lib::{KeyedRateLimit, Rate};
/// use shm_tower::{ClientIp, Mode, OnError, ProxyHeader, RateLimitLayer};
///
/// let limit = KeyedRateLimit::builder("clients").burst(20).directory(dir.path()).open_rate(Rate::per_second(5)?)?;
/// let client = ClientIp::new().trusted_proxies(ProxyHeader::XForwardedFor, ["127.0.0.1", "10.1.0.0/24"])?;
/// let layer = RateLimitLayer::per_key(limit, client, Mode::Reject, OnError::FailOpen);
/// # let _ = layer;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ClientIp {
    peer: Arc<FindPeer>,
    extension: &'static str,
    header: ProxyHeader,
    trusted: Networks,
    prefixes: Vec<u8>,
}

type FindPeer = dyn Fn(&Extensions) -> Option<IpAddr> + Send + Sync;

impl ClientIp {
    /// The peer's address is in the request's extension [`PeerIp`].
    pub fn new() -> ClientIp {
        ClientIp::from_extension(|peer: &PeerIp| peer.0)
    }

    /// The peer's address is in another extension of the request, for example the one that axum inserts:
    ///
    /// ```
    /// # use std::net::SocketAddr;
    /// use axum::extract::ConnectInfo;
    /// use shm_tower::ClientIp;
    ///
    /// // With `axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>())`.
    /// let client = ClientIp::from_extension(|ConnectInfo(peer): &ConnectInfo<SocketAddr>| peer.ip());
    /// # let _ = client;
    /// ```
    ///
    /// A request without the extension gets `500 Internal Server Error` ([`RequestKey::Misconfigured`]).
    pub fn from_extension<T: Send + Sync + 'static>(
        ip: impl Fn(&T) -> IpAddr + Send + Sync + 'static,
    ) -> ClientIp {
        ClientIp {
            peer: Arc::new(move |extensions| extensions.get::<T>().map(&ip)),
            extension: std::any::type_name::<T>(),
            header: ProxyHeader::XForwardedFor,
            trusted: Networks::default(),
            prefixes: vec![64],
        }
    }

    /// Trusts these proxies to report the address of their peer in this header: see [which address is the
    /// client's](Self#which-address-is-the-clients). Each is an address (`127.0.0.1`, `::1`) or a network (`10.1.0.0/24`,
    /// `2001:db8::/48`). A second call replaces the first.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](shm_lib::ErrorKind::InvalidInput) for other text, and for a network with bits after its prefix
    /// (`10.1.0.0/8`), which is likely a mistake.
    pub fn trusted_proxies<T: AsRef<str>>(
        self,
        header: ProxyHeader,
        proxies: impl IntoIterator<Item = T>,
    ) -> Result<ClientIp> {
        Ok(ClientIp { header, trusted: Networks::parse(proxies)?, ..self })
    }

    /// The prefix of IPv6 addresses that is the key. Default: 64, the network of a single subnet, since a host can choose from all
    /// of its addresses. More than 128 is 128.
    #[must_use]
    pub fn ipv6_prefix(self, prefix: u8) -> ClientIp {
        ClientIp { prefixes: vec![prefix], ..self }
    }

    /// Several prefixes of IPv6 addresses, one for each limit per key of the limiter, such as `[64, 56, 48]`: see
    /// [`Key::networks`]. An IPv4 address is the key for each of these limits.
    ///
    /// # Panics
    /// If there is no prefix.
    #[must_use]
    pub fn ipv6_prefixes(self, prefixes: impl Into<Vec<u8>>) -> ClientIp {
        let prefixes = prefixes.into();
        assert!(!prefixes.is_empty(), "a client's key needs at least one prefix of IPv6 addresses");
        ClientIp { prefixes, ..self }
    }

    /// The client's address, for extractors of your own and for logs; `None` if the request does not have the extension.
    ///
    /// ```
    /// use shm_tower::{ClientIp, PeerIp, ProxyHeader};
    ///
    /// # fn main() -> shm_lib::Result<()> {
    /// let client = ClientIp::new().trusted_proxies(ProxyHeader::XForwardedFor, ["127.0.0.1"])?;
    /// let request = http::Request::builder()
    ///     .extension(PeerIp([127, 0, 0, 1].into()))
    ///     .header("X-Forwarded-For", "198.51.100.1, 203.0.113.9"); // nginx added the second one
    /// let (parts, ()) = request.body(()).unwrap().into_parts();
    /// assert_eq!(client.address(&parts), Some([203, 0, 113, 9].into()));
    /// # Ok(())
    /// # }
    /// ```
    pub fn address(&self, request: &Parts) -> Option<IpAddr> {
        let peer = (self.peer)(&request.extensions)?.to_canonical();
        Some(match self.header {
            ProxyHeader::XForwardedFor => self.client(peer, &request.headers, forwarded::x_forwarded_for),
            ProxyHeader::Forwarded => self.client(peer, &request.headers, forwarded::forwarded),
        })
    }

    fn client<'r, I: Iterator<Item = Option<IpAddr>>>(
        &self,
        peer: IpAddr,
        headers: &'r HeaderMap,
        entries: impl FnOnce(&'r HeaderMap) -> I,
    ) -> IpAddr {
        let mut client = peer;
        if !self.trusted.contain(client) {
            return client;
        }
        for reported in entries(headers) {
            let Some(address) = reported else { break };
            client = address;
            if !self.trusted.contain(client) {
                break;
            }
        }
        client
    }
}

impl Default for ClientIp {
    fn default() -> ClientIp {
        ClientIp::new()
    }
}

impl KeyExtractor for ClientIp {
    fn extract(&self, request: &Parts) -> RequestKey {
        let Some(address) = self.address(request) else {
            return RequestKey::Misconfigured(format!(
                "requests do not have the address of their peer, the extension {}",
                self.extension
            ));
        };
        match self.prefixes[..] {
            [prefix] => RequestKey::of(Key::network(address, prefix)),
            ref prefixes => RequestKey::of(Key::networks(address, prefixes)),
        }
    }
}

impl fmt::Debug for ClientIp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientIp")
            .field("extension", &self.extension)
            .field("header", &self.header)
            .field("trusted", &self.trusted)
            .field("prefixes", &self.prefixes)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    /// A request from this peer with these headers.
    fn request(peer: &str, headers: &[(&str, &[u8])]) -> Parts {
        let request = Request::builder().extension(PeerIp(peer.parse().unwrap()));
        let request = headers.iter().fold(request, |request, &(name, value)| request.header(name, value));
        request.body(()).unwrap().into_parts().0
    }

    fn behind(header: ProxyHeader) -> ClientIp {
        ClientIp::new().trusted_proxies(header, ["127.0.0.1", "10.0.0.0/8", "fd00::/8"]).unwrap()
    }

    fn seen(extractor: &ClientIp, peer: &str, headers: &[(&str, &[u8])]) -> String {
        extractor.address(&request(peer, headers)).unwrap().to_string()
    }

    #[test]
    fn the_first_untrusted_address_from_the_right_is_the_client() {
        let client = behind(ProxyHeader::XForwardedFor);
        for (peer, header, expected) in [
            ("127.0.0.1", "203.0.113.9", "203.0.113.9"),
            ("127.0.0.1", "198.51.100.1, 203.0.113.9", "203.0.113.9"),
            ("127.0.0.1", "198.51.100.1, 203.0.113.9, 10.1.2.3, 10.4.5.6", "203.0.113.9"),
            ("::ffff:127.0.0.1", "2001:db8::7, fd00::1", "2001:db8::7"),
            ("10.9.9.9", "::ffff:203.0.113.9, ::ffff:10.0.0.1", "203.0.113.9"),
            // No untrusted address.
            ("127.0.0.1", "", "127.0.0.1"),
            ("127.0.0.1", "10.0.0.1, 10.0.0.2", "10.0.0.1"),
            // Not an address.
            ("127.0.0.1", "garbage", "127.0.0.1"),
            ("127.0.0.1", "203.0.113.9, unknown", "127.0.0.1"),
            ("127.0.0.1", "203.0.113.9, unknown, 10.0.0.1", "10.0.0.1"),
        ] {
            assert_eq!(seen(&client, peer, &[("x-forwarded-for", header.as_bytes())]), expected, "{header}");
        }
        assert_eq!(seen(&client, "127.0.0.1", &[]), "127.0.0.1");
        let lines: [(&str, &[u8]); 2] =
            [("x-forwarded-for", b"203.0.113.9"), ("x-forwarded-for", b"10.0.0.1")];
        assert_eq!(seen(&client, "127.0.0.1", &lines), "203.0.113.9");
    }

    #[test]
    fn headers_of_an_untrusted_peer_are_ignored() {
        let headers: [(&str, &[u8]); 2] =
            [("x-forwarded-for", b"198.51.100.1"), ("forwarded", b"for=198.51.100.1")];
        for client in [ClientIp::new(), behind(ProxyHeader::XForwardedFor), behind(ProxyHeader::Forwarded)] {
            assert_eq!(seen(&client, "203.0.113.9", &headers), "203.0.113.9");
        }
        assert_eq!(seen(&ClientIp::new(), "127.0.0.1", &headers), "127.0.0.1");
    }

    /// The proxy adds to one header. The other one is the client's.
    #[test]
    fn only_the_chosen_header_is_read() {
        let x: (&str, &[u8]) = ("x-forwarded-for", b"203.0.113.9");
        let forwarded: (&str, &[u8]) = ("forwarded", b"for=198.51.100.1");
        let seen = |header, headers: &[(&str, &[u8])]| seen(&behind(header), "127.0.0.1", headers);
        assert_eq!(seen(ProxyHeader::XForwardedFor, &[forwarded, x]), "203.0.113.9");
        assert_eq!(seen(ProxyHeader::XForwardedFor, &[forwarded]), "127.0.0.1");
        assert_eq!(seen(ProxyHeader::Forwarded, &[forwarded, x]), "198.51.100.1");
        assert_eq!(seen(ProxyHeader::Forwarded, &[x]), "127.0.0.1");
    }

    /// Whatever a client sends, in either header: its key is the address that the proxy saw.
    #[test]
    fn a_client_cannot_choose_its_key() {
        let hostile: [&[u8]; 14] = [
            b"198.51.100.1",
            b"10.0.0.1",
            b"127.0.0.1, 10.0.0.1",
            b"\"",
            b"\"198.51.100.1",
            b"for=\"",
            b"for=\"[::1",
            b"for=198.51.100.1;",
            b"\\",
            b",,,,",
            b"\xff\xfe",
            b"198.51.100.1\t",
            b"_hidden",
            b";=,=;\"\\\"",
        ];
        for (header, name, added) in [
            (ProxyHeader::XForwardedFor, "x-forwarded-for", "203.0.113.9"),
            (ProxyHeader::Forwarded, "forwarded", "for=203.0.113.9;proto=https"),
        ] {
            let client = behind(header);
            for sent in hostile {
                let appended = [sent, b", ", added.as_bytes()].concat();
                assert_eq!(seen(&client, "127.0.0.1", &[(name, &appended)]), "203.0.113.9", "{sent:?}");
                let line_added = [(name, sent), (name, added.as_bytes())];
                assert_eq!(seen(&client, "127.0.0.1", &line_added), "203.0.113.9", "{sent:?}");
            }
        }
    }

    #[test]
    fn ipv6_addresses_are_networks() {
        let key = |client: &ClientIp, peer: &str| client.extract(&request(peer, &[]));
        let address: IpAddr = "2001:db8:1:2::9".parse().unwrap();
        for prefix in [64, 56, 128, 200] {
            let client = if prefix == 64 { ClientIp::new() } else { ClientIp::new().ipv6_prefix(prefix) };
            assert_eq!(key(&client, "2001:db8:1:2::9"), RequestKey::of(Key::network(address, prefix)));
        }
        let several = ClientIp::new().ipv6_prefixes([64, 48]);
        assert_eq!(key(&several, "2001:db8:1:2::9"), RequestKey::of(Key::networks(address, &[64, 48])));
        assert_eq!(key(&ClientIp::new(), "::ffff:192.0.2.7"), RequestKey::of("192.0.2.7"));
    }

    #[test]
    fn a_request_without_a_peer_is_a_mistake_of_the_service() {
        let (parts, ()) = Request::new(()).into_parts();
        let RequestKey::Misconfigured(why) = ClientIp::new().extract(&parts) else { panic!("a key") };
        assert!(why.contains("PeerIp"), "{why}");
    }
}
