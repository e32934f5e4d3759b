//! An independent check: was the limit kept in every window of every length, given the admissions and their times?
//!
//! It uses only the definition, not the algorithm: with a burst of `b` and `max` per `per`, a half-open window of `w`
//! nanoseconds holds fewer than `b + w·max/per` calls. (For `b = 1` and `w = per`: at most `max`.)

use super::Limit;
use crate::clock::Nanos;
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
pub fn check(limit: Limit, admissions: &mut [Admission]) -> Result<(), Violation> {
    admissions.sort_unstable();
    let (max, per) = (i128::from(limit.rate().max()), i128::from(limit.rate().per_ns()));
    let allowance = max + i128::from(limit.burst()) * per;
    // The smallest window with the i-th and the j-th in it has length t_j − t_i + 1. The limit holds in it if
    // (sum(i..=j) − b)·per < (t_j − t_i + 1)·max, that is, if score_j − start_i < max + b·per, with the score taken
    // after and the start before counting. So only the smallest start so far matters.
    let (mut sum, mut lowest, mut lowest_at, mut sum_at_lowest) = (0i128, i128::MAX, Nanos::default(), 0i128);
    for a in admissions.iter() {
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
