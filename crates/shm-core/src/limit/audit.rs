//! An independent check: was the limit kept, given the admissions and their times?
//!
//! It uses only the definitions, not the algorithms:
//!
//! | limit | what holds |
//! |---|---|
//! | bucket | with a burst of `b` and `max` per `per`, a half-open window of `w` nanoseconds holds fewer than `b + w·max/per` calls (for `b = 1` and `w = per`: at most `max`) |
//! | greedy | at most `max` in any half-open window of `per` and the guard |
//! | fixed windows, calendar windows | at most `max` in each window; those by the wall clock as it is now |
//! | sliding counter | at most `2·max` in any half-open window of `per`: the estimate itself depends on when the limiter was created |

use super::calendar::{LocalTime, Offsets};
use super::window::Windows;
use super::{Kind, Limit, Start};
use crate::clock::{self, Nanos};
use std::fmt;

/// One admission: its instant, and how many calls it took.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Admission {
    /// The instant for which it was admitted.
    pub at: Nanos,
    /// Calls taken.
    pub calls: u64,
}

/// A window that contains more than the limit admits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The first admission in the window.
    pub from: Nanos,
    /// The last admission in the window.
    pub to: Nanos,
    /// Calls admitted in it.
    pub admitted: u64,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let span = self.to.since(self.from);
        write!(f, "{} admitted within {span:?}, from {} ns on", self.admitted, self.from.as_nanos())
    }
}

/// Checks every window, in one pass. Sorts `admissions` by time.
///
/// # Errors
/// A window that contains too many.
///
/// # Panics
/// If the time zone of calendar windows is not known to this process.
pub fn check(limit: Limit, admissions: &mut [Admission]) -> Result<(), Violation> {
    admissions.sort_unstable();
    let (max, per) = (limit.rate().max(), limit.rate().per_ns());
    let wall_ns = || clock::wall_offset().ns;
    let utc = |wall_ns| LocalTime { wall_ns, offsets: Offsets::default() };
    match limit.kind() {
        Kind::Bucket { .. } => check_bucket(limit, admissions),
        Kind::Greedy => check_any_window(max, per + limit.guard().as_nanos() as u64, admissions),
        Kind::SlidingCounter => check_any_window(2 * max, per, admissions),
        Kind::FixedWindow(Start::FirstUse) => {
            check_windows(max, &Windows::FirstUse { per }, &utc(0), admissions)
        }
        Kind::FixedWindow(Start::Epoch) => {
            let wall_ns = wall_ns();
            check_windows(max, &Windows::Aligned { per, wall_ns }, &utc(wall_ns), admissions)
        }
        Kind::CalendarWindow { period, zone } => {
            let wall_ns = wall_ns();
            let first = admissions.first().map_or(0, |a| a.at.as_nanos()).saturating_add(wall_ns);
            let offsets = zone.offsets(first / 1_000_000_000).expect("the zone of the limit is known");
            check_windows(max, &Windows::Calendar(period), &LocalTime { wall_ns, offsets }, admissions)
        }
    }
}

/// At most `max` in any half-open window of `span`.
fn check_any_window(max: u64, span: u64, admissions: &[Admission]) -> Result<(), Violation> {
    let (mut first, mut admitted) = (0, 0u64);
    for a in admissions {
        admitted = admitted.saturating_add(a.calls);
        while a.at.as_nanos() - admissions[first].at.as_nanos() >= span {
            admitted -= admissions[first].calls;
            first += 1;
        }
        if admitted > max {
            return Err(Violation { from: admissions[first].at, to: a.at, admitted });
        }
    }
    Ok(())
}

/// At most `max` in each of these windows.
fn check_windows(
    max: u64,
    windows: &Windows,
    local: &LocalTime,
    admissions: &[Admission],
) -> Result<(), Violation> {
    let (mut from, mut end, mut admitted) = (Nanos::default(), 0, 0u64);
    for a in admissions {
        if a.at.as_nanos() >= end {
            (from, end, admitted) = (a.at, windows.end_after(a.at.as_nanos(), local), 0);
        }
        admitted = admitted.saturating_add(a.calls);
        if admitted > max {
            return Err(Violation { from, to: a.at, admitted });
        }
    }
    Ok(())
}

