//! The specification of the line, in terms of callers, instants and a textbook bucket, independent of the
//! implementation.
//!
//! 1. Callers are served in order of arrival. A caller that is passed is served right afterwards.
//! 2. A caller that leaves, in whatever way, takes no budget with it.
//! 3. While a caller in line is awake and could be served, the admissible budget is used up.
//! 4. Admissions never exceed the limit.
//! 5. No caller in line is denied before its deadline, and none waits long after it.
//! 6. No caller waits for ever, and processes that end leave nothing behind.

use crate::clock::Nanos;
use crate::limit::Limit;
use crate::limit::audit::{self, Admission};
use proptest::prop_assert;
use proptest::test_runner::TestCaseError;
use std::collections::{BTreeMap, BTreeSet};

pub(super) type CheckResult = Result<(), TestCaseError>;

/// A caller in line.
#[derive(Clone, Copy, Debug)]
pub(super) struct QueuedCaller {
    pub(super) id: usize,
    pub(super) process: usize,
    pub(super) arrived: u64,
    pub(super) cost: u64,
    pub(super) latest: u64,
}

/// An event that affects what the limit admits.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// This amount was used, for this instant.
    Used(u64),
    /// This caller is in line with this cost; and whether it is awake.
    Wants(usize, u64, bool),
    /// It has been served, though it may not know yet, or it has left.
    WantsNoMore(usize),
    /// Whether a permit is free.
    Permit(bool),
    Limit(Limit),
    Reset,
    Pause,
    /// After it, the bucket resumes at its sustained rate, without a burst.
    PauseEnds,
}

/// A caller that was passed, and has to be served by this instant. If no permit is free until then, it has to be served
/// within this time of the next one.
#[derive(Clone, Copy, Debug)]
struct Owed {
    id: usize,
    by: u64,
    within: u64,
}

/// The limit of one epoch.
#[derive(Clone, Copy, Debug)]
struct Epoch {
    number: u64,
    limit: Limit,
    since: u64,
    /// Whether it began with a reset.
    is_new: bool,
}

/// Stands for a caller that was never in the line.
pub(super) const NOT_IN_LINE: usize = usize::MAX;

#[derive(Debug)]
pub(super) struct Promise {
    limit: Limit,
    permits: Option<u32>,
    pub(super) held: u32,
    /// In order of arrival.
    pub(super) line: Vec<QueuedCaller>,
    owed: Vec<Owed>,
    events: Vec<(u64, Event)>,
    /// The callers that are awake.
    awake: BTreeSet<usize>,
    has_a_free_permit: bool,
    paused_until: u64,
    admitted: Vec<(u64, Admission)>,
    epochs: Vec<Epoch>,
    has_debts: bool,
    /// Until then, other callers may be served immediately: a change has undone the turns of the waiting callers.
    open_until: u64,
    /// The total time for which budget may stay unused while callers wait, for reasons that this model knows and
    /// allows.
    may_idle: u64,
}

impl Promise {
    pub(super) fn new(limit: Limit, permits: Option<u32>, epoch: u64, now: u64) -> Promise {
        Promise {
            limit,
            permits,
            held: 0,
            line: Vec::new(),
            owed: Vec::new(),
            events: vec![(now, Event::Limit(limit)), (now, Event::Reset)],
            awake: BTreeSet::new(),
            has_a_free_permit: true,
            paused_until: 0,
            admitted: Vec::new(),
            epochs: vec![Epoch { number: epoch, limit, since: now, is_new: true }],
            has_debts: false,
            open_until: 0,
            may_idle: 0,
        }
    }

    /// How long the bucket takes to produce this many tokens.
    pub(super) fn time_for(&self, tokens: u64) -> u64 {
        (tokens * self.limit.rate().per_ns()).div_ceil(self.limit.rate().max())
    }

    /// What is used for instants to come: the charges of turns that are left behind.
    fn used_ahead(&self, now: u64) -> u64 {
        let to_come = |&(at, event): &(u64, Event)| match event {
            Event::Used(tokens) if at > now => tokens,
            _ => 0,
        };
        self.events.iter().map(to_come).sum()
    }

    /// How long it takes to make up for what was charged in advance.
    pub(super) fn time_for_debts(&self, now: u64) -> u64 {
        self.time_for(self.used_ahead(now))
            + ((-self.level(now).0).max(0) / i128::from(self.limit.rate().max())) as u64
    }

