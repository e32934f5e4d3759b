//! Joining the line, and leaving it.

use super::{WaitStep, Waiter};
use crate::clock::{self, Nanos};
use crate::commit::CommitError;
use crate::denied::{Denied, DeniedBy};
use crate::limit::{Asked, Costs, MAX_LIMITS, MAX_WAIT};
use crate::limiter::Limiter;
use crate::line::{Caller, CallerWaker, Callers, Key};
use crate::sync::Ordering;

impl Limiter {
    /// Makes sure that this caller is in the line. Returns its key, or what it does instead.
    pub(super) fn ensure_in_line(
        &self,
        callers: &mut Callers,
        waiter: &mut Waiter,
        waker: &CallerWaker,
        now: Nanos,
    ) -> std::result::Result<std::result::Result<Key, WaitStep>, CommitError> {
        let epoch = self.refresh_epoch(callers, now.as_nanos());
        if waiter.key.is_none() {
            let Some(costs) = self.costs_in(epoch, waiter.demand.ask.asked())? else {
                return Err(CommitError::Changed);
            };
            if let Some(step) = self.join(callers, waiter, &costs, waker, now)? {
                return Ok(Err(step));
            }
        }
        let Some(key) = waiter.key else { return Err(CommitError::Changed) };
        callers.mark_awake(key, waker);
        if callers.costs(key) == [0; MAX_LIMITS] {
            // The limits were changed, and this request does not fit them: report why.
            self.costs_in(epoch, waiter.demand.ask.asked())?;
            return Err(CommitError::Changed);
        }
        self.publish_first(callers, now.as_nanos());
        Ok(Ok(key))
    }

    /// Adds the caller to the line, or says what it does instead.
    pub(super) fn join(
        &self,
        callers: &mut Callers,
        waiter: &mut Waiter,
        costs: &Costs,
        waker: &CallerWaker,
        now: Nanos,
    ) -> std::result::Result<Option<WaitStep>, CommitError> {
        // A process attaches even if its caller gets nothing, so that `inspect` lists it.
        let _ = self.process.seat.counter(&self.segment);
        let is_new = waiter.since.is_none();
        let since = *waiter.since.get_or_insert(now);
        let at = now.as_nanos();
        if self.line().is_occupied() {
            self.reap_front(at, callers.place_index());
        }
        let mut refusal = self.refusal(callers, waiter, costs, since, now)?;
        if refusal.is_some() && self.reap_all(at, callers.place_index()) {
            refusal = self.refusal(callers, waiter, costs, since, now)?;
        }
        if let Some(denied) = refusal {
            return Ok(Some(WaitStep::Denied(denied)));
        }
        if !matches!(self.process.place(&self.segment, callers), Ok(Some(_))) {
            // Counted once per caller: it looks again and again.
            self.segment.header().line.unordered.fetch_add(u64::from(is_new), Ordering::Relaxed);
            return Ok(Some(WaitStep::NoPlace(now)));
        }
        let caller =
            Caller::new(waiter.demand.ask.clone(), *costs, waiter.demand.latest.as_nanos(), waker.clone());
        waiter.key = Some(callers.insert(since.as_nanos(), caller));
        self.publish_first(callers, at);
        Ok(None)
    }

    /// Why a caller that arrived at `since` is denied instead of joining the line, if it is.
    fn refusal(
        &self,
        callers: &Callers,
        waiter: &Waiter,
        costs: &Costs,
        since: Nanos,
        now: Nanos,
    ) -> std::result::Result<Option<Denied>, CommitError> {
        let at = now.as_nanos();
        let summary = self.summarize_line(callers, (since.as_nanos(), u64::MAX), costs, callers.epoch, at);
        let Some(max) = self.segment.generations().max_waiters(callers.epoch) else {
            return Err(CommitError::Changed);
        };
        if summary.all >= waiter.demand.max_waiting.min(max.map_or(u64::MAX, u64::from)) {
            let by = DeniedBy::Line { waiting: summary.all };
            return Ok(Some(Denied::new(by, now)));
        }
        let turns = self.ready_turns(callers.epoch, at, summary.oldest);
        // Its turn may be charged already, for a caller that has left. The estimate cannot tell: it counts that turn as
        // used.
        let has_turn = usize::try_from(summary.before)
            .ok()
            .and_then(|before| turns.iter().filter(|(turn, _)| turn.at >= since.as_nanos()).nth(before))
            .is_some_and(|(turn, charge)| {
                turn.at <= waiter.demand.latest.as_nanos() && charge.is_enough_for(costs)
            });
        if !has_turn
            && let Some((ready, limit)) = self.estimate_in_line(callers.epoch, &summary, &turns, costs)?
        {
            if ready > waiter.demand.latest {
                // Read after the estimate: what the limits admit now is reserved for the line, or needs a permit.
                let now = clock::now();
                let denied = if ready <= now && self.has_permits() && self.free_permits() <= summary.before {
                    Denied::new(DeniedBy::Permits, now)
                } else {
                    self.too_late(ready, now, limit)
                };
                return Ok(Some(denied));
            }
            if ready.since(now) > MAX_WAIT {
                return Err(CommitError::TooFar { ready, now });
            }
        }
        Ok(None)
    }