fn check_bucket(limit: Limit, admissions: &[Admission]) -> Result<(), Violation> {
    let (max, per) = (i128::from(limit.rate().max()), i128::from(limit.rate().per_ns()));
    let allowance = max + i128::from(limit.burst()) * per;
    // The smallest window with the i-th and the j-th in it has length t_j − t_i + 1. The limit holds in it if
    // (sum(i..=j) − b)·per < (t_j − t_i + 1)·max, that is, if score_j − start_i < max + b·per, with the score taken
    // after and the start before counting. So only the smallest start so far matters.
    let (mut sum, mut lowest, mut lowest_at, mut sum_at_lowest) = (0i128, i128::MAX, Nanos::default(), 0i128);
    for a in admissions {
        let start = sum * per - i128::from(a.at.as_nanos()) * max;
        if start < lowest {
            (lowest, lowest_at, sum_at_lowest) = (start, a.at, sum);
        }
        sum += i128::from(a.calls);
        let score = sum * per - i128::from(a.at.as_nanos()) * max;
        if score - lowest >= allowance {
            return Err(Violation { from: lowest_at, to: a.at, admitted: (sum - sum_at_lowest) as u64 });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(not(model))]
    use crate::limit::{Calendar, Zone};
    use proptest::prelude::*;

    fn list(times: &[u64]) -> Vec<Admission> {
        times.iter().map(|&ns| Admission { at: Nanos::from_nanos(ns), calls: 1 }).collect()
    }

    #[test]
    fn an_admission_one_nanosecond_early_is_found() {
        let limit = Limit::patient("2/10ns".parse().unwrap());
        assert_eq!(check(limit, &mut list(&[0, 5, 10, 15, 40])), Ok(()));
        let over = check(limit, &mut list(&[0, 5, 10, 14, 40])).unwrap_err();
        assert_eq!((over.admitted, over.to.as_nanos()), (4, 14));
    }

    #[test]
    fn bursts_are_allowed_after_idle_times_only() {
        let limit = Limit::with_burst("1/10ns".parse().unwrap(), 3).unwrap();
        assert_eq!(check(limit, &mut list(&[7, 7, 7, 17, 27, 57, 57, 57])), Ok(()));
        assert!(check(limit, &mut list(&[7, 7, 7, 7])).is_err());
        assert!(check(limit, &mut list(&[7, 7, 7, 17, 27, 47, 47, 47])).is_err());
    }

    #[test]
    fn each_kind_is_judged_by_its_definition() {
        let rate = "2/10ns".parse().unwrap();
        let first_use = Limit::fixed_window(rate, Start::FirstUse).unwrap();
        let (greedy, sliding) = (Limit::greedy(rate).unwrap(), Limit::sliding_counter(rate).unwrap());
        assert_eq!(check(first_use, &mut list(&[3, 12, 13, 14, 23, 23])), Ok(()));
        assert!(check(first_use, &mut list(&[3, 11, 12])).is_err());
        assert_eq!(check(greedy, &mut list(&[3, 12, 13, 22])), Ok(()));
        assert_eq!(check(greedy, &mut list(&[3, 12, 13, 21])).unwrap_err().admitted, 3);
        assert_eq!(check(sliding, &mut list(&[3, 3, 12, 12])), Ok(()));
        assert!(check(sliding, &mut list(&[3, 3, 12, 12, 12])).is_err());
    }

    /// Windows by the wall clock, which this thread sets to midnight.
    #[cfg(not(model))]
    #[test]
    fn windows_by_the_wall_clock_are_judged_by_its_hours_and_days() {
        let _wall = crate::clock::set::SetWall::ahead_by(1_795_651_200_000_000_000);
        let hour = 3_600_000_000_000;
        let fixed = Limit::fixed_window("2/h".parse().unwrap(), Start::Epoch).unwrap();
        let daily = Limit::calendar_window(2, Calendar::Day, Zone::UTC).unwrap();
        assert_eq!(check(fixed, &mut list(&[1, hour - 1, hour, hour + 1])), Ok(()));
        assert!(check(fixed, &mut list(&[1, hour - 2, hour - 1])).is_err());
        assert_eq!(check(daily, &mut list(&[1, 24 * hour - 1, 24 * hour, 24 * hour])), Ok(()));
        assert!(check(daily, &mut list(&[1, hour, 24 * hour - 1])).is_err());
        #[cfg(feature = "zones")]
        {
            // In Berlin the day ends at 23:00 UTC.
            let berlin = Zone::named("Europe/Berlin").unwrap();
            let daily = Limit::calendar_window(2, Calendar::Day, berlin).unwrap();
            assert_eq!(check(daily, &mut list(&[1, 23 * hour - 1, 23 * hour, 24 * hour])), Ok(()));
            assert!(check(daily, &mut list(&[23 * hour, 24 * hour, 46 * hour])).is_err());
        }
    }

    proptest! {
        /// The single pass agrees with checking every pair.
        #[test]
        fn agrees_with_a_check_of_every_window(
            max in 1u64..5, per in 5u64..20, burst in 1u64..4,
            mut taken in prop::collection::vec((0u64..60, 1u64..3), 0..12),
        ) {
            let rate = crate::limit::Rate::new(max, std::time::Duration::from_nanos(per)).unwrap();
            let limit = Limit::with_burst(rate, burst).unwrap();
            taken.sort_unstable();
            let over = (0..taken.len()).any(|i| (i..taken.len()).any(|j| {
                let window = taken[j].0 - taken[i].0 + 1;
                let sum: u64 = taken[i..=j].iter().map(|t| t.1).sum();
                sum > burst && (sum - burst) * per >= window * max
            }));
            let mut list: Vec<_> = taken.iter().map(|&(ns, calls)| Admission { at: Nanos::from_nanos(ns), calls }).collect();
            prop_assert_eq!(check(limit, &mut list).is_err(), over);
        }
    }
}
