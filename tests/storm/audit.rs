//! Never over, where the limit was changed meanwhile: by definition, from admissions and from when changes may have been.

use shm_lib::limit::audit::Admission;

/// A change that happened, if it did, at some instant from `from` to `to`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change {
    pub(crate) from: u64,
    pub(crate) to: u64,
    /// To what: tokens a second.
    pub(crate) rate: u64,
}

/// The most generous rate that may have applied at each instant.
pub(crate) struct Generous {
    /// From when on, tokens times 1e9 earned until then, tokens a second from then on.
    steps: Vec<(u64, i128, u64)>,
}

impl Generous {
    /// One rate for all time.
    pub(crate) fn constant(rate: u64) -> Generous {
        Generous { steps: vec![(0, 0, rate)] }
    }

    /// `first`, and then as changed. Sorted by time; a change may overlap with the next one, if it was cut off.
    pub(crate) fn changing(first: u64, changes: &[Change]) -> Generous {
        let mut edges: Vec<u64> = changes.iter().flat_map(|c| [c.from, c.to]).collect();
        edges.sort_unstable();
        edges.dedup();
        let mut all = Generous::constant(first);
        for at in edges {
            // The last one that surely was, and all that may have been since.
            let sure = changes.iter().rposition(|c| c.to <= at);
            let certain = sure.map_or(first, |i| changes[i].rate);
            let perhaps = changes[sure.map_or(0, |i| i + 1)..].iter().take_while(|c| c.from <= at);
            let rate = perhaps.map(|c| c.rate).fold(certain, u64::max);
            all.steps.push((at, all.earned(at), rate));
        }
        all
    }

    /// Tokens times 1e9 that came until `at`.
    fn earned(&self, at: u64) -> i128 {
        let (from, total, rate) = self.steps[self.steps.partition_point(|step| step.0 <= at) - 1];
        total + i128::from(at - from) * i128::from(rate)
    }
}

/// Checks that no window holds as many tokens as `burst`, what was earned in it, and a burst more for each reset that may
/// lie in it: the definition of `limit::audit`, for rates that change. `resets` are sorted.
pub(crate) fn kept(
    burst: u64,
    rates: &Generous,
    resets: &[Change],
    admitted: &mut [Admission],
) -> Result<(), String> {
    admitted.sort_unstable();
    let second = 1_000_000_000_i128;
    let burst = i128::from(burst) * second;
    let mut begun: Vec<u64> = resets.iter().map(|r| r.from).collect();
    let mut over: Vec<u64> = resets.iter().map(|r| r.to).collect();
    begun.sort_unstable();
    over.sort_unstable();
    let gift = |resets: usize| resets as i128 * burst;
    let (mut sum, mut lowest, mut since) = (0_i128, i128::MAX, (0, 0_i128));
    for a in admitted.iter() {
        let at = a.at.as_nanos();
        let start = sum * second - rates.earned(at) - gift(over.partition_point(|&to| to < at));
        if start < lowest {
            (lowest, since) = (start, (at, sum));
        }
        sum += i128::from(a.calls);
        let end = sum * second - rates.earned(at + 1) - gift(begun.partition_point(|&from| from <= at));
        if end - lowest >= burst {
            return Err(format!(
                "{} tokens within {} ns, from {} ns on",
                sum - since.1,
                at - since.0,
                since.0
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use shm_lib::Nanos;

    const MS: u64 = 1_000_000;

    fn at_ms(times: &[u64]) -> Vec<Admission> {
        times.iter().map(|&ms| Admission { at: Nanos::from_nanos(ms * MS), calls: 1 }).collect()
    }

    fn change(from: u64, to: u64, rate: u64) -> Change {
        Change { from: from * MS, to: to * MS, rate }
    }

    #[test]
    fn without_changes_the_audit_is_the_plain_one() {
        let rate = Generous::constant(100);
        assert!(kept(2, &rate, &[], &mut at_ms(&[50, 50, 60, 70])).is_ok());
        assert!(kept(2, &rate, &[], &mut at_ms(&[50, 50, 60, 69])).is_err());
        assert!(kept(2, &rate, &[], &mut at_ms(&[50, 50, 50])).is_err());
    }

    #[test]
    fn each_window_is_checked_by_the_rate_in_force() {
        // 100/s, from some instant between 1000 and 1010 ms on 1000/s, and from 2000 on 100/s again.
        let changes = [change(1000, 1010, 1000), change(2000, 2000, 100)];
        let rates = Generous::changing(100, &changes);
        assert!(kept(1, &rates, &[], &mut at_ms(&[980, 990, 1000, 1001, 1002])).is_ok());
        assert!(kept(1, &rates, &[], &mut at_ms(&[980, 990, 999])).is_err());
        assert!(kept(1, &rates, &[], &mut at_ms(&[1998, 1999, 2000, 2010])).is_ok());
        assert!(kept(1, &rates, &[], &mut at_ms(&[1998, 1999, 2000, 2009])).is_err());
    }

    #[test]
    fn an_interrupted_change_may_or_may_not_count() {
        // Cut off at 1000, and the next one is done at 1500.
        let changes = [change(1000, 1500, 1000), change(1400, 1500, 100)];
        let rates = Generous::changing(100, &changes);
        assert!(kept(1, &rates, &[], &mut at_ms(&[1200, 1201, 1450, 1451])).is_ok());
        assert!(kept(1, &rates, &[], &mut at_ms(&[1600, 1601])).is_err());
    }

    #[test]
    fn a_reset_allows_one_burst_more_in_windows_around_it() {
        let rate = Generous::constant(1);
        let resets = [change(50, 60, 0)];
        assert!(kept(2, &rate, &resets, &mut at_ms(&[40, 41, 61, 62])).is_ok());
        assert!(kept(2, &rate, &resets, &mut at_ms(&[40, 41, 61, 62, 63])).is_err());
        assert!(kept(2, &rate, &resets, &mut at_ms(&[40, 41, 49])).is_err());
        assert!(kept(2, &rate, &resets, &mut at_ms(&[61, 62, 63])).is_err());
    }
}
