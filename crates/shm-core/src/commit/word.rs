//! A decision as one compare-and-swap on one word.

use super::generation::{Commit, Decision, Generations, Halt};
use super::terms::{self, Terms};
use crate::clock::{Clock, NEARLY, Nanos, Reading};
use crate::denied::Denied;
use crate::layout::RETIRED;
use crate::limit::{Given, MAX_WAIT, Outlook};
use crate::sync::{Ordering, back_off};
use std::time::Duration;

const TAT_END: u64 = crate::limit::gcra::TAT_END;
/// At least [`NEARLY`] in the ticks of any rate: they are longer than half a nanosecond.
const NEARLY_TICKS: u64 = 2 * NEARLY.as_nanos() as u64;

/// The state where there is no limit.
const NOTHING_TO_COUNT: u64 = 0;

/// What the state word can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// `00…`: the theoretical arrival time, in ticks.
    Live(u64),
    /// `10…`: the same, for good; the generation is over.
    Frozen(u64),
    /// `11…`: nobody has computed the state of this epoch yet.
    Unset(u64),
    /// `01…`: never written.
    Invalid,
}

impl Word {
    pub(crate) const FREEZE: u64 = 1 << 63;
    const UNSET: u64 = 3 << 62;

    pub(crate) fn decode(word: u64) -> Word {
        let value = word & (TAT_END - 1);
        match word >> 62 {
            0b00 => Word::Live(value),
            0b10 => Word::Frozen(value),
            0b11 => Word::Unset(value),
            _ => Word::Invalid,
        }
    }

    pub(crate) fn encode(self) -> u64 {
        match self {
            Word::Live(tat) => tat,
            Word::Frozen(tat) => Self::FREEZE | tat,
            Word::Unset(epoch) => Self::UNSET | epoch,
            Word::Invalid => 1 << 62,
        }
    }

    /// A live word; a time that doesn't fit is the last one that does (and will be found absurd).
    pub(crate) fn live(tat: u64) -> u64 {
        tat.min(TAT_END - 1)
    }
}

/// Why an attempt decided nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Miss {
    /// There was no cheap time.
    NoTime,
    /// Too close to be decided by a cheap time.
    Close,
    /// This epoch is over, or retired, or its state is to be settled; or so much is never admitted.
    Blocked(u64),
    /// Somebody else came first. Or this one was asleep for a whole turn of the ring, and perhaps it was another
    /// generation that was charged. Then it stays charged: by now the same state may be somebody else's turn.
    Lost,
    /// The turn is more than a year away.
    Far { epoch: u64, tat: u64, ready: Nanos, now: Reading },
    /// The state is none that anybody can have reached.
    Damaged,
}

/// Which limiters an attempt decides; it is blocked by all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decides {
    /// Any: where there are permits, one is held already, or they play no part.
    Any,
    /// One bucket, if no permits are in force.
    WithoutPermits,
    /// The same, looked at before the clock is read: where there are permits that would be for nothing.
    WithoutPermitsAtOnce,
}

/// After a deadline a request that would be admitted at once is to be made again.
pub(super) const SOON: Duration = Duration::from_nanos(1);

/// Which instants are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// The latest turn in the queue; 0: none.
    pub(super) turn: Nanos,
    /// The latest decision that admits at once.
    pub(super) decided: Nanos,
}

impl Wanted {
    /// What is to be had at once, whenever that is.
    pub(crate) const NOW: Wanted =
        Wanted { turn: Nanos::from_nanos(0), decided: Nanos::from_nanos(u64::MAX) };

    /// What is to be had at once, by this instant.
    pub(crate) fn now_by(latest: Nanos) -> Wanted {
        Wanted { decided: latest, ..Wanted::NOW }
    }
}

/// At once, or a turn, by this instant. 0: at once, whenever that is.
impl From<Nanos> for Wanted {
    #[inline]
    fn from(latest: Nanos) -> Wanted {
        if latest.as_nanos() == 0 { Wanted::NOW } else { Wanted { turn: latest, decided: latest } }
    }
}

/// A limiter whose state is one word.
#[derive(Clone, Copy)]
pub(crate) struct Words<'a>(pub(crate) Generations<'a>);

