//! Turns of the line: charged ahead of their time, and undone if nobody uses them.

use super::view::View;
use crate::clock::{self, Nanos};
use crate::commit::{CommitError, Pair, Verdict};
use crate::layout::TurnTable;
use crate::limit::{Asked, Costs, MAX_LIMITS, MAX_WAIT};
use crate::limiter::Limiter;
use crate::limiter::process::CellAccess;
use crate::line::{Charge, ReadyTurn};
use crate::seat::HolderId;
use std::time::Duration;

/// Turns that come within this time are charged ahead, so that somebody who wakes late uses up what came meanwhile. The
/// first turn to come always is: so nobody who tries takes what those who stand have waited for.
///
/// More than the usual lateness of a wake-up on a busy machine. It bounds by how much those who wake late come together,
/// and what callers that try have to wait for when all who stand are killed.
const HORIZON: Duration = Duration::from_millis(20);
/// A turn that nobody claimed for this long is for whoever meets it: those who were first when it came are gone or stopped.
pub(super) const UNCLAIMED: Duration = Duration::from_millis(100);

/// When the next turn is to come, at the latest, so that it is charged now. These are ready.
pub(super) fn wanted_by(ready: &[(ReadyTurn, Charge)], now: u64) -> Nanos {
    match ready.iter().filter(|(turn, _)| turn.at > now).count() {
        0 => Nanos::from_nanos(u64::MAX),
        _ => Nanos::from_nanos(now).plus(HORIZON),
    }
}

impl Limiter {
    pub(super) fn turns(&self) -> &TurnTable {
        &self.segment.fixed().turns
    }

    /// The turns of this epoch that are ready. Others are void, and those that nobody can want any more are undone.
    pub(super) fn ready_turns(&self, epoch: u64, now: u64, oldest: u64) -> Vec<(ReadyTurn, Charge)> {
        let table = self.turns();
        let mut turns = Vec::new();
        for turn in table.ready().all() {
            let charge = table.charge_of(turn);
            let is_over = turn.at.saturating_add(UNCLAIMED.as_nanos() as u64) < now && turn.at < oldest;
            // Nobody charges for a turn so far ahead.
            if turn.at > now.saturating_add(2 * MAX_WAIT.as_nanos() as u64) {
                table.take(turn);
            } else if charge.epoch != epoch {
                // Not those of an epoch that this process has not heard of yet.
                if !self.segment.generations().is_current_after_write(charge.epoch) {
                    table.take(turn);
                }
            } else if is_over {
                self.undo(turn, &charge, None);
            } else {
                turns.push((*turn, charge));
            }
        }
        turns
    }

    /// Charges one more turn for the line, if it comes by `latest`, and says when it comes. Whoever finds that it was
    /// charged by other limits than it knows looks again: to it the turn is none, and it would charge the next, and the
    /// next.
    pub(super) fn fill(
        &self,
        by: HolderId,
        costs: &Costs,
        epoch: u64,
        latest: Nanos,
    ) -> std::result::Result<Option<Nanos>, CommitError> {
        let Some(filling) = self.turns().begin(by) else { return Ok(None) };
        match self.charge_turn(filling.slot(), costs, epoch, latest) {
            Ok(Some((at, charge))) => {
                self.turns().publish(filling, at.as_nanos(), &charge);
                if charge.epoch == epoch { Ok(Some(at)) } else { Err(CommitError::Changed) }
            }
            nothing => {
                self.turns().abandon(filling);
                nothing.map(|_| None)
            }
        }
    }

    /// By the clock itself: by a cheaper time, which may be a little behind, the turn could come before those who stand
    /// arrived, and be nobody's.
    fn charge_turn(
        &self,
        slot: usize,
        costs: &Costs,
        epoch: u64,
        latest: Nanos,
    ) -> std::result::Result<Option<(Nanos, Charge)>, CommitError> {
        if !self.segment.has_records() {
            let (decision, before) = self.segment.words().charge_turn(costs[0], latest, &clock::now)?;
            return Ok(match decision {
                Verdict::Admitted { at, epoch, state, .. } => {
                    let charged = [0; MAX_LIMITS];
                    Some((at, Charge { epoch, before, after: state, costs: *costs, charged }))
                }
                Verdict::Denied { .. } => None,
            });
        }
        let Ok(Some(mut cells)) = self.process.cells(&self.segment) else { return Err(CommitError::NoSeat) };
        let records = self.segment.records(Some(cells.pair()));
        let asked = Asked::Costs(costs, epoch);
        match records.reserve(asked, latest, &clock::now, true, &mut cells.scratch)? {
            Verdict::Admitted { at, epoch, state, .. } => {
                records.keep_before(epoch, &self.segment.turn_cells()[slot], cells.scratch.before_it());
                let (charged, before) = (cells.scratch.charged(), cells.scratch.word_before());
                Ok(Some((at, Charge { epoch, before, after: state, costs: *costs, charged })))
            }
            Verdict::Denied { .. } => Ok(None),
        }
    }

