//! One of several limits: its parameters, and how it uses its words of the record.

use super::gcra::CLOCK_SLACK;
use super::log::{self, Later, Log, Ring, State as LogState};
use super::window::{FIXED_WORDS, FixedState, FixedWindow, SLIDING_WORDS, SlidingCounter, SlidingState};
use super::{Gcra, Given};
use crate::clock::Nanos;

/// A limit's words of a record, sized for the largest kind. The words after its own belong to others.
pub(crate) type Words = [u64; log::WORDS];

/// One limit's parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    Bucket(Gcra),
    Log(Log),
    Fixed(FixedWindow),
    Sliding(SlidingCounter),
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

    /// The largest admissible request.
    #[inline]
    pub(crate) fn max_cost(&self) -> u64 {
        match self {
            Rule::Bucket(g) => g.burst,
            Rule::Log(l) => l.max,
            Rule::Fixed(w) => w.max,
            Rule::Sliding(w) => w.max,
        }
    }

    /// The first instant (ns) at which `cost` more conform; any value up to `now` means now.
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

    /// A separate function, so that several buckets compile to a tight loop.
    #[inline(never)]
    fn ready_if_no_bucket<R: Ring>(&self, state: &Words, cost: u64, ring: impl FnOnce() -> R) -> u64 {
        match self {
            Rule::Bucket(_) => 0,
            Rule::Log(l) => l.ready(&LogState::read(state), cost, &ring()),
            Rule::Fixed(w) => w.ready(&FixedState::read(state), cost),
            Rule::Sliding(w) => w.ready(&SlidingState::read(state), cost),
        }
    }

    /// Charges `cost` at `at`: now, or a future turn.
    #[inline(always)]
    pub(super) fn charge(&self, state: &mut Words, at: u64, is_turn: bool, cost: u64) {
        match self {
            Rule::Bucket(g) => {
                let tick = if is_turn { booked_at(g, state[0], at, cost) } else { g.ticks.at(at) };
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
                edit(state, SlidingState::read, SlidingState::write, |s| w.charge(s, at, cost));
            }
        }
    }

    /// A debt of `amount` starting at `base`, with nothing charged after `base` yet. Returns the instant of its last
    /// call; `None` if that is not representable.
    pub(super) fn debt<R: Ring>(
        &self,
        state: &mut Words,
        amount: u64,
        base: u64,
        ring: impl FnOnce() -> R,
    ) -> Option<u64> {
        match self {
            Rule::Bucket(g) => {
                let (tat, slot) = g.debt(state[0], booked_at(g, state[0], base, 1), amount)?;
                (state[0], state[1]) = (tat, state[1].wrapping_add(amount));
                Some(g.ticks.first_ns(slot).max(base))
            }
            Rule::Log(l) => {
                edit(state, LogState::read, LogState::write, |s| l.debt(s, base, amount, &ring()))
            }
            Rule::Fixed(w) => edit(state, FixedState::read, FixedState::write, |s| w.debt(s, base, amount)),
            Rule::Sliding(w) => {
                edit(state, SlidingState::read, SlidingState::write, |s| w.debt(s, base, amount))
            }
        }
    }

    /// Refunds `amount` of a charge. Returns how much was actually returned.
    pub(super) fn refund(&self, state: &mut Words, amount: u64, unused: &Unused) -> Given {
        match self {
            Rule::Bucket(g) => {
                // Upper bounds of what the bucket would hold if the amount had never been charged; see
                // `Gcra::give_back`.
                let all = g.refund(state[0], amount);
                let less = if unused.is_newest {
                    all
                } else {
                    let last = g.ticks.at(unused.last);
                    let by_time = g.refund_less_leakage(state[0], unused.at, last, amount);
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

    /// How much counts as used at `now`, exactly without a queue, otherwise as far as it is known.
    pub(super) fn used(&self, state: &Words, now: u64, later: Later, ring: &impl Ring) -> u64 {
        match self {
            Rule::Bucket(g) => g.status(state[0], Nanos::from_nanos(now)).used,
            Rule::Log(l) => l.usage(&LogState::read(state), now, later, ring).0,
            Rule::Fixed(w) => w.used(&FixedState::read(state), now),
            Rule::Sliding(w) => w.used(&SlidingState::read(state), now),
        }
    }

    /// How much is queued after `now`, as far as this limit's words tell, assuming that no other limit spaces its
    /// turns. A log always knows, unless turns were cancelled.
    pub(super) fn queued(&self, state: &Words, now: u64, ring: &impl Ring) -> Option<u64> {
        match self {
            Rule::Bucket(g) => Some(g.status(state[0], Nanos::from_nanos(now)).queued),
            Rule::Log(l) => l.usage(&LogState::read(state), now, Later::AsWritten, ring).1,
            Rule::Fixed(w) => Some(w.queued(&FixedState::read(state), now)),
            Rule::Sliding(w) => Some(w.queued(&SlidingState::read(state), now)),
        }
    }

    /// Removes the turns after `late` from a partly drained queue, as far as they can be told apart. `before` is the
    /// state before the queue, and `queued` the amount charged since. The result never counts less than what has come.
    /// `is_alone`: there is no other limit that the turns could have waited for.
    pub(super) fn without_queue(
        &self,
        state: &mut Words,
        before: &Words,
        queued: u64,
        late: u64,
        is_alone: bool,
    ) {
        match self {
            Rule::Bucket(g) => {
                let since = g.ticks.tokens_saturating(queued, 1);
                let tick = g.ticks.at(late).saturating_add(1);
                state[0] = state[0].min(before[0].max(tick).saturating_add(since));
            }
            Rule::Log(_) => {}
            Rule::Fixed(w) => w
                .without_queue(&FixedState::read(state), &FixedState::read(before), late, is_alone)
                .write(state),
            Rule::Sliding(w) => {
                w.without_queue(&SlidingState::read(state), &SlidingState::read(before), late).write(state);
            }
        }
    }

    /// The state in which `used` was taken at `now` and nothing is queued. A log continues from `log`, the last state
    /// of its ring.
    pub(super) fn as_if(&self, state: &mut Words, used: u64, now: u64, log: &LogState) {
        let used = used.min(self.max_cost());
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
        (log, later): (&LogState, Later),
        ring: &impl Ring,
    ) {
        let late = now.plus(CLOCK_SLACK).as_nanos();
        match (self, next) {
            (Rule::Bucket(g), Rule::Bucket(n)) => to[0] = g.carry(state[0], now, n),
            (Rule::Log(l), Rule::Log(n)) => {
                l.carry(&LogState::read(state), late, n, later, ring).write(to);
            }
            (Rule::Fixed(w), Rule::Fixed(n)) if (w.per, w.origin) == (n.per, n.origin) => {
                w.carry(&FixedState::read(state), late).write(to);
            }
            (Rule::Sliding(w), Rule::Sliding(n)) if w.per == n.per => {
                w.carry(&SlidingState::read(state), late).write(to);
            }
            _ => {
                next.as_if(to, self.used(state, late, later, ring), late, log);
            }
        }
    }
}

/// The tick at which a turn for `at` is booked: the slot itself if `at` is its first nanosecond, so that nothing
/// drifts.
#[inline(always)]
fn booked_at(g: &Gcra, tat: u64, at: u64, cost: u64) -> u64 {
    let (tick, slot) = (g.ticks.at(at), g.slot(tat, cost));
    let first = tick.wrapping_sub(slot) < 2 && g.ticks.first_ns(slot) == at;
    if first { slot } else { tick }
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

/// The charge that turned out unused.
pub(super) struct Unused {
    /// When it was charged for.
    pub(super) at: u64,
    /// The time of the last admission of any request.
    pub(super) last: u64,
    /// The bucket's running total right after this charge, if known.
    pub(super) then: Option<u64>,
    /// Whether nothing was admitted after it.
    pub(super) is_newest: bool,
}
