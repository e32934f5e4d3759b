//! Each kind of limit checked by its definition, from nothing but what was admitted and when.

use shm_lib::limit::audit::{self, Admission};
use shm_lib::{Kind, Limit, Start};
use std::time::Duration;

/// Where windows begin.
#[derive(Clone, Copy, Debug)]
pub struct Origins {
    /// CLOCK_BOOTTIME of 1970, counted backwards: what was to be added for the wall clock.
    pub wall_ns: u64,
    /// When the limiter was created: there a sliding counter's first window begins.
    pub created_ns: u64,
}

/// Checks that no window holds more than `limit` allows.
///
/// # Errors
/// What is over, in words.
pub fn kept(limit: Limit, origins: Origins, admitted: &mut [Admission]) -> Result<(), String> {
    kept_if(limit, origins, admitted, from_first_use)
}

/// The same where some admissions are not in the log: their callers were killed before they wrote them down. A window from
/// first use may have begun with one of these.
///
/// # Errors
/// What is over, in words.
pub fn kept_with_gaps(limit: Limit, origins: Origins, admitted: &mut [Admission]) -> Result<(), String> {
    kept_if(limit, origins, admitted, from_some_first_use)
}

fn kept_if(
    limit: Limit,
    origins: Origins,
    admitted: &mut [Admission],
    from_first_use: impl Fn(&[(u64, u64)], u64, u64) -> Result<(), String>,
) -> Result<(), String> {
    admitted.sort_unstable();
    let (max, per) = (limit.rate().max(), limit.rate().per().as_nanos() as u64);
    let list: Vec<(u64, u64)> =
        admitted.iter().map(|a| (a.at.as_nanos(), a.calls)).filter(|a| a.1 > 0).collect();
    match limit.kind() {
        Kind::Bucket { .. } => audit::check(limit, admitted).map_err(|over| over.to_string()),
        Kind::Greedy => any_window(&list, max, per + limit.guard().as_nanos() as u64),
        Kind::FixedWindow(Start::Epoch) => aligned(&list, max, per, origins.wall_ns),
        Kind::FixedWindow(Start::FirstUse) => from_first_use(&list, max, per),
        Kind::SlidingCounter => estimated(&list, max, per, origins.created_ns),
        other => Err(format!("no check for {other:?}")),
    }
}

fn over(max: u64, held: u64, at: u64) -> String {
    format!("{held} where at most {max} may be, at {at} ns")
}

/// At most `max` in any half-open window of `span`.
fn any_window(list: &[(u64, u64)], max: u64, span: u64) -> Result<(), String> {
    let (mut first, mut held) = (0, 0);
    for &(at, n) in list {
        held += n;
        while list[first].0 + span <= at {
            held -= list[first].1;
            first += 1;
        }
        if held > max {
            return Err(over(max, held, at));
        }
    }
    Ok(())
}

/// At most `max` between two multiples of `per` since 1970.
fn aligned(list: &[(u64, u64)], max: u64, per: u64, wall_ns: u64) -> Result<(), String> {
    let (mut window, mut held) = (0, 0);
    for &(at, n) in list {
        let this = (at + wall_ns) / per;
        held = n + if this == window { held } else { 0 };
        window = this;
        if held > max {
            return Err(over(max, held, at));
        }
    }
    Ok(())
}

/// At most `max` from each first admission on. Only for logs in which no admission is missing.
fn from_first_use(list: &[(u64, u64)], max: u64, per: u64) -> Result<(), String> {
    let (mut start, mut held) = (0, 0);
    for &(at, n) in list {
        if start == 0 || at >= start + per {
            (start, held) = (at, 0);
        }
        held += n;
        if held > max {
            return Err(over(max, held, at));
        }
    }
    Ok(())
}

