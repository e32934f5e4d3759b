//! The limit of each key of a table, as pure functions of the key's state: one word, which only grows.
//!
//! | kind | state |
//! |---|---|
//! | token bucket | its theoretical arrival time (TAT), in ticks of the table's clock |
//! | fixed window | number of the window, then the count |
//! | sliding counter | number of the window, its count, then the count of the window before it |
//!
//! An unused key, an expired one and one that is in no slot have the same state, [`KeyLimit::unused`]. States are ordered: of
//! two keys of a table, the one with the greater state never has more left than the other one. (With one exception, which
//! [`KeyLimit::inherited`] mends.)
//!
//! # The table's clock
//! A bucket's is a [`TableClock`]; for windows it is the clock of [`Nanos`], plus an *advance*. A reset of the table advances it so
//! far that every state expires, and a change of a bucket's rate changes its speed. So a state never decreases, and what a key has
//! used stays used. Windows do not follow when the wall clock is set: a window that ended earlier or later than the
//! table's clock says would make numbers of windows repeat.

use super::table_clock::{Anchor, MAX_TICKS_PER_NS, Ratio, TableClock};
use crate::clock::{Nanos, QUICK_LAG};
use crate::error::{Error, ErrorKind, Result};
use crate::limit::key_policy::count_bits;
use crate::limit::window::{SlidingCounter, SlidingState};
use crate::limit::{KeyPolicy, Kind, Limit, MAX_LIMITS, MAX_REFILL, MAX_WAIT, Rate, format_span};
use std::time::Duration;

/// The kinds, as in the words of a limiter's other limits.
pub(crate) const BUCKET: u8 = 0;
const FIXED: u8 = 2;
const SLIDING: u8 = 4;

/// In one table, buckets may differ by this factor in the time that they take to fill.
const MAX_RATIO: u64 = 8;

/// The limit of each key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyLimit {
    Bucket(Bucket),
    Fixed(Windows),
    Sliding(Windows),
}

/// A token bucket, by the generic cell rate algorithm (ITU-T I.371, virtual scheduling).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bucket {
    /// What one call takes, in ticks.
    interval: u64,
    /// What the largest request takes.
    tolerance: u64,
    /// The earliest TAT after a pause; 0 without one.
    floor: u64,
    clock: TableClock,
}

/// Consecutive windows of `per` nanoseconds, each with `max`. They begin at multiples of `per` of the wall clock, as it was when
/// the limiter was created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Windows {
    max: u64,
    per: u64,
    /// What is added to a time for its window's number: the offset of the wall clock.
    origin: u64,
    /// The advance of the table's clock, in windows.
    advance: u64,
    /// When a pause ends; 0 without one.
    not_before: Nanos,
    /// Bits of one count.
    bits: u32,
}

/// The clocks of a limiter's tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeyClock {
    /// For each limit. For windows, `ticks` is the advance, and the rest has no meaning.
    pub(crate) anchors: [Anchor; MAX_LIMITS],
    /// How far the wall clock was ahead of [`Nanos`] when the limiter was created: aligns windows.
    pub(crate) wall_ns: u64,
}

impl KeyClock {
    /// The clocks of new tables.
    pub(crate) fn new(keys: &KeyPolicy, now: Nanos, wall_ns: u64) -> KeyClock {
        let mut clock = KeyClock { wall_ns, ..KeyClock::default() };
        for (anchor, limit) in clock.anchors.iter_mut().zip(keys.limits()) {
            if matches!(limit.kind(), Kind::Bucket { .. }) {
                *anchor = Anchor::new(limit.rate(), now);
            }
        }
        clock
    }

    /// Why these clocks cannot count under this policy; `None` if they can.
    pub(crate) fn obstacle_to(&self, to: &KeyPolicy) -> Option<String> {
        let mut limits = self.anchors.iter().zip(to.limits()).enumerate();
        let is_too_fast = |(anchor, limit): (&Anchor, Limit)| {
            matches!(limit.kind(), Kind::Bucket { .. }) && !anchor.allows(limit.rate())
        };
        let (index, _) = limits.find(|&(_, pair)| is_too_fast(pair))?;
        Some(format!(
            "limit {} per key would be over 128 times as fast as when its table was made",
            index + 1
        ))
    }