impl Commit for Words<'_> {
    fn generations(&self) -> Generations<'_> {
        self.0
    }

    fn take_over(&self, epoch: u64, clock: &impl Clock) -> Result<(), Halt> {
        let g = self.0;
        let frozen = g.freeze_before(epoch);
        let (from, to) = (g.gcra(epoch - 1), g.gcra(epoch));
        let unlimited = |epoch| terms::is_unlimited(g.place(epoch));
        // Read after the epoch was: whoever acted on a turn before it saw the news has an earlier time.
        let now = clock.exact();
        let start = match Word::decode(frozen) {
            _ if unlimited(epoch) => NOTHING_TO_COUNT,
            _ if g.forgets(epoch) || unlimited(epoch - 1) => to.unused(now),
            Word::Live(tat) | Word::Frozen(tat) => from.carry(tat, now, &to),
            Word::Unset(_) | Word::Invalid if g.epoch() != epoch => return Ok(()),
            Word::Unset(_) | Word::Invalid => return Err(Halt::Damaged("the state before is not a time")),
        };
        g.set(epoch, Word::live(start));
        Ok(())
    }
}

impl Words<'_> {
    /// Fills a segment that nobody else sees yet.
    pub(crate) fn initialise(&self, terms: &Terms) {
        let start = terms.gcra().map_or(NOTHING_TO_COUNT, |gcra| gcra.unused(terms.since));
        self.0.initialise(terms, Word::live(start));
    }

    /// Takes `cost` tokens for the first instant at which they conform, if that is wanted.
    /// `cancellable`: it may be given back by [`cancel`](Self::cancel).
    #[inline(always)]
    pub(crate) fn reserve(
        &self,
        cost: u64,
        wanted: impl Into<Wanted>,
        cancellable: bool,
        clock: &impl Clock,
    ) -> Result<Decision, Halt> {
        self.decide(cost, wanted.into(), cancellable, Decides::Any, clock, |_| ())
    }

    /// Takes `cost` tokens for a turn of the line, if it comes by `latest`; also says the state right before it, by which it
    /// can be [undone](Self::undo).
    pub(crate) fn charge_turn(
        &self,
        cost: u64,
        latest: Nanos,
        clock: &impl Clock,
    ) -> Result<(Decision, u64), Halt> {
        let mut before = 0;
        let decision = self.decide(cost, latest.into(), true, Decides::Any, clock, |word| before = word)?;
        Ok((decision, before))
    }

    /// Takes `cost` tokens now, or nothing. Only where there are no permits: otherwise [`Halt::PermitsInForce`].
    #[inline(always)]
    pub(crate) fn take_without_permit(&self, cost: u64, clock: &impl Clock) -> Result<Decision, Halt> {
        self.decide(cost, Wanted::NOW, false, Decides::WithoutPermits, clock, |_| ())
    }

    #[inline(always)]
    fn decide(
        &self,
        cost: u64,
        wanted: Wanted,
        cancellable: bool,
        decides: Decides,
        clock: &impl Clock,
        mut note: impl FnMut(u64),
    ) -> Result<Decision, Halt> {
        let mut closely = false;
        loop {
            let read = || Some(if closely { Reading::exact(clock.exact()) } else { clock.read() });
            match self.attempt(cost, wanted, cancellable, decides, read, &mut note) {
                Ok(decision) => return Ok(decision),
                Err(Miss::Close) => closely = true,
                Err(Miss::Blocked(epoch)) => {
                    if let Some(decision) = self.blocked(epoch, cost, wanted, decides, clock)? {
                        return Ok(decision);
                    }
                }
                Err(Miss::Lost | Miss::NoTime) => {}
                Err(Miss::Far { epoch, tat, ready, now }) => {
                    self.far_away(epoch, tat, now.at, ready, wanted.turn)?;
                    return Ok(Decision::denied_by(0, ready, now.at, self.0.is_shadow()));
                }
                Err(Miss::Damaged) => return Err(Halt::Damaged("the state is a time decades away")),
            }
        }
    }

    /// The same in one attempt. It may fail for any reason; then nothing was taken (but see [`Miss::Lost`]). `note` hears the
    /// state right before what was taken.
    #[inline(always)]
    pub(crate) fn attempt(
        &self,
        cost: u64,
        wanted: Wanted,
        cancellable: bool,
        decides: Decides,
        read: impl FnOnce() -> Option<Reading>,
        note: impl FnOnce(u64),
    ) -> Result<Decision, Miss> {
        let epoch = self.0.epoch();
        let (gcra, shadow) = match decides {
            Decides::Any => self.0.gcra_and_shadow(epoch),
            Decides::WithoutPermits | Decides::WithoutPermitsAtOnce => self.0.fast_gcra_and_shadow(epoch),
        };
        if decides == Decides::WithoutPermitsAtOnce && cost > gcra.burst {
            return Err(Miss::Blocked(epoch));
        }
        // Read before the state: an older time charges no less, and the state is at hand for a shorter time.
        let Some(now) = read() else { return Err(Miss::NoTime) };
        let state = &self.0.place(epoch).state.word;
        let word = state.load(Ordering::Acquire);
        if self.is_blocked(epoch, word) || cost > gcra.burst {
            return Err(Miss::Blocked(epoch));
        }
        let tick = gcra.ticks.at(now.at.as_nanos());
        let at = if gcra.conforms(word, tick, cost) {
            if now.at > wanted.decided {
                return Ok(Decision::denied_by(0, now.at.plus(SOON), now.at, shadow));
            }
            now.at
        } else {
            let slot = gcra.slot(word, cost);
            let ahead = slot.wrapping_sub(tick);
            if ahead < NEARLY_TICKS && !now.is_exact {
                return Err(Miss::Close);
            }
            let ready = Nanos::from_nanos(gcra.ticks.first_ns(slot));
            // First in ticks, of which a nanosecond has one or more: who asks only whether, is spared the instant.
            if ahead > MAX_WAIT.as_nanos() as u64 && ready.since(now.at) > MAX_WAIT {
                return Err(Miss::Far { epoch, tat: word, ready, now });
            }
            if slot > gcra.ticks.at(wanted.turn.as_nanos().min(u64::MAX >> 1)) {
                return Ok(Decision::denied_by(0, ready, now.at, shadow));
            }
            ready
        };
        let tat = gcra.charge(word, tick, cost);
        if tat >= TAT_END {
            return Err(Miss::Damaged);
        }
        if cancellable {
            // Before the swap: whoever reads the state after it also reads this. Pairs with the load in `refund`.
            self.0.place(epoch).state.reserved.fetch_max(tat, Ordering::AcqRel);
        }
        // AcqRel: see `still_in_place`.
        match state.compare_exchange_weak(word, tat, Ordering::AcqRel, Ordering::Relaxed) {
            Ok(_) if self.0.still_in_place(epoch) => {
                note(word);
                Ok(Decision::Admitted { at, now, epoch, state: tat })
            }
            Ok(_) => Err(Miss::Lost),
            Err(_) => {
                back_off();
                Err(Miss::Lost)
            }
        }
    }

    /// Why `cost` tokens are denied now; `None` if they are not. Takes nothing.
    pub(crate) fn denial(&self, cost: u64, clock: &impl Clock) -> Result<Option<Denied>, Halt> {
        loop {
            let epoch = self.0.epoch();
            let gcra = self.0.gcra(epoch);
            let word = self.0.place(epoch).state.word.load(Ordering::Acquire);
            if self.is_blocked(epoch, word) || cost > gcra.burst {
                match self.without_limit(epoch, Wanted::NOW, clock) {
                    Some(Decision::Denied { denied, .. }) => return Ok(Some(denied)),
                    Some(Decision::Admitted { .. }) => return Ok(None),
                    None => self.obstacle(epoch, cost, clock)?,
                }
                continue;
            }
            let (now, ready) = (clock.exact(), gcra.ready_at(word, cost));
            return Ok((ready > now).then_some(Denied::by_limit(0, ready, now)));
        }
    }

    /// When `cost` tokens would be admitted if `ahead` more had been before; `None` if the epoch is over. Takes nothing.
    pub(crate) fn estimate(
        &self,
        epoch: u64,
        ahead: u64,
        cost: u64,
        clock: &impl Clock,
    ) -> Result<Option<Nanos>, Halt> {
        loop {
            let place = self.0.place(epoch);
            let (gcra, unlimited) = (self.0.gcra(epoch), terms::is_unlimited(place));
            let not_before = terms::not_before(place);
            let word = place.state.word.load(Ordering::Acquire);
            if !self.0.is_current(epoch) {
                return Ok(None);
            }
            if self.is_blocked(epoch, word) {
                self.obstacle(epoch, 0, clock)?;
                continue;
            }
            let now = clock.exact();
            if unlimited {
                return Ok(Some(not_before.max(now)));
            }
            let tick = gcra.ticks.at(now.as_nanos());
            let tat = if ahead == 0 { Some(word) } else { gcra.debt(word, tick, ahead).map(|(tat, _)| tat) };
            return Ok(Some(
                tat.map_or(Nanos::from_nanos(u64::MAX), |tat| gcra.ready_at(tat, cost).max(now)),
            ));
        }
    }

    /// The most that can be admitted at once in this epoch; `None` if it is over.
    pub(crate) fn most(&self, epoch: u64) -> Option<u64> {
        let (burst, unlimited) = (self.0.gcra(epoch).burst, terms::is_unlimited(self.0.place(epoch)));
        self.0.is_current(epoch).then_some(if unlimited { u64::MAX } else { burst })
    }

    /// Whether this epoch is over or retired, or this word of it is not a time.
    #[inline]
    fn is_blocked(&self, epoch: u64, word: u64) -> bool {
        // One comparison for both: retired, or not a time.
        word | epoch >> 1 >= TAT_END || !self.0.is_current(epoch)
    }

    /// What is decided where there is no limit: everything is admitted, unless there is a pause. Nothing is written.
    /// `None` if there is a limit, or if the state of this epoch is not in force.
    #[cold]
    fn without_limit(self, epoch: u64, wanted: Wanted, clock: &impl Clock) -> Option<Decision> {
        let place = self.0.place(epoch);
        if !terms::is_unlimited(place) {
            return None;
        }
        let (not_before, shadow) = (terms::not_before(place), terms::is_shadow(place));
        let now = Reading::exact(clock.exact());
        // After the clock: at that time this generation was in force.
        let state = place.state.word.load(Ordering::Acquire);
        if self.is_blocked(epoch, state) {
            return None;
        }
        let at = not_before.max(now.at);
        let denied = |retry_at| Decision::Denied { denied: Denied::by_pause(retry_at, now.at), shadow };
        if at > now.at && at > wanted.turn {
            return Some(denied(at));
        }
        if at == now.at && now.at > wanted.decided {
            return Some(denied(now.at.plus(SOON)));
        }
        Some(Decision::Admitted { at, now, epoch, state })
    }

    /// Clears the way for another try, or says why there is none.
    #[cold]
    fn obstacle(self, epoch: u64, cost: u64, clock: &impl Clock) -> Result<(), Halt> {
        if epoch >= RETIRED {
            return Err(Halt::Retired);
        }
        self.settle(epoch, clock)?;
        let burst = self.0.gcra(epoch).burst;
        let unlimited = terms::is_unlimited(self.0.place(epoch));
        if cost > burst && !unlimited && self.0.is_current(epoch) {
            return Err(Halt::NeverAdmissible { limit: 0, most: burst });
        }
        Ok(())
    }

    /// The same, or the decision if there is no limit.
    #[cold]
    fn blocked(
        self,
        epoch: u64,
        cost: u64,
        wanted: Wanted,
        decides: Decides,
        clock: &impl Clock,
    ) -> Result<Option<Decision>, Halt> {
        if decides == Decides::Any {
            return match self.without_limit(epoch, wanted, clock) {
                None => self.obstacle(epoch, cost, clock).map(|()| None),
                decision => Ok(decision),
            };
        }
        let place = self.0.place(epoch);
        let (permits, burst) = (terms::permits(place).0, terms::fast_gcra(place).0.burst);
        if permits > 0 && self.0.is_current(epoch) {
            return Err(Halt::PermitsInForce);
        }
        self.obstacle(epoch, cost, clock)?;
        if cost > burst && self.0.is_current(epoch) {
            // Without permits this is the burst, unless somebody wrote rubbish into the file.
            return Err(Halt::Damaged("the configuration says different things of its burst"));
        }
        Ok(None)
    }

    /// A turn more than a year away: damage, a queue too long to join, or a very slow limiter.
    #[cold]
    fn far_away(self, epoch: u64, tat: u64, now: Nanos, ready: Nanos, latest: Nanos) -> Result<(), Halt> {
        if self.0.gcra(epoch).is_absurd(tat, now) && self.0.is_current(epoch) {
            return Err(Halt::Damaged("the state is a time years away"));
        }
        if ready <= latest { Err(Halt::TooFar { ready, now }) } else { Ok(()) }
    }

    /// Takes a turn for each of `k` requests of `cost` tokens, in one commit; says when they are, and the epoch.
    pub(crate) fn schedule(&self, cost: u64, k: usize, clock: &impl Clock) -> Result<Vec<Nanos>, Halt> {
        loop {
            let epoch = self.0.epoch();
            let gcra = self.0.gcra(epoch);
            let state = &self.0.place(epoch).state.word;
            let word = state.load(Ordering::Acquire);
            if self.is_blocked(epoch, word) || cost > gcra.burst {
                self.obstacle(epoch, cost, clock)?;
                if self.0.is_unlimited() {
                    return Err(Halt::Unlimited);
                }
                continue;
            }
            let now = clock.exact();
            let tick = gcra.ticks.at(now.as_nanos());
            // All at once, so that a crowd has no time to come in between; the instants are told afterwards.
            let before_last =
                gcra.charge(word, tick, 0).saturating_add(gcra.ticks.tokens_saturating(cost, k as u64 - 1));
            let tat = before_last.saturating_add(gcra.ticks.tokens(cost));
            let last = gcra.ready_at(before_last.min(TAT_END), cost);
            if last.since(now) > MAX_WAIT || tat >= TAT_END {
                self.far_away(epoch, word, now, last, Nanos::from_nanos(u64::MAX))?;
                return Err(Halt::TooFar { ready: last, now });
            }
            if state.compare_exchange(word, tat, Ordering::AcqRel, Ordering::Relaxed).is_ok()
                && self.0.still_in_place(epoch)
            {
                let first = gcra.charge(word, tick, 0);
                // The first ones may come at once though the bucket is not full: their own slots say.
                let mut tat = word;
                return Ok((0..k)
                    .map(|i| {
                        let at = gcra.ready_at(tat, cost).max(now);
                        tat = if i == 0 { first } else { tat } + gcra.ticks.tokens(cost);
                        at
                    })
                    .collect());
            }
            back_off();
        }
    }

    /// Charges `tokens` whether or not they conform, in one step whatever the amount, as if each had queued by itself.
    pub(crate) fn debt(&self, tokens: u64, clock: &impl Clock) -> Result<(), Halt> {
        loop {
            let epoch = self.0.epoch();
            let gcra = self.0.gcra(epoch);
            let state = &self.0.place(epoch).state.word;
            let word = state.load(Ordering::Acquire);
            let unlimited = terms::is_unlimited(self.0.place(epoch));
            if self.is_blocked(epoch, word) {
                self.obstacle(epoch, 0, clock)?;
                continue;
            }
            if unlimited {
                return Ok(());
            }
            let now = clock.exact();
            let debt = gcra.debt(word, gcra.ticks.at(now.as_nanos()), tokens);
            let (tat, slot) = debt.unwrap_or((TAT_END, TAT_END));
            let last = Nanos::from_nanos(gcra.ticks.first_ns(slot));
            if tat >= TAT_END || last.since(now) > MAX_WAIT {
                self.far_away(epoch, word, now, last, Nanos::from_nanos(u64::MAX))?;
                return Err(Halt::TooFar { ready: last, now });
            }
            if state.compare_exchange(word, tat, Ordering::AcqRel, Ordering::Relaxed).is_ok()
                && self.0.still_in_place(epoch)
            {
                return Ok(());
            }
            back_off();
        }
    }

    /// Gives the tokens of a reservation back, if nothing was taken after them; `tat` is the state right after it.
    /// Otherwise they are forfeited: the turns behind them are already promised. For a reservation that was made as
    /// cancellable, and at most once.
    pub(crate) fn cancel(&self, epoch: u64, tat: u64, cost: u64) -> bool {
        let before = self.0.gcra(epoch).refund(tat, cost);
        self.swap_in_place(epoch, tat, before)
    }

    /// The same for a turn of the line, with the state right before it: that comes back, also where the charge began later
    /// than it, at the end of a pause.
    pub(crate) fn undo(&self, epoch: u64, (before, tat): (u64, u64), cost: u64) -> bool {
        // It was read of the file; 0 if whoever charged it did not write it down.
        let without = self.0.gcra(epoch).refund(tat, cost);
        let before = if before == 0 { without } else { before.min(without) };
        self.swap_in_place(epoch, tat, before)
    }

    /// Gives back `tokens` of what was admitted for `at` under the terms of `epoch`; under other terms by now they stay
    /// used. `reserved`: the state right after it, if it was a reservation. Says how much was given back.
    ///
    /// Where nothing was taken after a reservation the state before it is right, or anything down to it. Otherwise what
    /// may have leaked since is not given back, and the state stays above that of every reservation. So:
    ///
    /// **While a reservation can be cancelled, the state is never less than right after it, and equal to that only if nothing
    /// that counts was taken after it.** (The state is lowered in two ways. A cancellation, or a refund of the newest
    /// reservation, brings it down to what it was before that one, at most. Any other refund leaves it above `reserved`,
    /// thus above this reservation for good.)
    pub(crate) fn refund(
        &self,
        epoch: u64,
        at: Nanos,
        reserved: Option<u64>,
        tokens: u64,
        clock: &impl Clock,
    ) -> Given {
        let place = self.0.place(epoch);
        let gcra = self.0.gcra(epoch);
        loop {
            let word = place.state.word.load(Ordering::Acquire);
            if word >= TAT_END || !self.0.is_current(epoch) {
                return Given::default();
            }
            let less = if reserved == Some(word) {
                gcra.refund(word, tokens)
            } else {
                // After the state: pairs with the raise in `attempt`.
                let least = place.state.reserved.load(Ordering::Acquire).saturating_add(1);
                gcra.give_back(word, at, clock.exact(), tokens, least)
            };
            if less == word {
                return Given::default();
            }
            if self.swap_in_place(epoch, word, less) {
                return Given::ticks(word - less, gcra.ticks.shift);
            }
            back_off();
        }
    }

    /// Swaps the state of this epoch's generation from one time to another, if it is that.
    fn swap_in_place(&self, epoch: u64, from: u64, to: u64) -> bool {
        let state = &self.0.place(epoch).state.word;
        if !self.0.is_current(epoch)
            || state.compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed).is_err()
        {
            return false;
        }
        if self.0.still_in_place(epoch) {
            return true;
        }
        // Asleep for a whole turn of the ring: it was the same time, but another generation's.
        let _ = state.compare_exchange(to, from, Ordering::AcqRel, Ordering::Relaxed);
        false
    }

    /// How full it is now. Takes nothing.
    /// `None` if there is no limit.
    pub(crate) fn outlook(&self, clock: &impl Clock) -> Result<(Option<Outlook>, Nanos), Halt> {
        loop {
            let epoch = self.0.epoch();
            if epoch >= RETIRED {
                return Err(Halt::Retired);
            }
            let gcra = self.0.gcra(epoch);
            let unlimited = terms::is_unlimited(self.0.place(epoch));
            let word = self.0.place(epoch).state.word.load(Ordering::Acquire);
            let now = clock.exact();
            if !self.0.is_current(epoch) {
                continue;
            }
            match Word::decode(word) {
                Word::Live(_) if unlimited => return Ok((None, now)),
                Word::Live(tat) if gcra.is_absurd(tat, now) => {
                    return Err(Halt::Damaged("the state is a time years away"));
                }
                Word::Live(tat) => return Ok((Some(gcra.outlook(tat, now)), now)),
                _ => self.settle(epoch, clock)?,
            }
        }
    }
}
