//! One limit of several: its numbers, and what it makes of its few words of the record.

use super::{Gcra, Given};
use super::gcra::CLOCK_SLACK;
use super::log::{self, Log, Ring, State as LogState};
use super::window::{FIXED_WORDS, Fixed, FixedState, SLIDING_WORDS, Sliding, SlidingState};
use crate::clock::Nanos;

/// A limit's words of a record: as many as the largest has. What comes after its own is not its own.
pub(crate) type Words = [u64; log::WORDS];

/// One limit's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    Bucket(Gcra),
    Log(Log),
    Fixed(Fixed),
    Sliding(Sliding),
}

impl Rule {
    #[inline]
    pub(super) fn words(&self) -> usize {
        match self {
            Rule::Bucket(_) => 2,
            Rule::Log(_) => log::WORDS,
            Rule::Fixed(_) => FIXED_WORDS,
            Rule::Sliding(_) => SLIDING_WORDS,
        }
    }

    /// The most that one request can take.
    #[inline]
    pub(crate) fn most(&self) -> u64 {
        match self {
            Rule::Bucket(g) => g.burst,
            Rule::Log(l) => l.max,
            Rule::Fixed(w) => w.max,
            Rule::Sliding(w) => w.max,
        }
    }

    /// The first instant, in nanoseconds, at which `cost` more conform; anything up to `now` if that is now.
    #[inline(always)]
    pub(super) fn ready<R: Ring>(&self, state: &Words, cost: u64, now: u64, ring: impl FnOnce() -> R) -> u64 {
        match self {
            Rule::Bucket(g) => {
                let slot = g.slot(state[0], cost);
                if slot <= g.ticks.at(now) { 0 } else { g.ticks.first_ns(slot) }
            }
            _ => self.ready_if_no_bucket(state, cost, ring),
        }
    }

    /// Apart, so that several buckets are one tight loop.
    #[inline(never)]
    fn ready_if_no_bucket<R: Ring>(&self, state: &Words, cost: u64, ring: impl FnOnce() -> R) -> u64 {
        match self {
            Rule::Bucket(_) => 0,
            Rule::Log(l) => l.ready(&LogState::read(state), cost, &ring()),
            Rule::Fixed(w) => w.ready(&FixedState::read(state), cost),
            Rule::Sliding(w) => w.ready(&SlidingState::read(state), cost),
        }
    }

    /// `cost` admitted at `at`: now, or a turn to come.
    #[inline(always)]
    pub(super) fn charge(&self, state: &mut Words, at: u64, is_turn: bool, cost: u64) {
        match self {
            Rule::Bucket(g) => {
                let mut tick = g.ticks.at(at);
                if is_turn {
                    // Booked at the slot itself if that is what `at` is the first nanosecond of: so nothing drifts.
                    let slot = g.slot(state[0], cost);
                    let first = tick.wrapping_sub(slot) < 2 && g.ticks.first_ns(slot) == at;
                    tick = if first { slot } else { tick };
                }
                state[0] = g.charge(state[0], tick, cost);
                state[1] = state[1].wrapping_add(cost);
            }
            _ => self.charge_if_no_bucket(state, at, cost),
        }
    }

    #[inline(never)]
    fn charge_if_no_bucket(&self, state: &mut Words, at: u64, cost: u64) {
        match self {
            Rule::Bucket(_) => {}
            Rule::Log(_) => Log::charge_words(state, at, cost),
            Rule::Fixed(w) => edit(state, FixedState::read, FixedState::write, |s| w.charge(s, at, cost)),
            Rule::Sliding(w) => {
                edit(state, SlidingState::read, SlidingState::write, |s| w.charge(s, at, cost))
            }
        }
    }