    /// The same clocks after a change of the limits at this instant.
    pub(crate) fn changed(mut self, from: &KeyPolicy, to: &KeyPolicy, now: Nanos) -> KeyClock {
        for (anchor, (from, to)) in self.anchors.iter_mut().zip(from.limits().zip(to.limits())) {
            // Under an unchanged rate nothing is rounded, however many changes come.
            if matches!(from.kind(), Kind::Bucket { .. }) && from.rate() != to.rate() {
                *anchor = anchor.moved(from.rate(), now);
            }
        }
        self
    }
}

/// The parameters of a key's limit, as words of a configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeyParams {
    /// 0 bucket, 2 fixed window, 4 sliding counter.
    pub(crate) kind: u8,
    /// Bits of the ticks of one call, or of one count of a window.
    pub(crate) bits: u8,
    /// The largest request.
    pub(crate) burst: u64,
    /// Bucket: ticks of a nanosecond, and nanoseconds of a tick. Windows: their length and the offset of the wall clock, as
    /// mantissas.
    pub(crate) speed: Ratio,
    pub(crate) inverse: Ratio,
    pub(crate) floor: u64,
    pub(crate) anchor_ns: u64,
    /// The tick at `anchor_ns`. Windows: the advance.
    pub(crate) anchor_ticks: u64,
}

/// The windows of a key, for those who compare its count themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyWindows {
    /// The count of the present window; `u64::MAX` if it is at least the limit's own `max`, where it ends.
    pub(crate) used: u64,
    /// The count of the window before, of a sliding counter.
    pub(crate) before: u64,
    /// When the present window ends.
    pub(crate) ends_at: Nanos,
    /// The length of a window.
    pub(crate) per: u64,
    pub(crate) is_paused: bool,
    /// The greatest count that is told.
    pub(crate) most: u64,
}

impl KeyWindows {
    /// What counts of the window before: in the proportion of the window that is left, rounded down.
    pub(crate) fn weighted_before(&self, now: Nanos) -> u64 {
        let left = (self.ends_at.since(now).as_nanos() as u64).min(self.per);
        (u128::from(self.before) * u128::from(left) / u128::from(self.per)) as u64
    }

    /// Whether `amount` more would be at most `most`.
    pub(crate) fn has_room_for(&self, amount: u64, most: u64, now: Nanos) -> bool {
        let all = self.used.saturating_add(self.weighted_before(now)).saturating_add(amount);
        !self.is_paused && all <= most.min(self.most)
    }
}

/// What a request for a key leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Charge {
    /// The request conforms at this instant, and leads to this state.
    Conforms { at: Nanos, state: u64 },
    /// It would conform at this instant, which is too late.
    TooEarly { ready: Nanos },
}

impl Bucket {
    /// A bucket of this burst, whose calls take 2^`call_bits` ticks.
    fn new(clock: TableClock, call_bits: u8, burst: u64, not_before: Option<Nanos>) -> Bucket {
        let interval = 1u64 << (call_bits & 63);
        let mut bucket = Bucket { interval, tolerance: interval.saturating_mul(burst), floor: 0, clock };
        // After a pause a key goes on at its sustained rate, without a burst.
        let floor = |at: Nanos| {
            // Ticks may be longer than nanoseconds: not before this instant.
            let end = clock.charged_at(clock.at(at));
            end.saturating_add(bucket.tolerance - bucket.interval.min(bucket.tolerance))
        };
        bucket.floor = not_before.map_or(0, floor);
        bucket
    }

    /// Where a charge begins. A tick that was reached in this nanosecond is as good as now, so that a key which is charged at the
    /// first nanosecond possible, always, does not drift behind its rate.
    #[inline(always)]
    fn base(&self, state: u64, now: Nanos) -> u64 {
        let reached = self.clock.at(now);
        let state = state.max(self.floor);
        if state > reached || self.clock.is_reached_now(state, reached, now) {
            state
        } else {
            self.clock.charged_at(reached)
        }
    }