    /// Publishes the first caller of this process, and how many are behind it, at its place; enters the line or leaves
    /// it accordingly.
    pub(super) fn publish_first(&self, callers: &mut Callers, now: u64) {
        callers.mark_late(now);
        let Some(place) = callers.place_index() else { return };
        let line = self.line();
        match callers.first() {
            None => {
                callers.published = None;
                line.leave(place);
                // A place far back in the table means that many processes wait: another one may need it.
                if place >= self.segment.places().len() / 2 {
                    self.process.release_place(&self.segment, callers);
                }
            }
            Some(first) if callers.published == Some(first) => {
                let front = callers.front(first);
                line.write_behind(place, front.behind, front.newest);
                line.reenter(place);
            }
            Some(first) => {
                line.write(place, &callers.front(first));
                // Its caller is awake, or is being woken.
                line.plan(place, now);
                if callers.published.is_none() {
                    line.enter(place);
                }
                callers.published = Some(first);
            }
        }
    }

    /// Returns the current epoch. If it is new, recomputes the costs of all callers by its limits.
    pub(super) fn refresh_epoch(&self, callers: &mut Callers, now: u64) -> u64 {
        let epoch = self.segment.generations().epoch();
        if callers.epoch != epoch {
            callers.recount(epoch, now, |ask| self.costs_in(epoch, ask.asked()).ok().flatten());
            if let (Some(place), Some(first)) = (callers.place_index(), callers.published) {
                self.line().write(place, &callers.front(first));
            }
        }
        epoch
    }

    /// What a request costs each limit, if it can ever be admitted; `None` if the epoch is over.
    pub(super) fn costs_in(
        &self,
        epoch: u64,
        asked: Asked<'_>,
    ) -> std::result::Result<Option<Costs>, CommitError> {
        if self.segment.has_records() {
            return self.segment.records(None).costs_in(epoch, asked);
        }
        let Some(max) = self.segment.words().max_cost(epoch) else { return Ok(None) };
        match asked.cost().only_calls().filter(|&n| n > 0) {
            None => Err(CommitError::WrongUnits),
            Some(n) if n > max => Err(CommitError::NeverAdmissible { limit: 0, max }),
            Some(n) => Ok(Some([n; MAX_LIMITS])),
        }
    }

    /// Removes the caller from the line, and wakes the one that is first now.
    pub(super) fn leave_line(&self, callers: &mut Callers, waiter: &mut Waiter) {
        let Some(key) = waiter.key.take() else { return };
        if !callers.remove(key) {
            return;
        }
        let now = clock::now().as_nanos();
        let was_shown = callers.published == Some(key);
        let place = callers.place_index().unwrap_or(usize::MAX);
        self.publish_first(callers, now);
        if callers.is_empty() {
            self.pass_on_turns(place);
        } else if was_shown {
            self.wake_own_first(callers, now);
            self.wake_first(self.segment.generations().epoch(), place);
        }
    }

    /// Wakes the first caller of this process, so that it learns that it is first.
    pub(super) fn wake_own_first(&self, callers: &mut Callers, now: u64) {
        let Some(first) = callers.published else { return };
        if callers.is_woken_by_bell(first) {
            if let Some(place) = callers.place_index() {
                self.ring(place);
            }
        } else {
            callers.wake(first, now);
        }
    }
}
