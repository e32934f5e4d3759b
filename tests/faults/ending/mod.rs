//! The fault that hits a victim at one of its instructions.
//!
//! | file | there |
//! |---|---|
//! | `killed` | it dies |
//! | `stopped` | it is stopped while others work, and then continues |
//! | `forked` | a signal handler forks; parent and child both return into what was interrupted |
//! | `retired` | it is stopped while its limiter is retired and recreated, and then continues |

mod forked;
mod killed;
mod retired;
mod stopped;

pub(crate) use forked::{Pair, of_child};

use crate::checks::Checks;
use crate::fixture::Fixture;
use crate::victim::{Result, Victim};
use std::time::{Duration, Instant};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Killed,
    Stopped,
    Forked,
    Retired,
}

/// What was found.
#[derive(Default)]
pub(crate) struct Finding {
    /// Whether the operation had taken effect, where that can be told.
    pub(crate) effect: Option<bool>,
    /// The slowest of what others did beside a stopped one.
    pub(crate) slowest: Duration,
    /// For how long all that others did lasted.
    pub(crate) took: Duration,
    /// What came later than it should.
    pub(crate) late: Option<String>,
    /// A forked child holds its permit in its parent's name.
    pub(crate) misnamed: bool,
    /// Parent and child have the same admission: it was made before the fork.
    pub(crate) copied: bool,
    /// It held the lock for changes, so its limiter could not be retired.
    pub(crate) locked: bool,
}

impl End {
    pub(crate) const ALL: [End; 4] = [End::Killed, End::Stopped, End::Forked, End::Retired];

    /// The faults whose names begin so.
    pub(crate) fn matching(name: &str) -> Vec<End> {
        let fits = |end: &End| format!("{end:?}").to_lowercase().starts_with(name);
        End::ALL.into_iter().filter(fits).collect()
    }

    /// Seats that are needed besides those of the victim and the others.
    pub(crate) fn seats(self) -> u64 {
        u64::from(self == End::Forked)
    }

    /// Lets it come to this end, and examines what is left.
    pub(crate) fn apply(
        self,
        fixture: &mut Fixture,
        checks: &mut dyn Checks,
        victim: Victim,
    ) -> Result<Finding> {
        let begun = Instant::now();
        let mut finding = match self {
            End::Killed => killed::apply(fixture, checks, victim),
            End::Stopped => stopped::apply(fixture, checks, victim),
            End::Forked => forked::apply(fixture, checks, victim),
            End::Retired => retired::apply(fixture, checks, victim),
        }?;
        finding.slowest = fixture.slowest;
        finding.late = fixture.late.take();
        if !finding.locked {
            finding.took = begun.elapsed();
        }
        Ok(finding)
    }
}