    #[inline(always)]
    fn charge(&self, state: u64, now: Nanos, cost: u64, latest: Nanos) -> Charge {
        let taken = self.interval.saturating_mul(cost);
        let (reached, held) = (self.clock.at(now), state.max(self.floor));
        let needed = held.max(reached).saturating_add(taken).saturating_sub(self.tolerance);
        if needed <= reached {
            return Charge::Conforms { at: now, state: self.base(state, now).saturating_add(taken) };
        }
        let ready = self.clock.instant(needed).max(now);
        if ready <= latest {
            Charge::Conforms { at: ready, state: held.saturating_add(taken) }
        } else {
            Charge::TooEarly { ready }
        }
    }
}

impl Windows {
    fn of(params: &KeyParams) -> Windows {
        Windows {
            max: params.burst,
            per: params.speed.mantissa,
            origin: params.inverse.mantissa,
            advance: params.anchor_ticks,
            not_before: Nanos::from_nanos(params.floor),
            bits: params.bits.into(),
        }
    }

    /// The largest count.
    fn full(&self) -> u64 {
        (1 << (self.bits & 63)) - 1
    }

    /// How far the number is shifted, in a state with this many counts. (Bounded, for parameters from corrupt memory.)
    fn shift(&self, counts: u32) -> u32 {
        self.bits.saturating_mul(counts) & 63
    }

    /// A state, with the greatest number that it can hold if this one is too great.
    fn numbered(&self, number: u64, counts: u32) -> u64 {
        number.min(u64::MAX >> self.shift(counts)) << self.shift(counts)
    }

    fn number(&self, at: Nanos) -> u64 {
        (at.as_nanos().saturating_add(self.origin) / self.per.max(1)).saturating_add(self.advance)
    }

    fn counter(&self) -> SlidingCounter {
        SlidingCounter { max: self.max, per: self.per }
    }

    fn start(&self, number: u64) -> Nanos {
        let start = number.saturating_sub(self.advance).saturating_mul(self.per);
        Nanos::from_nanos(start.saturating_sub(self.origin))
    }
}

/// A state of a fixed window.
fn fixed(w: &Windows, state: u64) -> (u64, u64) {
    (state >> w.shift(1), state & w.full())
}

/// A state of a sliding counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sliding {
    number: u64,
    used: u64,
    before: u64,
}

impl Sliding {
    fn of(w: &Windows, state: u64) -> Sliding {
        let full = w.full();
        Sliding { number: state >> w.shift(2), used: state >> w.shift(1) & full, before: state & full }
    }

    fn word(self, w: &Windows) -> u64 {
        let full = w.full();
        w.numbered(self.number, 2) | self.used.min(full) << w.shift(1) | self.before.min(full)
    }

    fn at(self, w: &Windows) -> SlidingState {
        SlidingState { start: w.start(self.number).as_nanos(), used: self.used, before: self.before }
    }

    /// What it is in this window or its own, whichever is later.
    fn advanced(self, number: u64) -> Sliding {
        match number.saturating_sub(self.number) {
            0 => self,
            1 => Sliding { number, used: 0, before: self.used },
            _ => Sliding { number, used: 0, before: 0 },
        }
    }
}

#[cfg(all(test, not(model)))]
impl KeyLimit {
    /// When its clock was last moved: the creation, if its rate was never changed.
    pub(crate) fn anchor_ns(&self) -> u64 {
        match self {
            KeyLimit::Bucket(b) => b.clock.anchor_ns,
            KeyLimit::Fixed(_) | KeyLimit::Sliding(_) => 0,
        }
    }

    /// Limits with parameters that none can have.
    pub(super) fn from_garbage(words: [u64; 6], bits: u8, shifts: [u8; 2]) -> [KeyLimit; 3] {
        let [burst, speed, inverse, floor, anchor_ns, anchor_ticks] = words;
        [BUCKET, FIXED, SLIDING].map(|kind| {
            KeyLimit::of(&KeyParams {
                kind,
                bits,
                burst,
                speed: Ratio { mantissa: speed, shift: shifts[0] },
                inverse: Ratio { mantissa: inverse, shift: shifts[1] },
                floor,
                anchor_ns,
                anchor_ticks,
            })
        })
    }
}

