//! Rates and spans as people write them: `5/s`, `100/10s`, `30/1m30s`, `2/500ms`.

use super::Rate;
use crate::error::{Error, ErrorKind, Result};
use std::str::FromStr;
use std::time::Duration;

/// Reads a span of time such as `30s`, `1m30s`, `500ms` or `2h`. A unit is required.
///
/// # Errors
/// [`ErrorKind::InvalidInput`], with an example of how to write it.
pub fn parse_span(text: &str) -> Result<Duration> {
    if text.contains('M') {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            format!("{text:?}: is M a minute or a month? Write m, or month"),
        ));
    }
    humantime::parse_duration(text.trim()).map_err(|why| {
        Error::new(
            ErrorKind::InvalidInput,
            format!("{text:?} is no span of time ({why}); write for example 30s, 1m30s or 500ms"),
        )
    })
}

/// Writes a span as [`parse_span`] reads it.
pub fn format_span(span: Duration) -> String {
    humantime::format_duration(span).to_string().replace(' ', "")
}

impl FromStr for Rate {
    type Err = Error;

    fn from_str(text: &str) -> Result<Rate> {
        let bad = || {
            Error::new(
                ErrorKind::InvalidInput,
                format!("{text:?} is no rate; write MAX/PER, for example 5/s, 100/10s or 30/1m30s"),
            )
        };
        let (max, per) = text.split_once('/').ok_or_else(bad)?;
        let digits = max.trim().replace('_', "");
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(bad());
        }
        let max = digits.parse().map_err(|_| bad())?;
        let per = per.trim();
        let per = match per.chars().next() {
            Some(c) if c.is_ascii_digit() => parse_span(per)?,
            Some(_) => parse_span(&format!("1{per}"))?,
            None => return Err(bad()),
        };
        Rate::new(max, per)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_read_as_written_and_write_as_read() {
        for (text, max, per_ms, shown) in [
            ("5/s", 5, 1_000, "5/s"),
            ("100/10s", 100, 10_000, "100/10s"),
            ("30/1m30s", 30, 90_000, "30/1m30s"),
            ("2/500ms", 2, 500, "2/500ms"),
            (" 1_000 / min ", 1_000, 60_000, "1000/m"),
            ("10/1h", 10, 3_600_000, "10/h"),
        ] {
            let rate: Rate = text.parse().unwrap();
            assert_eq!((rate.max(), rate.per()), (max, Duration::from_millis(per_ms)), "{text}");
            assert_eq!(rate.to_string(), shown);
            assert_eq!(shown.parse::<Rate>().unwrap(), rate);
        }
    }

    #[test]
    fn what_is_no_rate_says_how_to_write_one() {
        for text in [
            "",
            "5",
            "/s",
            "5/",
            "-5/s",
            "5.5/s",
            "+5/s",
            "0/s",
            "5/0s",
            "5/10",
            "5/s/s",
            "x/s",
            "5/parsec",
            "5/99999999999999999999s",
            "99999999999999999999/s",
            "5/1000years",
            "2/1ns",
        ] {
            let error = text.parse::<Rate>().expect_err(text);
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{text}");
            assert!(!error.to_string().is_empty());
        }
    }
}