    /// Whether the next turn to come was charged for a caller that asked for more or for less than the first in line, who
    /// has this view, does: an own one would come earlier, or this one is of no use to it. And whether it can be undone with
    /// all that were charged after it. Not if that caller is only late: small requests would put off a large one again and
    /// again.
    pub(super) fn is_for_others(&self, view: &View, costs: &Costs) -> bool {
        let (Some((next, its)), Some((_, last))) = (view.turns.first(), view.turns.last()) else {
            return false;
        };
        view.crowd.before == 0
            && !view.crowd.late_before
            && next.at > view.now
            && its.costs != *costs
            && view.turns.windows(2).all(|two| two[1].1.before == two[0].1.after)
            && self.segment.generations().state_of(last.epoch) == last.after
    }

    /// Takes back the charges of turns that are still to come, the latest first: exactly, unless something else was charged
    /// since. They are charged anew by whoever looks next, for those who stand then.
    pub(super) fn undo_turns_to_come(&self, pair: Option<Pair>) {
        let now = clock::now().as_nanos();
        self.undo_turns(pair, |turn| turn.at > now);
    }

    /// Takes back the charges of all turns that nobody has claimed, the latest first, while one `is_to_go`.
    pub(in crate::limiter) fn undo_turns(&self, pair: Option<Pair>, is_to_go: impl Fn(&ReadyTurn) -> bool) {
        let table = self.turns();
        // The state word that was undone last, and what is there in its place.
        let mut now_as = None;
        for turn in table.ready().all().iter().rev() {
            if !is_to_go(turn) {
                return;
            }
            let charge = table.charge_of(turn);
            let after = now_as.filter(|(was, _)| *was == charge.after).map_or(charge.after, |(_, is)| is);
            now_as = self.undo(turn, &Charge { after, ..charge }, pair).map(|is| (charge.before, is));
        }
    }

    /// Takes back the charge of this turn, if nobody has claimed it; says the state word then, if nothing was charged after
    /// it. Otherwise a turn that is to come stays, for whoever stands when it comes; one that has come is given back as
    /// far as it can be.
    pub(super) fn undo(&self, turn: &ReadyTurn, charge: &Charge, pair: Option<Pair>) -> Option<u64> {
        let is_newest = self.segment.generations().state_of(charge.epoch) == charge.after;
        if turn.at > clock::now().as_nanos() && !is_newest {
            return None;
        }
        if !self.segment.has_records() {
            return self.undo_word(turn, charge);
        }
        let cells = if pair.is_none() { self.process.cells(&self.segment).ok()? } else { None };
        self.undo_record(turn, charge, pair.or_else(|| cells.as_ref().map(CellAccess::pair)))
    }

    pub(super) fn undo_word(&self, turn: &ReadyTurn, charge: &Charge) -> Option<u64> {
        let (epoch, cost, words) = (charge.epoch, charge.costs[0], self.segment.words());
        if !self.turns().take(turn) {
            return None;
        }
        // Undone, the word is what it was right after the turn before.
        if !words.undo(epoch, (charge.before, charge.after), cost) {
            self.refund_of(turn, charge, &charge.costs, None);
        }
        None
    }

    fn undo_record(&self, turn: &ReadyTurn, charge: &Charge, pair: Option<Pair>) -> Option<u64> {
        let (epoch, records) = (charge.epoch, self.segment.records(pair));
        // Read before it is taken: then somebody else may fill the slot.
        let before = records.kept_before(epoch, &self.segment.turn_cells()[turn.slot]);
        if !self.turns().take(turn) {
            return None;
        }
        let undone = records.cancel(epoch, charge.after, &before).ok().flatten();
        if undone.is_none() {
            self.refund_of(turn, charge, &charge.costs, pair);
        }
        undone
    }

    /// Gives back so much of what was charged for a turn that this process has taken, as a settlement does. Of a state that
    /// is a record nothing is given back without a `pair` of cells.
    pub(super) fn refund_of(&self, turn: &ReadyTurn, charge: &Charge, unused: &Costs, pair: Option<Pair>) {
        let (epoch, at) = (charge.epoch, Nanos::from_nanos(turn.at));
        if self.segment.has_records() {
            let (records, unused) = (self.segment.records(pair), Asked::Costs(unused, epoch));
            let _ = records.refund(epoch, charge.after, Some(&charge.charged), unused, at);
        } else {
            self.segment.words().refund(epoch, at, Some(charge.after), unused[0], &clock::SystemClock);
        }
    }
}
