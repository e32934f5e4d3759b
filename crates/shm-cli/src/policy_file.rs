//! A policy from a file.

use crate::exit::{Failure, USAGE};
use crate::output::printable;
use shm_lib::Policy;
use std::io::{self, Read};
use std::path::Path;

/// Reads TOML, or JSON if the file's name ends in `.json`; `-` is TOML on standard input.
pub(crate) fn read(path: &Path) -> Result<Policy, Failure> {
    let (called, text) = if path == Path::new("-") {
        ("standard input".to_owned(), all_of(io::stdin()))
    } else {
        (printable::path(path), std::fs::File::open(path).and_then(all_of))
    };
    let text = text.map_err(|e| Failure::new(format!("cannot read the policy from {called}: {e}")))?;
    let json = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
    let policy = if json {
        serde_json::from_str(&text).map_err(|e| e.to_string())
    } else {
        toml::from_str(&text).map_err(|e| e.to_string())
    };
    policy.map_err(|why| {
        let help = "`shm-limit create --help` shows a valid one";
        Failure::Other(USAGE, format!("{called} is not a valid policy: {}\n{help}", why.trim_end()))
    })
}

/// A policy is short: a file of more than a megabyte is not one.
fn all_of(from: impl Read) -> io::Result<String> {
    let mut text = String::new();
    from.take(1 << 20).read_to_string(&mut text).map(|_| text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::help;

    #[test]
    fn the_file_in_the_help_is_a_valid_policy() {
        let (_, file) = help::CREATE.split_once("ends in .json):\n").unwrap();
        let (file, _) = file.split_once("\n\n").unwrap();
        let policy: Policy = toml::from_str(file).unwrap();
        assert_eq!(
            policy.to_string(),
            "500/m greedy, guarded by 50ms + tokens 200000/m with bursts of 1000 + 10000/day in fixed windows + \
             100000/month by the calendar of Europe/Berlin + at most 2 at a time, at most 100 waiting"
        );
        // Written and read again, it is the same.
        assert_eq!(toml::from_str::<Policy>(&toml::to_string(&policy).unwrap()).unwrap(), policy);
    }
}
