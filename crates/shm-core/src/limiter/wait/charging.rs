//! Turns of the line: charging them ahead of their time, and undoing charges that no caller uses.

use super::view::View;
use crate::clock::{self, Nanos};
use crate::commit::{CommitError, Pair, Verdict};
use crate::intervals::{CHARGE_AHEAD, UNCLAIMED_AFTER};
use crate::layout::TurnTable;
use crate::limit::{Asked, Costs, MAX_LIMITS, MAX_WAIT};
use crate::limiter::Limiter;
use crate::limiter::process::CellAccess;
use crate::line::{Charge, ReadyTurn};
use crate::seat::HolderId;

/// By when the next turn must come to be charged now. If no future turn is ready yet, any turn is charged, however far away;
/// otherwise only one that comes soon after the first of them: the first caller sleeps until then, and may wake up late.
pub(super) fn charge_deadline(ready: &[(ReadyTurn, Charge)], now: u64) -> Nanos {
    match ready.iter().find(|(turn, _)| turn.at > now) {
        None => Nanos::from_nanos(u64::MAX),
        Some((next, _)) => Nanos::from_nanos(next.at).plus(CHARGE_AHEAD),
    }
}

impl Limiter {
    pub(super) fn turns(&self) -> &TurnTable {
        &self.segment.header().turns
    }

    /// The ready turns of this epoch. Turns of other epochs are discarded as void, and turns that no caller can use any
    /// more are undone.
    pub(super) fn ready_turns(&self, epoch: u64, now: u64, oldest: u64) -> Vec<(ReadyTurn, Charge)> {
        let table = self.turns();
        let mut turns = Vec::new();
        for turn in table.ready().all() {
            let charge = table.charge_of(turn);
            let is_over = turn.at.saturating_add(UNCLAIMED_AFTER.as_nanos() as u64) < now && turn.at < oldest;
            // Corrupt: no turn is ever charged so far ahead.
            if turn.at > now.saturating_add(2 * MAX_WAIT.as_nanos() as u64) {
                table.take(turn);
            } else if charge.epoch != epoch {
                // Turns of an epoch that this process has not seen yet are kept.
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

    /// Charges one more turn for the line if it comes by `latest`, and returns its instant. If the turn was charged
    /// under another epoch than the caller's, the caller has to look again: it would not see that turn, and would
    /// charge one after another.
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

    /// Charges the limit for a turn in this slot, if it comes by `latest`. Uses the exact clock: with the quick clock, which
    /// may lag a little, the turn could come before the arrival of the callers in line and belong to none of them.
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
                records.store_before(epoch, &self.segment.turn_cells()[slot], cells.scratch.before_it());
                let (charged, before) = (cells.scratch.charged(), cells.scratch.word_before());
                Ok(Some((at, Charge { epoch, before, after: state, costs: *costs, charged })))
            }
            Verdict::Denied { .. } => Ok(None),
        }
    }

    /// Whether the next turn was charged for a request other than that of the first caller in line, whose view this is
    /// (a turn of its own would come earlier, or this one is of no use to it), and can be undone together with all
    /// later ones. False if the caller it was charged for is merely late: small requests would otherwise delay a large
    /// one again and again.
    pub(super) fn is_charged_for_another(&self, view: &View, costs: &Costs) -> bool {
        let (Some((next, its)), Some((_, last))) = (view.turns.first(), view.turns.last()) else {
            return false;
        };
        view.summary.before == 0
            && !view.summary.late_before
            && next.at > view.now
            && its.costs != *costs
            && view.turns.windows(2).all(|two| two[1].1.before == two[0].1.after)
            && self.segment.generations().state_of(last.epoch) == last.after
    }

    /// Undoes the charges of future turns, the latest first. That is exact, unless something else was charged since.
    /// The next process that looks charges them again, for the callers in line at that time.
    pub(super) fn undo_future_turns(&self, pair: Option<Pair>) {
        let now = clock::now().as_nanos();
        self.undo_turns(pair, |turn| turn.at > now);
    }

    /// Undoes the charges of unclaimed turns, the latest first, up to the first that is not `should_undo`.
    pub(in crate::limiter) fn undo_turns(
        &self,
        pair: Option<Pair>,
        should_undo: impl Fn(&ReadyTurn) -> bool,
    ) {
        let table = self.turns();
        // The state word that was undone last, and the word that replaced it.
        let mut undone = None;
        for turn in table.ready().all().iter().rev() {
            if !should_undo(turn) {
                return;
            }
            let charge = table.charge_of(turn);
            let after = undone.filter(|(was, _)| *was == charge.after).map_or(charge.after, |(_, is)| is);
            undone = self.undo(turn, &Charge { after, ..charge }, pair).map(|is| (charge.before, is));
        }
    }

    /// Undoes the charge of this turn, if no caller has claimed it. Returns the new state word if nothing was charged
    /// after the turn. Otherwise a future turn is kept for the caller that is first when it comes, and a past turn is
    /// refunded as far as possible.
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
        // Once undone, the word is again what it was right after the previous turn, so the caller needs no replacement for it.
        if !words.undo(epoch, (charge.before, charge.after), cost) {
            self.refund_of(turn, charge, &charge.costs, None);
        }
        None
    }

    fn undo_record(&self, turn: &ReadyTurn, charge: &Charge, pair: Option<Pair>) -> Option<u64> {
        let (epoch, records) = (charge.epoch, self.segment.records(pair));
        // Read before the turn is taken: afterwards another process may fill the slot.
        let before = records.load_before(epoch, &self.segment.turn_cells()[turn.slot]);
        if !self.turns().take(turn) {
            return None;
        }
        let undone = records.cancel(epoch, charge.after, &before).ok().flatten();
        if undone.is_none() {
            self.refund_of(turn, charge, &charge.costs, pair);
        }
        undone
    }

    /// Refunds part of the charge of a turn that this process has taken, as a settlement does. Where the state is a
    /// record, nothing is refunded without a `pair` of cells.
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