    pub(super) fn max_cost(&self) -> u64 {
        self.limit.burst()
    }

    pub(super) fn find(&self, id: usize) -> Option<&QueuedCaller> {
        self.line.iter().find(|caller| caller.id == id)
    }

    /// A caller arrives, as the last one.
    pub(super) fn arrives(&mut self, caller: QueuedCaller) {
        self.line.push(caller);
    }

    /// A caller leaves. Nothing else changes.
    pub(super) fn leaves(&mut self, id: usize, now: u64) {
        self.events.push((now, Event::WantsNoMore(id)));
        self.line.retain(|caller| caller.id != id);
        self.owed.retain(|owed| owed.id != id);
    }

    /// This many tokens that came at this instant may be lost, for a documented reason.
    pub(super) fn may_lose(&mut self, tokens: u64, at: u64) {
        self.events.push((at, Event::Used(tokens)));
    }

    /// This much time may be lost until a process wakes up, for a documented reason.
    pub(super) fn may_idle(&mut self, time: u64) {
        self.may_idle += time;
    }

    /// Callers that were passed may have to wait again: those of this process, or all.
    pub(super) fn is_excused(&mut self, process: Option<usize>) {
        let line = &self.line;
        let of = |id| line.iter().find(|caller| caller.id == id).map(|caller| caller.process);
        self.owed.retain(|owed| process.is_some_and(|process| of(owed.id) != Some(process)));
    }

    /// A caller is admitted, for the instant `at`. `awake` tells which of the others are; each of those that could have
    /// been served as well is served within `soon`.
    pub(super) fn is_admitted(
        &mut self,
        id: usize,
        (cost, epoch): (u64, u64),
        (at, now): (u64, u64),
        soon: u64,
        awake: impl Fn(&QueuedCaller) -> bool,
    ) -> CheckResult {
        let me = self.find(id).copied();
        if let Some(me) = me {
            prop_assert!(at >= me.arrived, "{me:?} is served for {at}, before its arrival");
            prop_assert!(at <= now, "{me:?} is served at {now} for {at}, which has not come");
            // The clock advances while a caller looks.
            prop_assert!(now <= me.latest.saturating_add(5_000), "{me:?} is served at {now}");
        } else {
            prop_assert!(at <= now && now <= at + 10_000, "at once, at {now}, for {at}");
        }
        prop_assert!(now < self.paused_from() || at >= self.paused_until, "in a pause, for {at}");
        let last = *self.epochs.last().expect("the first");
        prop_assert!(last.number == epoch, "a turn of epoch {epoch}");
        if self.permits.is_some() {
            self.held += 1;
            prop_assert!(self.permits >= Some(self.held), "{} permits are held", self.held);
        }
        self.admitted.push((epoch, Admission { at: Nanos::from_nanos(at), calls: cost }));
        // By a clock that may lag a little.
        let at = at.max(last.since);
        self.leaves(id, at);
        self.events.push((at, Event::Used(cost)));
        // Callers behind know only the first caller of another process exactly. Of its other callers they know the
        // number, and when the first and the newest arrived.
        let before = self.line.iter().filter(|other| me.is_none_or(|me| other.arrived < me.arrived));
        let passed: Vec<usize> = before
            .filter(|other| {
                me.is_some_and(|me| me.process == other.process) || self.is_first_of_its_process(other)
            })
            .filter(|other| awake(other))
            // Its cost under the limits of this epoch is unknown before it has looked.
            .filter(|other| now >= self.open_until || me.is_some() && other.cost == cost)
            .map(|other| other.id)
            .collect();
        for (n, id) in passed.into_iter().enumerate() {
            let within = soon * (n as u64 + 1);
            if !self.owed.iter().any(|owed| owed.id == id) {
                self.owed.push(Owed { id, by: now + within, within });
            }
        }
        Ok(())
    }

    fn paused_from(&self) -> u64 {
        let pause = |(at, event): &(u64, Event)| matches!(event, Event::Pause).then_some(*at);
        self.events.iter().rev().find_map(pause).unwrap_or(u64::MAX)
    }

    fn is_first_of_its_process(&self, caller: &QueuedCaller) -> bool {
        self.line
            .iter()
            .find(|other| other.process == caller.process)
            .is_some_and(|first| first.id == caller.id)
    }

