//! `run --settle`: the command writes what it really took into a file, and this process settles when the command has ended.
//!
//! Only the process that was admitted can settle: a receipt cannot be passed to another process. The file is in memory and
//! has no name of its own, so nothing is left behind whatever is killed.

use crate::args::amount;
use nix::sys::memfd::{MFdFlags, memfd_create};
use shm_lib::{Cost, Unit};
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::AsRawFd;
use std::process::Command;

/// The variable that tells the command which file it is.
pub(crate) const VARIABLE: &str = "SHM_LIMIT_ACTUAL";
/// A file that is longer was not written for this.
const MAX_BYTES: u64 = 1 << 20;

/// The file.
pub(crate) struct Settlement(File);

impl Settlement {
    /// An empty file, which the command finds by the variable.
    pub(crate) fn begin(command: &mut Command) -> io::Result<Settlement> {
        let file = File::from(memfd_create(c"shm-limit-actual", MFdFlags::MFD_CLOEXEC)?);
        command.env(VARIABLE, format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd()));
        Ok(Settlement(file))
    }

    /// What the command wrote; `None` if it wrote nothing.
    ///
    /// # Errors
    /// What cannot be settled, with the reason.
    pub(crate) fn read(mut self, estimate: &Cost) -> Result<Option<Cost>, String> {
        let mut text = String::new();
        let read = self.0.rewind().and_then(|()| self.0.take(MAX_BYTES).read_to_string(&mut text));
        read.map_err(|e| e.to_string())?;
        actual(&text, estimate)
    }
}

/// Reads amounts, one a line or several. Amounts of the same unit add up.
fn actual(text: &str, estimate: &Cost) -> Result<Option<Cost>, String> {
    let mut actual: Option<Cost> = None;
    for word in text.split_whitespace() {
        let (unit, n) = match word.strip_prefix("calls=") {
            Some(n) => (Unit::CALLS, n.parse().map_err(|_| format!("{word:?} is not a valid amount"))?),
            None => amount(word)?,
        };
        if estimate.amount(unit).is_none() {
            return Err(format!("nothing was taken of {unit}; take an estimate by --take {unit}=AMOUNT"));
        }
        let so_far = actual.and_then(|cost| cost.amount(unit)).unwrap_or(0);
        let n = n.saturating_add(so_far);
        actual = Some(actual.map_or_else(|| Cost::of(unit, n), |cost| cost.and(unit, n)));
    }
    Ok(actual)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_of_a_unit_add_up_and_others_are_refused() {
        let (tokens, bytes) = (Unit::named("tokens").unwrap(), Unit::named("bytes").unwrap());
        let estimate = Cost::one().and(tokens, 100).and(bytes, 10);
        let read = |text| actual(text, &estimate);
        assert_eq!(read(""), Ok(None));
        assert_eq!(read(" \n"), Ok(None));
        assert_eq!(read("tokens=5\n"), Ok(Some(Cost::of(tokens, 5))));
        let all = read("tokens=5 calls=2\ntokens=7\nbytes=0\n").unwrap().unwrap();
        assert_eq!(
            (all.amount(tokens), all.amount(bytes), all.amount(Unit::CALLS)),
            (Some(12), Some(0), Some(2))
        );
        for wrong in ["5", "tokens", "tokens=", "tokens=x", "tokens=-1", "calls=x", "words=5"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        let too_many = format!("tokens={} tokens=1", u64::MAX);
        assert_eq!(read(&too_many).unwrap().unwrap().amount(tokens), Some(u64::MAX));
    }
}
