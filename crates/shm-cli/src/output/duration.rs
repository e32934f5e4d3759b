//! Durations, for humans and for `sleep`.

use std::time::Duration;

/// In seconds, rounded up to a microsecond, so that sleeping for it is enough.
pub(crate) fn seconds(time: Duration) -> String {
    let micros = time.as_nanos().div_ceil(1_000);
    format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

/// The same as a number.
pub(crate) fn seconds_f64(time: Duration) -> f64 {
    time.as_nanos().div_ceil(1_000) as f64 / 1e6
}

/// Two figures or two units, to be read at a glance.
pub(crate) fn short(time: Duration) -> String {
    let s = time.as_secs_f64();
    let whole = s.round() as u64;
    match s {
        _ if time.is_zero() => "0s".into(),
        ..0.000_999_5 => format!("{:.0}us", (s * 1e6).ceil()),
        ..0.009_95 => format!("{:.1}ms", s * 1e3),
        ..0.999_5 => format!("{:.0}ms", s * 1e3),
        ..9.95 => format!("{s:.1}s"),
        ..59.5 => format!("{whole}s"),
        ..3_599.5 => two(whole / 60, 'm', whole % 60, 's'),
        ..86_399.5 => two(whole / 3_600, 'h', whole / 60 % 60, 'm'),
        _ => two(whole / 86_400, 'd', whole / 3_600 % 24, 'h'),
    }
}

fn two(large: u64, unit: char, small: u64, small_unit: char) -> String {
    if small == 0 { format!("{large}{unit}") } else { format!("{large}{unit}{small}{small_unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_rounded_up() {
        for (ns, text) in
            [(0, "0.000000"), (1, "0.000001"), (250_000_000, "0.250000"), (61_000_000_001, "61.000001")]
        {
            assert_eq!(seconds(Duration::from_nanos(ns)), text);
            assert!(seconds_f64(Duration::from_nanos(ns)) * 1e9 >= ns as f64);
        }
        assert!(seconds(Duration::MAX).starts_with("18446744073709551616."));
    }

    #[test]
    fn short_durations_have_two_figures_or_two_units() {
        for (ns, text) in [
            (0, "0s"),
            (1, "1us"),
            (999_400, "1000us"),
            (999_600, "1.0ms"),
            (9_960_000, "10ms"),
            (250_000_000, "250ms"),
            (999_600_000, "1.0s"),
            (9_940_000_000, "9.9s"),
            (29_900_000_000, "30s"),
            (90_000_000_000, "1m30s"),
            (3_600_000_000_000, "1h"),
            (7_380_000_000_000, "2h3m"),
            (183_600_000_000_000, "2d3h"),
        ] {
            assert_eq!(short(Duration::from_nanos(ns)), text);
        }
    }
}
