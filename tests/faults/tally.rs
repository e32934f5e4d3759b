//! What was found at the instructions of one operation, in numbers, and as a line of the table.

use crate::ending::{End, Finding};
use std::fmt;
use std::time::Duration;

#[derive(Default)]
pub(crate) struct Tally {
    /// Instructions on the operation's way.
    pub(crate) instructions: usize,
    /// Visits that passed, by their end.
    pub(crate) passed: [usize; 4],
    /// Visits that failed.
    pub(crate) failed: [usize; 4],
    /// Visits that led elsewhere each time they were tried: the operation was over before, or it was at another
    /// instruction after so many steps.
    pub(crate) missed: [usize; 2],
    /// Visits that were made again since they found undone what had been done at an earlier instruction.
    pub(crate) doubtful: usize,
    /// Visits that were made again since something came later than it should.
    pub(crate) late: usize,
    /// The first instruction before which it had taken effect.
    pub(crate) effect: Option<usize>,
    /// Forks after which parent and child had the same admission.
    copied: usize,
    /// Forks after which the child took a permit in its parent's name.
    pub(crate) misnamed: usize,
    /// Instructions at which the limiter could not be retired, since the victim was changing it.
    locked: usize,
    /// The slowest of what others did beside a stopped one.
    slowest: Duration,
}

impl Tally {
    /// The table's first line.
    pub(crate) const HEADING: &'static str = "operation                instructions   killed  stopped   forked  retired   failed   copied misnamed   locked   over before   elsewhere   doubtful     late   effect at   slowest beside      time";

    /// One more that passed.
    pub(crate) fn add(&mut self, end: End, finding: &Finding) {
        self.locked += usize::from(finding.locked);
        if finding.locked {
            return;
        }
        self.passed[end as usize] += 1;
        self.copied += usize::from(finding.copied);
        self.misnamed += usize::from(finding.misnamed);
        self.slowest = self.slowest.max(finding.slowest);
    }

    /// Visits passed and missed.
    pub(crate) fn sums(&self) -> (usize, usize) {
        (self.passed.iter().sum(), self.missed.iter().sum())
    }

    /// Whether the way is one that is usually taken.
    pub(crate) fn is_usual_path(&self) -> bool {
        let (passed, missed) = self.sums();
        passed > 0 && passed >= 3 * missed
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let effect = self.effect.map_or("-".into(), |point| point.to_string());
        let slowest = format!("{:.1?}", self.slowest);
        // Passed; and how many not, if any.
        let of = |end: End| match (self.passed[end as usize], self.failed[end as usize]) {
            (passed, 0) => passed.to_string(),
            (passed, failed) => format!("{passed}-{failed}"),
        };
        let [killed, stopped, forked, retired] = End::ALL.map(of);
        let (failed, [over, elsewhere]) = (self.failed.iter().sum::<usize>(), self.missed);
        write!(
            f,
            "{:>12} {killed:>8} {stopped:>8} {forked:>8} {retired:>8} {failed:>8} {:>8} {:>8} {:>8} {over:>13} {elsewhere:>11} {:>10} {:>8} {effect:>11} {slowest:>16}",
            self.instructions, self.copied, self.misnamed, self.locked, self.doubtful, self.late
        )
    }
}
