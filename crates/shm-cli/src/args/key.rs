//! `--key` and `--key-ip`: the key of a request. Given several times, they are the parts of one key, in their order.

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, value_parser};
use shm_lib::{Key, OwnedKey};
use std::ffi::OsString;
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt;

/// The key that the command line names; none without the flags.
#[derive(Clone, Default)]
pub(crate) struct KeyFlags(Option<NamedKey>);

/// A key as the command line names it.
#[derive(Clone)]
pub(crate) struct NamedKey {
    pub(crate) key: OwnedKey,
    /// Its parts as texts, or its networks: for display. Bytes that are not UTF-8 are replaced.
    pub(crate) parts: Vec<String>,
}

/// An IP address, and the prefixes of the networks that count instead of it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Address {
    ip: IpAddr,
    prefixes: Vec<u8>,
}

impl KeyFlags {
    /// The key, whatever it is.
    pub(crate) fn named(&self) -> Option<&NamedKey> {
        self.0.as_ref()
    }

    /// The key of a request.
    ///
    /// # Errors
    /// An empty part: all callers with an unset variable would be one key.
    pub(crate) fn of_request(&self) -> Result<Option<&NamedKey>, String> {
        let key = self.named();
        if key.is_some_and(|key| key.parts.iter().any(String::is_empty)) {
            return Err(
                "--key is empty, so callers without a key would share one budget; is a variable unset?"
                    .into(),
            );
        }
        Ok(key)
    }
}

impl Args for KeyFlags {
    fn augment_args(command: Command) -> Command {
        command.args([
            Arg::new("key")
                .long("key")
                .value_name("KEY")
                .value_parser(value_parser!(OsString))
                .action(ArgAction::Append)
                .allow_negative_numbers(true)
                .help("The key, of a limiter with limits per key: for example a user's name. Several: the parts of one key"),
            Arg::new("key_ip")
                .long("key-ip")
                .value_name("ADDRESS[/PREFIX]")
                .value_parser(address)
                .action(ArgAction::Append)
                .help("An IP address as the key, or as a part of it; of an IPv6 address the network, for example 2001:db8::7/64")
                .long_help(
                    "An IP address as the key, or as a part of it, in the form in which programs write it. With a prefix, the \
                     network of an IPv6 address, for example 2001:db8::7/64; an IPv4 address counts as a whole. With several \
                     prefixes, as in 2001:db8::7/64,56,48, one network for each limit per key",
                ),
        ])
    }

    fn augment_args_for_update(command: Command) -> Command {
        KeyFlags::augment_args(command)
    }
}

impl FromArgMatches for KeyFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<KeyFlags, clap::Error> {
        resolve(matches).map(KeyFlags).map_err(|why| clap::Error::raw(ErrorKind::ValueValidation, why))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = KeyFlags::from_arg_matches(matches)?;
        Ok(())
    }
}

