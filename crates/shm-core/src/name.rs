//! Names of limiters.

use crate::error::{Error, ErrorKind, Result};
use std::fmt;

/// The longest name, in bytes.
pub const MAX_NAME: usize = 200;

/// A limiter's name: 1 to 200 bytes of UTF-8, without `/` or control characters, not beginning with a dot.
///
/// It is also the name of the file. Two names are the same if their bytes are (`é` can be written in two ways).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(String);

impl Name {
    /// Checks a name.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidName`], with the rule that the name breaks.
    pub fn new(name: &str) -> Result<Name> {
        let rule = if name.is_empty() {
            "is empty"
        } else if name.len() > MAX_NAME {
            "is longer than 200 bytes"
        } else if name.starts_with('.') {
            "begins with a dot"
        } else if name.contains('/') {
            "contains a slash; choose the directory by SHM_LIMIT_DIR or --dir, not by the name"
        } else if name.contains(char::is_control) {
            "contains a control character"
        } else {
            return Ok(Name(name.to_owned()));
        };
        Err(Error::new(
            ErrorKind::InvalidName,
            format!(
                "the name {name:?} {rule} (a name is 1 to 200 bytes of UTF-8, without slashes and \
                 control characters, not beginning with a dot)"
            ),
        ))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name quoted as one word of a shell command.
    pub fn shell_word(&self) -> String {
        shell_word(&self.0)
    }
}

/// Quotes text as one word of a shell command.
pub(crate) fn shell_word(text: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_.:@%+=/".contains(c);
    if text.chars().all(plain) && !text.is_empty() && !text.starts_with('-') {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_names_are_rejected_with_the_rule_they_break() {
        for good in ["api", "a b", "a:b.c", "日本語", "x".repeat(200).as_str(), "-v"] {
            assert_eq!(Name::new(good).unwrap().as_str(), good);
        }
        for bad in [
            "",
            ".",
            "..",
            ".hidden",
            "a/b",
            "/abs",
            "a\0b",
            "a\nb",
            "x".repeat(201).as_str(),
            "ü".repeat(101).as_str(),
        ] {
            let error = Name::new(bad).expect_err(bad);
            assert_eq!(error.kind(), ErrorKind::InvalidName);
            assert!(error.to_string().contains("200 bytes"), "{error}");
        }
    }
}
