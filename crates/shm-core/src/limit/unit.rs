//! What a limit counts.

use crate::error::{Error, ErrorKind, Result};
use std::fmt;

/// What a limit counts: calls, or something that calls consume, such as tokens or bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Unit([u8; Unit::LEN]);

impl Unit {
    pub(crate) const LEN: usize = 24;
    /// Calls: each counts as one.
    pub const CALLS: Unit = Unit([0; Unit::LEN]);

    /// The unit of this name.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] unless it is 1 to 24 of: letters, digits, `-`, `_`, `.` (and not `calls`).
    pub fn named(name: &str) -> Result<Unit> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        if name.is_empty() || name.len() > Self::LEN || !name.bytes().all(plain) || name == "calls" {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!(
                    "{name:?} is not a valid unit; use 1 to {} of: letters, digits, - _ . (calls are counted without a name)",
                    Self::LEN
                ),
            ));
        }
        let mut bytes = [0; Self::LEN];
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        Ok(Unit(bytes))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        let end = self.0.iter().position(|&b| b == 0).unwrap_or(Self::LEN);
        match std::str::from_utf8(&self.0[..end]) {
            Ok("") | Err(_) => "calls",
            Ok(name) => name,
        }
    }

    /// Whether this is the unit of calls.
    pub fn is_calls(&self) -> bool {
        *self == Unit::CALLS
    }

    pub(crate) fn words(self) -> [u64; 3] {
        [0, 8, 16].map(|i| u64::from_le_bytes(std::array::from_fn(|k| self.0[i + k])))
    }

    /// Reads the words of a segment; `None` if they are not a valid unit.
    pub(crate) fn from_words(words: [u64; 3]) -> Option<Unit> {
        let mut bytes = [0; Self::LEN];
        for (to, word) in bytes.chunks_mut(8).zip(words) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        let unit = Unit(bytes);
        (unit.is_calls() || Unit::named(unit.name()).is_ok_and(|same| same == unit)).then_some(unit)
    }
}

impl fmt::Debug for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