/// Whether windows can have begun at such instants that each holds at most `max`, and every admission lies in one. They begin
/// whenever they like, one after the end of the other.
fn from_some_first_use(list: &[(u64, u64)], max: u64, per: u64) -> Result<(), String> {
    // The earliest end of a window after which this admission is the first in none.
    let mut ends: Vec<Option<u64>> = vec![None; list.len() + 1];
    ends[0] = Some(0);
    let mut furthest = 0;
    for first in 0..list.len() {
        let Some(end_before) = ends[first] else { continue };
        furthest = first;
        let mut held = 0;
        for next in first + 1..=list.len() {
            held += list[next - 1].1;
            // It begins at `end_before` at the earliest, and with its first admission at the latest.
            let end = (list[next - 1].0 + 1).max(end_before + per);
            let latest = list.get(next).map_or(u64::MAX, |&(at, _)| at).min(list[first].0 + per);
            if held > max || list[next - 1].0 >= list[first].0 + per {
                break;
            }
            if end <= latest {
                ends[next] = Some(ends[next].map_or(end, |other| other.min(end)));
            }
        }
    }
    match ends[list.len()] {
        Some(_) => Ok(()),
        None => {
            Err(format!("however windows begin, one holds more than {max}, from {} ns on", list[furthest].0))
        }
    }
}

/// At most `max` by the estimate `this window's count + the last one's · the part of it that still overlaps`.
fn estimated(list: &[(u64, u64)], max: u64, per: u64, origin: u64) -> Result<(), String> {
    let (mut window, mut held, mut before) = (0, 0, 0);
    for &(at, n) in list {
        let this = at.saturating_sub(origin) / per;
        match this - window {
            0 => {}
            1 => (before, held) = (held, 0),
            _ => (before, held) = (0, 0),
        }
        window = this;
        held += n;
        let left = per - at.saturating_sub(origin) % per;
        if u128::from(held) * u128::from(per) + u128::from(before) * u128::from(left)
            > u128::from(max) * u128::from(per)
        {
            return Err(format!("by its estimate {}, {before} before", over(max, held, at)));
        }
    }
    Ok(())
}

/// How many things are going on at once at most. A thing that ends at the instant when another begins is over.
pub fn most_at_once(intervals: &[(u64, u64)]) -> u64 {
    let mut edges: Vec<(u64, i64)> = intervals
        .iter()
        .filter(|(from, to)| from < to)
        .flat_map(|&(from, to)| [(from, 1), (to, -1)])
        .collect();
    edges.sort_unstable();
    let mut now = 0_i64;
    edges
        .iter()
        .map(|edge| {
            now += edge.1;
            now
        })
        .max()
        .unwrap_or(0) as u64
}

/// The tokens that came between two instants, per second. From the first admission to the last, so that the edges
/// don't matter.
pub fn pace(admitted: &[Admission], from: u64, span: Duration) -> f64 {
    let until = from + span.as_nanos() as u64;
    let (start, end) = (
        admitted.partition_point(|a| a.at.as_nanos() < from),
        admitted.partition_point(|a| a.at.as_nanos() <= until),
    );
    let Some([first, .., last]) = admitted.get(start..end) else { return 0.0 };
    let counted = &admitted[start..end];
    let tokens: u64 = counted.iter().filter(|a| a.at > first.at).map(|a| a.calls).sum();
    tokens as f64 / last.at.since(first.at).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(times: &[u64]) -> Vec<(u64, u64)> {
        times.iter().map(|&at| (at, 1)).collect()
    }

    #[test]
    fn a_window_may_have_begun_with_an_admission_that_is_not_in_the_log() {
        // Windows [1000, 1010) and [1010, 1020), of which the first admission is missing.
        let times = list(&[1_004, 1_006, 1_011, 1_012]);
        assert!(from_first_use(&times, 2, 10).is_err());
        assert_eq!(from_some_first_use(&times, 2, 10), Ok(()));
        assert_eq!(from_some_first_use(&list(&[]), 2, 10), Ok(()));
    }

    #[test]
    fn more_than_two_windows_can_hold_is_over_however_they_begin() {
        assert!(from_some_first_use(&list(&[1_000, 1_005, 1_009]), 1, 10).is_err());
        assert!(from_some_first_use(&list(&[1_000, 1_001, 1_002]), 2, 10).is_ok());
        assert!(from_some_first_use(&list(&[1_000, 1_001, 1_002, 1_003, 1_004]), 2, 10).is_err());
        // The first ends at 1002, so the second ends at 1012 at the earliest.
        assert!(from_some_first_use(&list(&[1_000, 1_001, 1_002, 1_003, 1_011]), 2, 10).is_err());
        assert!(from_some_first_use(&list(&[1_000, 1_001, 1_002, 1_003, 1_012]), 2, 10).is_ok());
    }
}