impl KeyLimit {
    /// The parameters of limit `index` of each key.
    pub(crate) fn params_of(
        limit: Limit,
        index: usize,
        clock: &KeyClock,
        not_before: Option<Nanos>,
    ) -> KeyParams {
        let (max, per) = (limit.rate().max(), limit.rate().per_ns());
        let anchor = clock.anchors[index % MAX_LIMITS];
        let whole = |mantissa| Ratio { mantissa, shift: 0 };
        let windows = |kind, counts| KeyParams {
            kind,
            bits: count_bits(per, counts) as u8,
            burst: max,
            speed: whole(per),
            inverse: whole(clock.wall_ns),
            floor: not_before.map_or(0, Nanos::as_nanos),
            anchor_ns: 0,
            anchor_ticks: anchor.ticks,
        };
        match limit.kind() {
            Kind::FixedWindow(_) => windows(FIXED, 1),
            Kind::SlidingCounter => windows(SLIDING, 2),
            _ => {
                let clock = TableClock::new(limit.rate(), &anchor);
                KeyParams {
                    kind: BUCKET,
                    bits: anchor.call_bits,
                    burst: limit.burst(),
                    speed: clock.speed,
                    inverse: clock.inverse,
                    floor: Bucket::new(clock, anchor.call_bits, limit.burst(), not_before).floor,
                    anchor_ns: anchor.ns,
                    anchor_ticks: anchor.ticks,
                }
            }
        }
    }

    /// The limit with these parameters, which may be garbage: the arithmetic on them cannot fail.
    #[inline]
    pub(crate) fn of(params: &KeyParams) -> KeyLimit {
        match params.kind {
            FIXED => KeyLimit::Fixed(Windows::of(params)),
            SLIDING => KeyLimit::Sliding(Windows::of(params)),
            _ => {
                let clock = TableClock {
                    anchor_ns: params.anchor_ns,
                    anchor_ticks: params.anchor_ticks,
                    speed: params.speed,
                    inverse: params.inverse,
                };
                let bucket = Bucket::new(clock, params.bits, params.burst, None);
                KeyLimit::Bucket(Bucket { floor: params.floor, ..bucket })
            }
        }
    }

    /// The same bucket at another rate, in the same table.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if this is no bucket, or if that one takes eight times as long to fill, or an eighth: what its
    /// keys owe would fill the table for the others, or theirs for it.
    pub(crate) fn at(&self, rate: Rate, burst: u64) -> Result<KeyLimit> {
        let bad = |why: &str| Err(Error::new(ErrorKind::InvalidInput, why));
        let KeyLimit::Bucket(own) = self else {
            return bad("a rate can come with a request only where the limit per key is a bucket");
        };
        if burst == 0 {
            return bad("a burst of 0 would admit nothing; the smallest burst is 1");
        }
        let clock = own.clock;
        // In ticks of the table, rounded up.
        let interval = clock.ticks(rate.per_ns()).div_ceil(rate.max());
        let Some(tolerance) = interval.checked_mul(burst) else {
            return bad("a burst that takes over ten years to refill; choose a smaller one");
        };
        if tolerance / MAX_RATIO > own.tolerance || own.tolerance / MAX_RATIO > tolerance {
            return bad(&format!(
                "a key with {rate} and a burst of {burst} recovers in {}, one by the limiter's own limit in {}; in one table these \
                 may differ by at most a factor of {MAX_RATIO}: use two limiters",
                format_span(Duration::from_nanos(clock.ns(tolerance))),
                format_span(Duration::from_nanos(clock.ns(own.tolerance))),
            ));
        }
        // A pause also delays a key at this rate: until its end, less what this burst allows.
        let end = own.floor.saturating_sub(own.tolerance - own.interval.min(own.tolerance));
        let floor = if own.floor == 0 { 0 } else { end.saturating_add(tolerance - interval.min(tolerance)) };
        Ok(KeyLimit::Bucket(Bucket { interval, tolerance, floor, clock }))
    }

    /// Whether a key may have to wait until `ready`: no request and no debt charges one further.
    #[inline]
    pub(crate) fn can_be_ready_at(&self, ready: Nanos, now: Nanos, created_ns: u64) -> bool {
        // Nearly all are ready within a year, and the latest one is never before that.
        ready <= now.plus(MAX_WAIT) || ready <= self.latest_ready(now, created_ns)
    }

