//! Turns reserved and given back: no turn is given twice, none is left out.

use super::Checks;
use crate::ending::{Finding, Pair};
use crate::fixture::{Fixture, drain, ensure, inspected};
use crate::victim::{Result, Victim};
use shm_lib::{Kind, RateLimit, Reservation};
use std::ops::RangeInclusive;

/// How often a turn is taken and given back beside the victim.
const ROUNDS: usize = 150;

/// The next turns are days away.
pub(crate) struct Reservations {
    /// Whether the victim gives its turn back; otherwise it takes one.
    cancels: bool,
    /// The next one, and between what the one after it is.
    first: u64,
    second: RangeInclusive<u64>,
    kept: Option<Reservation>,
}

impl Reservations {
    pub(crate) fn new(cancels: bool) -> Reservations {
        Reservations { cancels, first: 0, second: 0..=0, kept: None }
    }
}

impl Reservations {
    /// Whether this turn is the second one; otherwise it is the first.
    fn is_second(&self, at: u64) -> Result<bool> {
        let second = self.second.contains(&at);
        ensure(second || at == self.first, || {
            format!("a turn {} ns after the first", at.wrapping_sub(self.first))
        })?;
        Ok(second)
    }
}

impl Reservations {
    /// Whether no turn was given twice, and not more than one is left out.
    fn are_in_order(&self, limit: &RateLimit, mut given: Vec<u64>) -> Result<()> {
        given.sort_unstable();
        let policy = limit.policy().map_err(|e| e.to_string())?;
        let slowest = policy.limits().map(|limit| limit.rate().per() / limit.rate().max() as u32).max();
        let gap = slowest.ok_or("no limit")?.as_nanos() as u64;
        let first = policy.first().ok_or("no limit")?;
        // Two at a time where they come so.
        let together = if first.kind() == Kind::Greedy { first.rate().max() as usize } else { 1 };
        let since = |at: u64| at.wrapping_sub(self.first) as f64 / gap as f64;
        let told = || given.iter().map(|&at| format!("{:.3}", since(at))).collect::<Vec<_>>().join(" ");
        for pair in given.windows(together + 1) {
            let least = gap * together as u64 - 1;
            ensure(pair[together] - pair[0] >= least, || format!("turns too close: {}", told()))?;
        }
        ensure(given[0] == self.first, || format!("the first turn is left out: {}", told()))?;
        let last = given.last().map_or(0.0, |&at| since(at));
        // Of two that come together the second is not later than the first.
        let most = given.len() + together - 1;
        ensure(last <= most as f64, || format!("turns are left out: {}", told()))
    }
}

fn turn(limit: &RateLimit) -> Result<Reservation> {
    limit.reserve(1).map_err(|e| e.to_string())
}

impl Checks for Reservations {
    fn prepare(&mut self, fixture: &mut Fixture) -> Result<()> {
        let limit = fixture.limit();
        drain(&limit)?;
        let next = turn(&limit)?;
        self.first = next.at().as_nanos();
        let limit = limit.limit().map_err(|e| e.to_string())?;
        self.second = if limit.kind() == Kind::Greedy {
            // As long after it as the second admission was after the first.
            self.first + 1..=self.first + 1_000_000_000
        } else {
            let gap = limit.rate().per().as_nanos() as u64 / limit.rate().max();
            self.first + gap - 1..=self.first + gap + 1
        };
        ensure(next.cancel(), || "a turn can't be given back".into())
    }

    fn after_death(&mut self, fixture: &mut Fixture) -> Result<Option<bool>> {
        let limit = fixture.limit();
        inspected(&limit, 0, &[limit.policy().map_err(|e| e.to_string())?])?;
        let victim_has_one = self.is_second(turn(&limit)?.at().as_nanos())?;
        let kept = turn(&limit)?;
        ensure(self.is_second(kept.at().as_nanos())? == victim_has_one, || "another turn".into())?;
        let next = turn(&limit)?;
        let two_on =
            if victim_has_one { next.at() > kept.at() } else { self.is_second(next.at().as_nanos())? };
        ensure(two_on, || format!("a turn at {:?} after one at {:?}", next.at(), kept.at()))?;
        Ok(Some(victim_has_one != self.cancels))
    }

    fn beside(&mut self, fixture: &mut Fixture) -> Result<()> {
        let limit = fixture.limit();
        for round in 0..ROUNDS {
            let mine = fixture.beside(|| turn(&limit))?;
            self.is_second(mine.at().as_nanos())?;
            if round + 1 == ROUNDS {
                self.kept = Some(mine);
            } else {
                let given_back = fixture.beside(|| mine.cancel());
                ensure(given_back, || "a turn can't be given back".into())?;
            }
        }
        Ok(())
    }

    fn after_all(&mut self, fixture: &mut Fixture, victim: Victim) -> Result<()> {
        let report = victim.leave()?;
        let kept = self.kept.take().ok_or("no turn was kept")?;
        let mine = kept.at().as_nanos();
        if report.tokens == 1 {
            ensure(self.is_second(report.at)? != self.is_second(mine)?, || {
                format!("the victim has the turn {}, this process {mine}", report.at)
            })?;
        }
        let later = turn(&fixture.limit())?;
        let first_free = later.at().as_nanos();
        ensure(first_free > mine && (report.tokens == 0 || first_free > report.at), || {
            format!("the turn {first_free} comes after {mine} and {}", report.at)
        })
    }

    fn after_fork(&mut self, fixture: &mut Fixture, mut pair: Pair) -> Result<Finding> {
        let limit = fixture.limit();
        let parents = pair.parent.report()?;
        let mut given = Vec::new();
        if self.cancels {
            // Given back, it is the next one again; and its new owner may be the only one who came since.
            ensure(parents.tokens == 0, || "the parent's turn was not given back".into())?;
        } else {
            given.push(parents.at);
        }
        for _ in 0..if fixture.odd { 3 } else { 1 } {
            given.push(pair.parent.repeat(1)?.at);
        }
        for _ in 0..20 {
            let mine = fixture.beside(|| turn(&limit))?;
            let given_back = fixture.beside(|| mine.cancel());
            ensure(given_back, || "a turn can't be given back".into())?;
        }
        let childs = pair.child_goes_on()?;
        let copied = childs.at == parents.at;
        if !copied && childs.tokens > 0 {
            given.push(childs.at);
        }
        let mut parent = pair.child_ends()?;
        for _ in 0..5 {
            given.push(parent.repeat(1)?.at);
            given.push(used(&limit)?);
        }
        parent.end()?;
        self.are_in_order(&limit, given)?;
        Ok(Finding { copied: copied && !self.cancels, ..Finding::default() })
    }

    fn has_effect(&mut self, fixture: &mut Fixture) -> Result<Option<bool>> {
        // What is given back admits nothing.
        Ok((!self.cancels).then(|| fixture.has_changed()))
    }
}

/// A turn that is not given back.
fn used(limit: &RateLimit) -> Result<u64> {
    turn(limit)?.commit().map(|admission| admission.at().as_nanos()).map_err(|e| e.to_string())
}
