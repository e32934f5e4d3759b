//! Text forms of rates and durations: `5/s`, `100/10s`, `30/1m30s`, `2/500ms`.

use super::Rate;
use crate::error::{Error, ErrorKind, Result};
use std::str::FromStr;
use std::time::Duration;

/// Parses a duration such as `30s`, `1m30s`, `500ms` or `2h`. A unit is required.
///
/// # Errors
/// [`ErrorKind::InvalidInput`], with an example of the syntax.
pub fn parse_span(text: &str) -> Result<Duration> {
    if text.contains('M') {
        return Err(ambiguous(text));
    }
    // As `month` and `months`.
    let trimmed = text.trim();
    let month = trimmed.strip_suffix("mo").filter(|number| number.ends_with(|c: char| c.is_ascii_digit()));
    let written_out = month.map(|number| format!("{number}month"));
    humantime::parse_duration(written_out.as_deref().unwrap_or(trimmed)).map_err(|why| {
        Error::new(
            ErrorKind::InvalidInput,
            format!("{text:?} is not a valid duration ({why}); write for example 30s, 1m30s or 500ms"),
        )
    })
}

fn ambiguous(text: &str) -> Error {
    Error::new(ErrorKind::InvalidInput, format!("{text:?}: M could mean minute or month; write m, or month"))
}

/// Formats a duration in the syntax of [`parse_span`].
pub fn format_span(span: Duration) -> String {
    humantime::format_duration(span).to_string().replace(' ', "")
}

impl FromStr for Rate {
    type Err = Error;

    fn from_str(text: &str) -> Result<Rate> {
        let bad = || {
            Error::new(
                ErrorKind::InvalidInput,
                format!("{text:?} is not a valid rate; write MAX/PER, for example 5/s, 100/10s or 30/1m30s"),
            )
        };
        let (max, per) = text.split_once('/').ok_or_else(bad)?;
        let (max, per) = (max.trim().replace('_', ""), per.trim());
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let fraction = max
            .split_once('.')
            .filter(|(whole, fraction)| is_number(fraction) && (whole.is_empty() || is_number(whole)));
        if fraction.is_none() && !is_number(&max) {
            return Err(bad());
        }
        let per = match per.chars().next() {
            _ if per.contains('M') => return Err(ambiguous(text)),
            Some(c) if c.is_ascii_digit() => parse_span(per)?,
            // The caller did not write the 1.
            Some(_) => parse_span(&format!("1{per}")).map_err(|_| bad())?,
            None => return Err(bad()),
        };
        if let Some((whole, fraction)) = fraction {
            let same = in_whole_numbers(whole, fraction, per).ok_or_else(bad)?;
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("{text:?} is not a valid rate: MAX is a whole number; write {same}"),
            ));
        }
        Rate::new(max.parse().map_err(|_| bad())?, per)
    }
}

/// `whole.fraction` per `per` as a rate of whole numbers, if possible: 0.5/s is 1/2s.
fn in_whole_numbers(whole: &str, fraction: &str, per: Duration) -> Option<Rate> {
    let fraction = fraction.trim_end_matches('0');
    let scale = 10u64.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let max: u64 = format!("0{whole}{fraction}").parse().ok()?;
    let common = gcd(max, scale);
    let longer = u32::try_from(scale / common).ok()?;
    Rate::new(max / common, per.checked_mul(longer)?).ok()
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_round_trip_through_text() {
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
    fn a_fraction_is_rejected_with_the_equivalent_whole_number_rate() {
        for (text, same) in [
            ("0.5/s", "1/2s"),
            (".5/s", "1/2s"),
            ("0.50/s", "1/2s"),
            ("2.5/s", "5/2s"),
            ("0.1/1m30s", "1/15m"),
            ("0.001/ms", "1/s"),
            ("3.0/s", "3/s"),
            ("1_000.5/s", "2001/2s"),
        ] {
            let error = text.parse::<Rate>().expect_err(text).to_string();
            assert!(error.ends_with(&format!("write {same}")), "{text}: {error}");
            assert!(same.parse::<Rate>().is_ok());
        }
        for text in ["0.0/s", "./s", "5./s", "0.5.5/s", "0.5/", "0.0000000001/366days", "1e3/s"] {
            let error = text.parse::<Rate>().expect_err(text).to_string();
            assert!(error.contains("write MAX/PER"), "{text}: {error}");
        }
    }

    #[test]
    fn an_error_quotes_what_the_caller_wrote() {
        for text in ["5/s5", "5/parsec", "5/M", "5/2M"] {
            let error = text.parse::<Rate>().expect_err(text).to_string();
            assert!(error.contains(&format!("{text:?}")), "{error}");
        }
    }

    #[test]
    fn a_month_can_be_abbreviated() {
        assert_eq!(parse_span("1mo").unwrap(), parse_span("1month").unwrap());
        assert_eq!("9/2mo".parse::<Rate>().unwrap(), "9/2months".parse().unwrap());
        assert_eq!("9/mo".parse::<Rate>().unwrap(), "9/month".parse().unwrap());
        assert!(parse_span("mo").is_err());
    }

    #[test]
    fn invalid_rates_are_rejected() {
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