    /// A caller in line is denied. It may wake up this `late`, so a turn is of no use to it if it comes less than this
    /// before its deadline; and it should have noticed by `looks_by`.
    pub(super) fn is_denied(&mut self, id: usize, now: u64, late: u64, looks_by: u64) -> CheckResult {
        let me = self.find(id).copied().expect("in line");
        prop_assert!(now > me.latest, "{me:?} is denied at {now}");
        prop_assert!(now <= looks_by, "{me:?} is denied as late as {now}");
        self.leaves(id, me.latest.saturating_sub(late).max(me.arrived));
        Ok(())
    }

    /// A new caller is denied at once. What the bucket holds and produces until the deadline, minus the costs before
    /// it and the turns that are left behind, must be too little.
    pub(super) fn is_refused(&self, cost: u64, (now, latest): (u64, u64), slack: u64) -> CheckResult {
        // Only the costs of each process's first caller are known, and turns may be charged again.
        let is_mixed = self.line.iter().any(|caller| caller.cost != cost);
        if self.permits.is_some() || now < self.paused_until || is_mixed {
            return Ok(());
        }
        let ahead = self.line.iter().map(|caller| caller.cost).sum::<u64>() + self.used_ahead(now);
        let missing = i128::from(ahead + cost) * self.per() - self.level(now).0;
        let ready = now + (missing.max(0) as u64).div_ceil(self.limit.rate().max());
        prop_assert!(
            ready.saturating_add(self.may_idle + slack) > latest,
            "refused at {now}, though it could be served at {ready}, before {latest}"
        );
        Ok(())
    }

    pub(super) fn permit_returned(&mut self) {
        self.held -= 1;
    }

    pub(super) fn has_a_free_permit(&self) -> bool {
        self.permits.is_none_or(|permits| self.held < permits)
    }

    /// A process charges unconditionally.
    pub(super) fn charges(&mut self, tokens: u64, now: u64) {
        self.has_debts = true;
        self.events.push((now, Event::Used(tokens)));
    }

    /// A new epoch begins. Turns are charged again once the waiting callers have woken up, within `soon`.
    fn begins(&mut self, number: u64, (now, soon): (u64, u64), is_new: bool) {
        self.epochs.push(Epoch { number, limit: self.limit, since: now, is_new });
        self.is_excused(None);
        self.may_idle(soon);
        if self.paused_until > 0 && self.paused_until <= now {
            // The bucket resumes at its sustained rate, as if the pause ended now.
            self.events.push((now, Event::PauseEnds));
        }
        self.open_until = now + soon;
    }

    pub(super) fn changes(&mut self, limit: Limit, epoch: u64, now: (u64, u64)) {
        // When a queue is dropped, the imminent turn counts as used.
        self.may_lose(u64::from(self.has_debts), now.0);
        self.limit = limit;
        self.begins(epoch, now, false);
        self.events.push((now.0, Event::Limit(limit)));
    }

    pub(super) fn resets(&mut self, epoch: u64, now: (u64, u64)) {
        self.begins(epoch, now, true);
        self.events.push((now.0, Event::Reset));
    }

    /// A pause until then; if that is in the past, the end of the pause.
    pub(super) fn pauses(&mut self, until: u64, epoch: u64, (now, soon): (u64, u64)) {
        self.begins(epoch, (now, soon), false);
        // Drops its former end.
        self.events.retain(|&(at, event)| !(matches!(event, Event::PauseEnds) && at > now));
        self.events.extend([(now, Event::Pause), (until.max(now), Event::PauseEnds)]);
        self.paused_until = until;
    }

    pub(super) fn is_paused(&self, now: u64) -> bool {
        now < self.paused_until
    }

    /// Time has passed. `is_awake`: whether a caller is.
    pub(super) fn passes(&mut self, now: u64, is_awake: impl Fn(&QueuedCaller) -> bool) -> CheckResult {
        for caller in &self.line {
            let awake = is_awake(caller);
            if awake && self.awake.insert(caller.id) || !awake && self.awake.remove(&caller.id) {
                self.events.push((now, Event::Wants(caller.id, caller.cost, awake)));
            }
        }
        if self.has_a_free_permit != self.has_a_free_permit() {
            self.has_a_free_permit = self.has_a_free_permit();
            self.events.push((now, Event::Permit(self.has_a_free_permit)));
            if self.has_a_free_permit {
                self.owed.iter_mut().for_each(|owed| owed.by = owed.by.max(now + owed.within));
            }
        }
        if let Some(owed) = self.owed.iter().find(|owed| owed.by < now && self.has_a_free_permit) {
            let caller = self.find(owed.id);
            prop_assert!(false, "{owed:?} is not served at {now}: {caller:?}");
        }
        Ok(())
    }