    /// The latest instant for which a key may have to wait.
    fn latest_ready(&self, now: Nanos, created_ns: u64) -> Nanos {
        let own = match self {
            KeyLimit::Bucket(b) => {
                // A key may owe a burst of before the limit was changed; and after the rate was changed, one of the fastest rate
                // that there was.
                let longest = if b.clock.anchor_ns == created_ns {
                    b.clock.ticks(MAX_REFILL.as_nanos() as u64).max(b.tolerance.saturating_mul(MAX_RATIO))
                } else {
                    (MAX_WAIT.as_nanos() as u64).saturating_mul(MAX_TICKS_PER_NS)
                };
                b.clock.instant(b.floor.max(b.clock.at(now)).saturating_add(longest))
            }
            KeyLimit::Fixed(w) | KeyLimit::Sliding(w) => {
                w.not_before.max(now).plus(Duration::from_nanos(w.per.saturating_mul(2)))
            }
        };
        own.plus(MAX_WAIT).plus(Duration::from_secs(1))
    }

    /// Whether a pause, which may have ended, still leaves an unused key less than its burst.
    pub(crate) fn is_held_back(&self, now: Nanos) -> bool {
        match self {
            KeyLimit::Bucket(b) => b.floor > b.clock.at(now),
            KeyLimit::Fixed(w) | KeyLimit::Sliding(w) => w.not_before > now,
        }
    }

    /// The state of an unused key.
    pub(crate) fn unused(&self, now: Nanos) -> u64 {
        match self {
            KeyLimit::Bucket(b) => b.clock.at(now),
            KeyLimit::Fixed(w) => w.numbered(w.number(now), 1),
            KeyLimit::Sliding(w) => Sliding { number: w.number(now), used: 0, before: 0 }.word(w),
        }
    }

    /// Whether a key in this state has anything less left than an unused one.
    pub(crate) fn is_live(&self, state: u64, now: Nanos) -> bool {
        match self {
            KeyLimit::Sliding(w) => {
                let s = Sliding::of(w, state).advanced(w.number(now));
                s.number > w.number(now) || s.used > 0 || s.before > 0
            }
            _ => state > self.unused(now),
        }
    }

    /// A request for `cost`, at most the burst, of a key in this state. It conforms if that is possible until `latest`; a sliding
    /// counter only now.
    #[inline(always)]
    pub(crate) fn charge(&self, state: u64, now: Nanos, cost: u64, latest: Nanos) -> Charge {
        match self {
            KeyLimit::Bucket(b) => b.charge(state, now, cost, latest),
            KeyLimit::Fixed(w) => {
                let (number, used) = fixed(w, state.max(self.unused(now)));
                let used = used.saturating_add(cost);
                let (number, used) =
                    if used <= w.max { (number, used) } else { (number.saturating_add(1), cost) };
                let ready = w.start(number).max(now).max(w.not_before);
                // The turn is in the window that it is charged to: a pause may have ended later.
                if ready <= latest && w.number(ready) <= number {
                    Charge::Conforms { at: ready, state: w.numbered(number, 1) | used }
                } else {
                    Charge::TooEarly { ready }
                }
            }
            KeyLimit::Sliding(w) => {
                let s = Sliding::of(w, state).advanced(w.number(now));
                let ready = Nanos::from_nanos(w.counter().ready(&s.at(w), cost)).max(w.start(s.number));
                let ready = ready.max(w.not_before);
                if ready <= now {
                    Charge::Conforms {
                        at: now,
                        state: Sliding { used: s.used.saturating_add(cost), ..s }.word(w),
                    }
                } else {
                    Charge::TooEarly { ready }
                }
            }
        }
    }

