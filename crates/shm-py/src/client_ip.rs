//! The address of a server's client, also behind trusted proxies: that of `shm-tower`.

use crate::errors::{exception, wrong_value};
use http::header::FORWARDED;
use http::{HeaderName, HeaderValue, Request};
use pyo3::prelude::*;
use shm_lib::Key;
use shm_tower::{PeerIp, ProxyHeader};
use std::net::IpAddr;

/// Finds a client's address: the native part of `shm_limit.client_ip.ClientIp`.
#[pyclass(frozen, subclass, module = "shm_limit._native")]
pub(crate) struct NativeClientIp {
    client: shm_tower::ClientIp,
    header: HeaderName,
    ipv6_prefix: u8,
}

#[pymethods]
impl NativeClientIp {
    #[new]
    #[pyo3(signature = (trusted_proxies, header, ipv6_prefix))]
    fn new(
        py: Python<'_>,
        trusted_proxies: Vec<String>,
        header: &str,
        ipv6_prefix: u8,
    ) -> PyResult<NativeClientIp> {
        if ipv6_prefix > 128 {
            return Err(wrong_value(format!("ipv6_prefix must be at most 128, and is {ipv6_prefix}")));
        }
        let (header, proxy_header) = match header.to_ascii_lowercase().as_str() {
            "x-forwarded-for" => (HeaderName::from_static("x-forwarded-for"), ProxyHeader::XForwardedFor),
            "forwarded" => (FORWARDED, ProxyHeader::Forwarded),
            _ => {
                return Err(wrong_value(format!(
                    "header must be \"X-Forwarded-For\" or \"Forwarded\", not {header:?}"
                )));
            }
        };
        let client = shm_tower::ClientIp::new().trusted_proxies(proxy_header, trusted_proxies);
        Ok(NativeClientIp { client: client.map_err(|e| exception(py, &e))?, header, ipv6_prefix })
    }

    /// The header that is read if the peer is a trusted proxy, in lower case.
    #[getter]
    fn header(&self) -> &str {
        self.header.as_str()
    }

    /// The client's address, given that of the connection's peer and the values of the header; None if the peer has no IP address.
    fn of_peer(&self, peer: &str, values: Vec<Vec<u8>>) -> Option<String> {
        // An IPv6 address may come with the name of the interface.
        let peer: IpAddr = peer.split('%').next()?.parse().ok()?;
        let (mut request, ()) = Request::new(()).into_parts();
        request.extensions.insert(PeerIp(peer));
        for value in values {
            // What cannot be in a header is not an address either.
            let value = HeaderValue::try_from(value).unwrap_or(HeaderValue::from_static("unknown"));
            request.headers.append(&self.header, value);
        }
        Some(self.client.address(&request)?.to_string())
    }

    /// The key of this address: an IPv4 address itself, or the network of an IPv6 address.
    fn key_of(&self, address: &str) -> PyResult<String> {
        let address: IpAddr =
            address.parse().map_err(|_| wrong_value(format!("{address:?} is not an IP address")))?;
        Ok(Key::network(address, self.ipv6_prefix).to_string())
    }
}