fn resolve(matches: &ArgMatches) -> Result<Option<NamedKey>, String> {
    let places = |id: &str| matches.indices_of(id).into_iter().flatten();
    let texts: Vec<&OsString> = matches.get_many("key").into_iter().flatten().collect();
    let addresses: Vec<&Address> = matches.get_many("key_ip").into_iter().flatten().collect();
    if let Some(several) = addresses.iter().find(|address| address.prefixes.len() > 1) {
        if addresses.len() > 1 || !texts.is_empty() {
            return Err("--key-ip with several prefixes is the whole key; it cannot be a part of one".into());
        }
        let networks: Vec<Key<'_>> =
            several.prefixes.iter().map(|&prefix| Key::network(several.ip, prefix)).collect();
        let parts = networks.iter().map(ToString::to_string).collect();
        return Ok(Some(NamedKey { key: Key::each(networks).into_owned(), parts }));
    }
    let texts = texts.into_iter().map(|text| Key::from(text.as_bytes()));
    let addresses = addresses.into_iter().map(Address::key);
    let mut parts: Vec<(usize, Key<'_>)> =
        places("key").zip(texts).chain(places("key_ip").zip(addresses)).collect();
    parts.sort_by_key(|&(place, _)| place);
    let mut parts: Vec<Key<'_>> = parts.into_iter().map(|(_, part)| part).collect();
    let names = parts.iter().map(ToString::to_string).collect();
    let key = match parts.len() {
        0 => return Ok(None),
        1 => parts.remove(0),
        _ => Key::of_parts(parts),
    };
    Ok(Some(NamedKey { key: key.into_owned(), parts: names }))
}

impl Address {
    fn key<'a>(&self) -> Key<'a> {
        match self.prefixes.first() {
            Some(&prefix) => Key::network(self.ip, prefix),
            None => Key::from(self.ip),
        }
    }
}

/// Reads `ADDRESS`, `ADDRESS/PREFIX` or `ADDRESS/PREFIX,PREFIX`.
fn address(text: &str) -> Result<Address, String> {
    let (ip, prefixes) = match text.split_once('/') {
        Some((ip, prefixes)) => (ip, Some(prefixes)),
        None => (text, None),
    };
    let ip: IpAddr = ip.parse().map_err(|_| {
        format!("{ip:?} is not an IP address; write for example 192.0.2.7, 2001:db8::7 or 2001:db8::7/64")
    })?;
    let prefix = |prefix: &str| {
        let bits = prefix.parse::<u8>().ok().filter(|&bits| bits <= 128);
        bits.ok_or_else(|| {
            format!("{prefix:?} is not the length of a prefix; write 1 to 128, for example /64")
        })
    };
    let prefixes =
        prefixes.into_iter().flat_map(|all| all.split(',')).map(prefix).collect::<Result<Vec<_>, _>>()?;
    // A longer one is meant for IPv6 addresses: a script writes it behind every address.
    if ip.to_canonical().is_ipv4() && prefixes.iter().any(|&bits| bits < 32) {
        return Err(
            "an IPv4 address counts as a whole; leave the prefix out, or name the network by --key".into()
        );
    }
    Ok(Address { ip, prefixes })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Option<Vec<String>>, String> {
        let command = KeyFlags::augment_args(Command::new("x"));
        let matches = command.try_get_matches_from(["x"].iter().chain(args)).map_err(|e| e.to_string())?;
        Ok(resolve(&matches)?.map(|named| named.parts))
    }

    #[test]
    fn parts_keep_their_order_and_addresses_have_one_form() {
        for (args, parts) in [
            (&["--key", "alice"][..], &["alice"][..]),
            (&["--key=-5", "--key", "-7"], &["-5", "-7"]),
            (&["--key-ip", "2001:DB8:0::7"], &["2001:db8::7"]),
            (&["--key-ip", "2001:db8::7/64"], &["2001:db8::/64"]),
            (&["--key-ip", "192.0.2.7/64"], &["192.0.2.7"]),
            (&["--key-ip", "::ffff:192.0.2.7"], &["192.0.2.7"]),
            (&["--key-ip", "2001:db8::7/64", "--key", "/login"], &["2001:db8::/64", "/login"]),
            (&["--key", "/login", "--key-ip", "::1", "--key", "x"], &["/login", "::1", "x"]),
            (&["--key-ip", "2001:db8::7/64,48"], &["2001:db8::/64", "2001:db8::/48"]),
        ] {
            assert_eq!(parse(args).unwrap().unwrap(), parts, "{args:?}");
        }
        assert_eq!(parse(&[]), Ok(None));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for (wrong, why) in [
            ("192.0.2", "not an IP address"),
            ("2001:db8::7/129", "length of a prefix"),
            ("2001:db8::7/", "length of a prefix"),
            ("192.0.2.0/24", "as a whole"),
            ("::ffff:192.0.2.7/24", "as a whole"),
        ] {
            let e = parse(&["--key-ip", wrong]).unwrap_err();
            assert!(e.contains(why), "{e}");
        }
        assert!(parse(&["--key-ip", "::1/64,48", "--key", "a"]).unwrap_err().contains("the whole key"));
    }

    #[test]
    fn an_empty_key_is_not_one_of_a_request() {
        let of = |args: &[&str]| {
            let matches =
                KeyFlags::augment_args(Command::new("x")).try_get_matches_from(["x"].iter().chain(args));
            KeyFlags::from_arg_matches(&matches.unwrap()).unwrap()
        };
        assert!(of(&["--key", ""]).of_request().is_err_and(|why| why.contains("variable")));
        assert!(of(&["--key", "a", "--key", ""]).of_request().is_err());
        assert!(of(&["--key", ""]).named().is_some() && of(&["--key", "a"]).of_request().is_ok());
    }
}