    /// The state after a charge that nothing denies: a debt, which later time or windows pay.
    pub(crate) fn debt(&self, state: u64, now: Nanos, amount: u64) -> u64 {
        match self {
            KeyLimit::Bucket(b) => b.base(state, now).saturating_add(b.interval.saturating_mul(amount)),
            KeyLimit::Fixed(w) => {
                let (number, used) = fixed(w, state.max(self.unused(now)));
                let (all, max) = (used.saturating_add(amount), w.max.max(1));
                let windows = all.saturating_sub(1) / max;
                let rest = all.saturating_sub(windows.saturating_mul(max)).min(w.full());
                w.numbered(number.saturating_add(windows), 1) | rest
            }
            KeyLimit::Sliding(w) => {
                let s = Sliding::of(w, state).advanced(w.number(now));
                let mut at = s.at(w);
                if w.counter().debt(&mut at, now.as_nanos(), amount).is_none() {
                    return u64::MAX;
                }
                let number = w.number(Nanos::from_nanos(at.start));
                Sliding { number, used: at.used, before: at.before }.word(w)
            }
        }
    }

    /// Whether it admits one call at a time.
    pub(crate) fn is_bucket_of_one(&self) -> bool {
        matches!(self, KeyLimit::Bucket(b) if b.interval == b.tolerance)
    }

    /// The windows of a key in this state; `None` for a bucket, which has none.
    pub(crate) fn windows(&self, state: u64, now: Nanos) -> Option<KeyWindows> {
        let (w, number, used, before) = match self {
            KeyLimit::Bucket(_) => return None,
            KeyLimit::Fixed(w) => {
                let (number, used) = fixed(w, state.max(self.unused(now)));
                (w, number, used, 0)
            }
            KeyLimit::Sliding(w) => {
                let s = Sliding::of(w, state).advanced(w.number(now));
                (w, s.number, s.used, s.before)
            }
        };
        let most = w.max.min(w.full());
        // By the clock of another process, a window may have begun already. A window that begins later is full of a debt.
        let is_debt = w.start(number) > now + QUICK_LAG;
        let used = if is_debt || used >= most { u64::MAX } else { used };
        let ends_at = w.start(number.saturating_add(1)).max(now);
        Some(KeyWindows { used, before, ends_at, per: w.per.max(1), is_paused: now < w.not_before, most })
    }

    /// The state after a count of `amount` more in the window of this instant, or in the key's own if that is later. A count ends at
    /// the limit's own `max`. The same state for a bucket.
    pub(crate) fn counted(&self, state: u64, now: Nanos, amount: u64) -> u64 {
        match self {
            KeyLimit::Bucket(_) => state,
            KeyLimit::Fixed(w) => {
                let (number, used) = fixed(w, state.max(self.unused(now)));
                let used = used.saturating_add(amount).min(w.max.min(w.full())).max(used);
                w.numbered(number, 1) | used
            }
            KeyLimit::Sliding(w) => {
                let s = Sliding::of(w, state).advanced(w.number(now));
                let used = s.used.saturating_add(amount).min(w.max.min(w.full())).max(s.used);
                Sliding { used, ..s }.word(w)
            }
        }
    }

    /// The state with which a new key starts that takes the place of `least`, the least of `row`: at least the state of any key
    /// that was ever forgotten in this row, as far as that has not expired.
    ///
    /// For a sliding counter this includes the count of the window before. A forgotten key's is at most the greatest in its row:
    /// it was in the row, and what replaced it started with the greatest.
    pub(crate) fn inherited(&self, least: u64, row: impl Iterator<Item = u64>, now: Nanos) -> u64 {
        let KeyLimit::Sliding(w) = self else { return least };
        if !self.is_live(least, now) {
            return least;
        }
        let least = Sliding::of(w, least).advanced(w.number(now));
        let before = row.map(|state| Sliding::of(w, state)).map(|s| {
            let s = s.advanced(least.number);
            // A key that is in a later window already (by another process's clock) had at most what is left of it.
            if s.number > least.number { s.before.max(w.max) } else { s.before }
        });
        Sliding { before: before.max().unwrap_or(0), ..least }.word(w)
    }

    /// How long it takes to recover from one call.
    pub(crate) fn recovery_ns(&self) -> u64 {
        match self {
            KeyLimit::Bucket(b) => b.clock.ns(b.interval),
            KeyLimit::Fixed(w) | KeyLimit::Sliding(w) => w.per,
        }
    }

