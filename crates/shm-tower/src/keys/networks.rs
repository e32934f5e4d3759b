//! A list of IP networks, such as those of trusted proxies.

use shm_lib::{Error, ErrorKind, Result};
use std::net::IpAddr;

/// A network: all addresses with the same first bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    prefix: u8,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Networks(Vec<Network>);

impl Networks {
    pub(super) fn parse<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Result<Networks> {
        texts.into_iter().map(|text| Network::parse(text.as_ref())).collect::<Result<_>>().map(Networks)
    }

    /// Whether one of the networks has this address. An IPv4 address in IPv6 form is an IPv4 address.
    pub(super) fn contain(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address.to_canonical()))
    }
}

impl Network {
    fn parse(text: &str) -> Result<Network> {
        let invalid = |why: String| Error::new(ErrorKind::InvalidInput, why);
        let syntax = || invalid(format!("{text:?} is not an IP address or a network such as 10.0.0.0/8"));
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| syntax())?;
        if address != address.to_canonical() {
            return Err(invalid(format!("{text:?} is IPv4 in IPv6 form; write it as IPv4")));
        }
        let bits = bits(address);
        let prefix = match prefix {
            // `u8::from_str` would accept a sign.
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
                digits.parse().ok().filter(|&prefix| prefix <= bits).ok_or_else(syntax)?
            }
            Some(_) => return Err(syntax()),
            None => bits,
        };
        let network = Network { address, prefix };
        let first = network.first();
        if first != address {
            return Err(invalid(format!(
                "{text:?} has bits after its prefix; write {first}/{prefix} for the network, or {address} for the address"
            )));
        }
        Ok(network)
    }

    /// The network's first address.
    fn first(self) -> IpAddr {
        let mask = |bits: u128, of: u8| {
            let shift = u32::from(of - self.prefix);
            bits.checked_shr(shift).and_then(|bits| bits.checked_shl(shift)).unwrap_or(0)
        };
        match self.address {
            IpAddr::V4(v4) => IpAddr::from((mask(u128::from(v4.to_bits()), 32) as u32).to_be_bytes()),
            IpAddr::V6(v6) => IpAddr::from(mask(v6.to_bits(), 128).to_be_bytes()),
        }
    }

    fn contains(self, address: IpAddr) -> bool {
        address.is_ipv4() == self.address.is_ipv4() && Network { address, ..self }.first() == self.address
    }
}

fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn are_in(networks: &[&str], addresses: &[&str]) -> Vec<bool> {
        let networks = Networks::parse(networks).unwrap();
        addresses.iter().map(|address| networks.contain(address.parse().unwrap())).collect()
    }

    #[test]
    fn an_address_is_in_a_network_with_the_same_prefix() {
        assert_eq!(
            are_in(&["10.0.0.0/8", "192.0.2.7"], &["10.255.0.1", "11.0.0.1", "192.0.2.7", "192.0.2.8", "::"]),
            [true, false, true, false, false]
        );
        assert_eq!(
            are_in(&["2001:db8::/33", "::1"], &["2001:db8:7fff::1", "2001:db8:8000::1", "::1", "0.0.0.1"]),
            [true, false, true, false]
        );
        assert_eq!(are_in(&["0.0.0.0/0"], &["203.0.113.9", "::1"]), [true, false]);
        assert_eq!(are_in(&["::/0"], &["203.0.113.9", "::1"]), [false, true]);
        assert_eq!(are_in(&["127.0.0.0/8"], &["::ffff:127.0.0.1", "::ffff:128.0.0.1"]), [true, false]);
        assert_eq!(are_in(&[], &["127.0.0.1"]), [false]);
    }

    #[test]
    fn what_is_not_a_network_is_an_error() {
        for (text, why) in [
            ("", "is not an IP address"),
            ("localhost", "is not an IP address"),
            ("10.0.0.0/", "is not an IP address"),
            ("10.0.0.0/33", "is not an IP address"),
            ("10.0.0.0/+8", "is not an IP address"),
            ("10.0.0.0/8/8", "is not an IP address"),
            ("::/129", "is not an IP address"),
            ("10.1.0.0/8", "write 10.0.0.0/8"),
            ("2001:db8::1/32", "write 2001:db8::/32"),
            ("::ffff:10.0.0.0/104", "write it as IPv4"),
        ] {
            let error = Networks::parse([text]).unwrap_err();
            assert!(error.to_string().contains(why), "{text}: {error}");
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
        }
    }
}