    /// `amount` of what was charged was not used. Returns how much of it was given back.
    pub(super) fn refund(&self, state: &mut Words, amount: u64, unused: &Unused) -> Given {
        match self {
            Rule::Bucket(g) => {
                // Upper bounds of what the bucket would hold if the amount had never been charged; see `Gcra::give_back`.
                let all = g.refund(state[0], amount);
                let less = if unused.is_newest {
                    all
                } else {
                    let last = g.ticks.at(unused.last);
                    let by_time = g.less_the_time_since(state[0], unused.at, last, amount);
                    match unused.then {
                        // If it was ever empty since, it holds at most what was charged since.
                        Some(then) => {
                            let since = g.ticks.tokens_saturating(state[1].wrapping_sub(then), 1);
                            by_time.min(all.max(last.saturating_add(since)))
                        }
                        None => by_time,
                    }
                };
                let less = less.min(state[0]);
                Given::ticks(std::mem::replace(&mut state[0], less) - less, g.ticks.shift)
            }
            Rule::Log(_) if !unused.is_newest => Given::default(),
            Rule::Log(_) => {
                Given::whole(edit(state, LogState::read, LogState::write, |s| Log::shorten(s, amount)))
            }
            Rule::Fixed(w) => Given::whole(edit(state, FixedState::read, FixedState::write, |s| {
                w.refund(s, unused.at, amount)
            })),
            Rule::Sliding(w) => Given::whole(edit(state, SlidingState::read, SlidingState::write, |s| {
                w.refund(s, unused.at, amount)
            })),
        }
    }

    /// How much counts as used at `now`, and how much is queued behind that.
    pub(super) fn usage(&self, state: &Words, now: u64, ring: &impl Ring) -> (u64, u64) {
        match self {
            Rule::Bucket(g) => {
                let seen = g.outlook(state[0], Nanos::from_nanos(now));
                (seen.used, seen.queued)
            }
            Rule::Log(l) => l.usage(&LogState::read(state), now, ring),
            Rule::Fixed(w) => {
                let s = FixedState::read(state);
                (w.used(&s, now), w.queued(&s, now))
            }
            Rule::Sliding(w) => {
                let s = SlidingState::read(state);
                (w.used(&s, now), if s.start > now { s.used } else { 0 })
            }
        }
    }

    /// The state in which `used` were taken at `now`, and nothing is queued. A log goes on from `log`, what its ring
    /// last held.
    pub(super) fn as_if(&self, state: &mut Words, used: u64, now: u64, log: &LogState) {
        let used = used.min(self.most());
        match self {
            Rule::Bucket(g) => {
                state[0] = g.unused(Nanos::from_nanos(now)).wrapping_add(g.ticks.tokens(used));
            }
            Rule::Log(_) => Log::as_if(log, used, now).write(state),
            Rule::Fixed(w) => w.as_if(used, now).write(state),
            Rule::Sliding(w) => w.as_if(used, now).write(state),
        }
    }

    /// The state with which `next` takes over at `now`. Turns up to `CLOCK_SLACK` later count as admitted.
    pub(super) fn carry(
        &self,
        state: &Words,
        now: Nanos,
        next: &Rule,
        to: &mut Words,
        log: &LogState,
        ring: &impl Ring,
    ) {
        let late = now.plus(CLOCK_SLACK).as_nanos();
        match (self, next) {
            (Rule::Bucket(g), Rule::Bucket(n)) => to[0] = g.carry(state[0], now, n),
            (Rule::Log(l), Rule::Log(n)) => l.carry(&LogState::read(state), late, n, ring).write(to),
            (Rule::Fixed(w), Rule::Fixed(n)) if (w.per, w.origin) == (n.per, n.origin) => {
                w.carry(&FixedState::read(state), late).write(to);
            }
            (Rule::Sliding(w), Rule::Sliding(n)) if w.per == n.per => {
                w.carry(&SlidingState::read(state), late).write(to);
            }
            _ => {
                let (used, _) = self.usage(state, late, ring);
                next.as_if(to, used, late, log);
            }
        }
    }
}

pub(super) fn edit<S, T>(
    state: &mut Words,
    read: impl Fn(&[u64]) -> S,
    write: impl Fn(S, &mut [u64]),
    change: impl FnOnce(&mut S) -> T,
) -> T {
    let mut s = read(state);
    let result = change(&mut s);
    write(s, state);
    result
}

/// Which charge turned out unused.
pub(super) struct Unused {
    pub(super) at: u64,
    /// The time of the last admission of all.
    pub(super) last: u64,
    /// What the bucket was charged so far, right after this charge, if that is known.
    pub(super) then: Option<u64>,
    /// Nothing was admitted after it.
    pub(super) is_newest: bool,
}