    /// How many callers of each process wait; the processes in order of their first caller.
    pub(super) fn queue(&self) -> Vec<(usize, u64)> {
        let mut queue: Vec<(usize, u64)> = Vec::new();
        for caller in &self.line {
            match queue.iter_mut().find(|(process, _)| *process == caller.process) {
                Some((_, callers)) => *callers += 1,
                None => queue.push((caller.process, 1)),
            }
        }
        queue
    }

    fn per(&self) -> i128 {
        self.limit.rate().per_ns().into()
    }

    /// The textbook bucket at this instant: its level, in tokens times the period, and the total time until then during
    /// which it held enough for waiting callers.
    pub(super) fn level(&self, now: u64) -> (i128, u64) {
        let mut events = self.events.clone();
        events.retain(|&(at, _)| at <= now);
        events.sort_by_key(|&(at, _)| at);
        events.push((now, Event::Used(0)));
        let mut limit = self.limit;
        let (mut at, mut level, mut idle) = (events[0].0, 0, 0);
        let (mut wanted, mut gone) = (BTreeMap::new(), BTreeSet::new());
        let (mut is_free, mut is_paused) = (true, false);
        for (next, event) in events {
            let (max, per) = (i128::from(limit.rate().max()), i128::from(limit.rate().per_ns()));
            let (span, full) = (i128::from(next - at), i128::from(limit.burst()) * per);
            // The largest request may be the first.
            let is_wanted = is_free && !is_paused && wanted.values().any(|&(_, awake)| awake);
            if is_wanted && let Some(most) = wanted.values().map(|&(cost, _)| cost).max() {
                let there_after = (i128::from(most) * per - level + max - 1).max(0) / max;
                idle += (span - there_after).max(0) as u64;
            }
            level = (level + span * max).min(full);
            at = next;
            match event {
                Event::Used(tokens) => level -= i128::from(tokens) * per,
                Event::Wants(id, cost, awake) => {
                    if !gone.contains(&id) {
                        wanted.insert(id, (cost, awake));
                    }
                }
                Event::WantsNoMore(id) => {
                    wanted.remove(&id);
                    gone.insert(id);
                }
                Event::Permit(free) => is_free = free,
                Event::Limit(changed) => {
                    // Usage is kept, clamped to the new burst, by clocks that may differ a little.
                    level -= 10_000 * max;
                    let (was, is) = (per, i128::from(changed.rate().per_ns()));
                    let full = i128::from(changed.burst()) * is;
                    let used = (i128::from(limit.burst()) * was - level) * is / was;
                    (limit, level) = (changed, full - used.clamp(0, full));
                }
                Event::Reset => level = full,
                Event::Pause => is_paused = true,
                Event::PauseEnds => (is_paused, level) = (false, level.min(per)),
            }
        }
        (level, idle)
    }

    /// Checks the whole scenario.
    pub(super) fn holds(&self, now: u64) -> CheckResult {
        self.is_never_over()?;
        let (idle, slack) = (self.level(now).1, 3_000 * self.events.len() as u64);
        prop_assert!(
            idle <= self.may_idle + slack,
            "{idle} ns are wasted, and {} may be; in the end: {:?}",
            self.may_idle,
            &self.events[self.events.len().saturating_sub(20)..]
        );
        Ok(())
    }

    /// In each epoch by its own limit, and from reset to reset by the most permissive of the limits.
    fn is_never_over(&self) -> CheckResult {
        let of = |epochs: &[Epoch]| -> Vec<Admission> {
            let is_in = |number: u64| epochs.iter().any(|epoch| epoch.number == number);
            self.admitted.iter().filter(|(epoch, _)| is_in(*epoch)).map(|&(_, admission)| admission).collect()
        };
        for epoch in &self.epochs {
            let over = audit::check(epoch.limit, &mut of(&[*epoch]));
            prop_assert!(over.is_ok(), "{}: {over:?}", epoch.limit);
        }
        for era in self.epochs.chunk_by(|_, next| !next.is_new) {
            let limits = era.iter().map(|epoch| epoch.limit);
            let most = limits.min_by_key(|limit| limit.rate().emission_interval()).expect("not empty");
            let over = audit::check(most, &mut of(era));
            prop_assert!(over.is_ok(), "{most}: {over:?}");
        }
        Ok(())
    }
}