    /// How much of the burst is used, and how much is left. During a pause nothing is.
    pub(crate) fn usage(&self, state: u64, now: Nanos) -> (u64, u64) {
        let left = |w: &Windows, used: u64| if now < w.not_before { 0 } else { w.max.saturating_sub(used) };
        match self {
            KeyLimit::Bucket(b) => {
                let interval = b.interval.max(1);
                let level = |tat: u64| tat.saturating_sub(b.clock.at(now)).min(b.tolerance);
                (level(state).div_ceil(interval), (b.tolerance - level(state.max(b.floor))) / interval)
            }
            KeyLimit::Fixed(w) => {
                let (number, used) = fixed(w, state.max(self.unused(now)));
                let used = if number > w.number(now) { w.max } else { used.min(w.max) };
                (used, left(w, used))
            }
            KeyLimit::Sliding(w) => {
                let s = Sliding::of(w, state).advanced(w.number(now));
                let used = w.counter().used(&s.at(w), now.as_nanos());
                (used, left(w, used))
            }
        }
    }

    /// When a request for one would be admitted.
    pub(crate) fn next_at(&self, state: u64, now: Nanos) -> Nanos {
        match self.charge(state, now, 1, now) {
            Charge::Conforms { at, .. } => at,
            Charge::TooEarly { ready } => ready,
        }
    }

    /// Whether a reset may not advance the clock so far: less than half of its range would be left.
    pub(crate) fn is_near_the_end(&self, advance: u64) -> bool {
        match self {
            KeyLimit::Bucket(_) => advance > u64::MAX >> 1,
            KeyLimit::Fixed(w) => advance > u64::MAX >> w.shift(1) >> 1,
            KeyLimit::Sliding(w) => advance > u64::MAX >> w.shift(2) >> 1,
        }
    }

    /// Whether the tick of the table's clock (or the advance) can be this one in this generation, as long as its rate was not
    /// lowered much, and resets had to advance it only by what keys recover in.
    pub(crate) fn are_usual_ticks(&self, ticks: u64, generation: u64) -> bool {
        let (passed, recovery) = match self {
            // Requests that bring their rate have more: see `at`.
            KeyLimit::Bucket(b) => (
                b.clock.anchor_ns.saturating_mul(2),
                b.tolerance.saturating_mul(2 * MAX_RATIO).saturating_add(2_000_000),
            ),
            KeyLimit::Fixed(_) | KeyLimit::Sliding(_) => (0, 4),
        };
        ticks <= passed.saturating_add(generation.saturating_sub(1).saturating_mul(recovery))
    }

    /// Whether requests and debts can have led to this state.
    pub(crate) fn is_plausible(&self, state: u64, now: Nanos, created_ns: u64) -> bool {
        self.can_be_ready_at(self.next_at(state, now), now, created_ns)
    }

    /// How much is charged beyond the burst: a debt, or turns ahead. A sliding counter has its debt in its windows.
    pub(crate) fn beyond_burst(&self, state: u64, now: Nanos) -> u64 {
        match self {
            KeyLimit::Bucket(b) => {
                let level = state.saturating_sub(b.clock.at(now));
                level.saturating_sub(b.tolerance).div_ceil(b.interval.max(1))
            }
            KeyLimit::Fixed(w) => {
                let (number, used) = fixed(w, state.max(self.unused(now)));
                let windows = number.saturating_sub(w.number(now));
                if windows == 0 { 0 } else { (windows - 1).saturating_mul(w.max).saturating_add(used) }
            }
            KeyLimit::Sliding(_) => 0,
        }
    }

    /// How far a reset must advance the table's clock so that each state up to `greatest` is expired at `now`, also by the clock
    /// of a process that lags: in ticks, or in windows.
    pub(crate) fn advance_past(&self, greatest: u64, now: Nanos) -> u64 {
        let now = now - QUICK_LAG;
        match self {
            KeyLimit::Bucket(b) => greatest.saturating_sub(b.clock.at(now)),
            KeyLimit::Fixed(w) => (greatest >> w.shift(1)).saturating_add(1).saturating_sub(w.number(now)),
            // The window before counts, too.
            KeyLimit::Sliding(w) => (greatest >> w.shift(2)).saturating_add(2).saturating_sub(w.number(now)),
        }
    }
}
