//! The clock of a table of buckets: it counts *ticks*, of which each call takes the same number as long as the table exists. So a
//! change of the rate is a change of the clock's speed: what every key has used stays used, to the call, and is recovered at the
//! new rate, without a pass over the table.
//!
//! A new clock has one or two ticks in a nanosecond, so that nothing is rounded by as much as a nanosecond. After the rate was
//! lowered, a tick may be longer than a nanosecond. Then an instant lies between two ticks: it has been reached up to the earlier
//! one ([`TableClock::at`], for what must have passed), and not beyond the later one ([`TableClock::charged_at`], from which a
//! charge counts). So the last call of a burst may have to wait for a tick: as many nanoseconds as the rate was lowered times.
//!
//! **Why no window of whole nanoseconds has one admission too many**: let `x` be the exact position of a clock reading, in ticks,
//! and `v` the ticks of a nanosecond. An admission is booked at a `p > x − v`: either `p` is the tick that the clock has reached in
//! this very nanosecond, or `p ≥ x` where ticks are longer than nanoseconds, and `p > x − 1 ≥ x − v` where they are not. It is
//! admitted only if `x ≥ p`, for the booked times `p` of the calls before it. The rest is as in `limit/ticks.rs`.

use crate::clock::Nanos;
use crate::limit::{Rate, Ticks};

/// A rate may rise until a nanosecond has so many ticks: a word then lasts for over two years.
pub(super) const MAX_TICKS_PER_NS: u64 = 256;

/// Where the clock of a table was at an instant, and how many ticks a call takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Anchor {
    pub(crate) ns: u64,
    pub(crate) ticks: u64,
    /// A call takes 2^`call_bits` ticks.
    pub(crate) call_bits: u8,
}

/// A positive ratio: `mantissa / 2^shift`, rounded down. The mantissa's top bit is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ratio {
    pub(crate) mantissa: u64,
    pub(crate) shift: u8,
}

/// The clock of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TableClock {
    pub(crate) anchor_ns: u64,
    pub(crate) anchor_ticks: u64,
    /// Ticks of a nanosecond.
    pub(crate) speed: Ratio,
    /// Nanoseconds of a tick.
    pub(crate) inverse: Ratio,
}

impl Ratio {
    /// `numerator / denominator`, neither of which is 0. Their quotient is below 2^64.
    fn of(numerator: u128, denominator: u128) -> Ratio {
        let lead = denominator.leading_zeros().saturating_sub(numerator.leading_zeros());
        let behind = numerator.leading_zeros().saturating_sub(denominator.leading_zeros());
        // The scaled quotient has 64 or 65 bits.
        let mut shift = (64 + behind).saturating_sub(lead);
        let mut scaled = scaled_quotient(numerator, denominator, shift);
        if scaled >> 64 != 0 {
            scaled >>= 1;
            shift = shift.saturating_sub(1);
        }
        Ratio { mantissa: scaled as u64, shift: shift as u8 }
    }

    /// `n` times the ratio, rounded down; at most `u64::MAX`.
    #[inline(always)]
    fn times(self, n: u64) -> u64 {
        self.scaled_down(u128::from(n) * u128::from(self.mantissa))
    }

    #[inline(always)]
    fn scaled_down(self, product: u128) -> u64 {
        let product = product >> (self.shift & 127);
        if product >> 64 == 0 { product as u64 } else { u64::MAX }
    }

    /// The least of these `n` whose product with the ratio, rounded down, is at least this: `n − 1`, `n` or `n + 1`.
    #[inline(always)]
    fn least_reaching(self, goal: u64, n: u64) -> u64 {
        let product = u128::from(n) * u128::from(self.mantissa);
        if self.scaled_down(product) < goal {
            n.saturating_add(1)
        } else if n > 0 && self.scaled_down(product - u128::from(self.mantissa)) >= goal {
            n - 1
        } else {
            n
        }
    }
}

/// `numerator · 2^shift / denominator`, by long division: the product may have more than 128 bits.
fn scaled_quotient(numerator: u128, denominator: u128, shift: u32) -> u128 {
    let (mut quotient, mut rest) = (numerator / denominator, numerator % denominator);
    for _ in 0..shift {
        rest <<= 1;
        quotient <<= 1;
        if rest >= denominator {
            rest -= denominator;
            quotient |= 1;
        }
    }
    quotient
}

impl Anchor {
    /// The most bits that the ticks of a call have: those of the longest period.
    pub(crate) const MAX_CALL_BITS: u8 = 55;

    /// The clock of a new table whose keys have this rate.
    pub(crate) fn new(rate: Rate, now: Nanos) -> Anchor {
        let call_bits = Ticks::of(rate).shift as u8;
        Anchor { ns: now.as_nanos(), ticks: 0, call_bits }
    }

    /// The same clock at another instant, from which on it may have another speed.
    pub(crate) fn moved(self, rate: Rate, now: Nanos) -> Anchor {
        let ticks = TableClock::new(rate, &self).at(now);
        Anchor { ns: now.as_nanos(), ticks, ..self }
    }

    /// Whether keys of this rate can be counted by this clock for years.
    pub(crate) fn allows(self, rate: Rate) -> bool {
        TableClock::new(rate, &self).speed.times(1) <= MAX_TICKS_PER_NS
    }
}

impl TableClock {
    /// The clock of a table whose keys have this rate.
    pub(crate) fn new(rate: Rate, anchor: &Anchor) -> TableClock {
        let ticks = u128::from(rate.max()) << (anchor.call_bits & 63);
        let ns = u128::from(rate.per_ns());
        TableClock {
            anchor_ns: anchor.ns,
            anchor_ticks: anchor.ticks,
            speed: Ratio::of(ticks, ns),
            inverse: Ratio::of(ns, ticks),
        }
    }

    /// The last tick that has been reached at this instant.
    #[inline(always)]
    pub(crate) fn at(&self, at: Nanos) -> u64 {
        match at.as_nanos().checked_sub(self.anchor_ns) {
            Some(since) => self.anchor_ticks.saturating_add(self.speed.times(since)),
            None => self.before_anchor(at),
        }
    }

    /// By the clock of a process that lags by microseconds, or for an instant at which other limits have admitted a request. What
    /// the speed was then is not known: the clock showed at least this.
    #[cold]
    fn before_anchor(&self, at: Nanos) -> u64 {
        let before = (self.anchor_ns - at.as_nanos()).saturating_mul(MAX_TICKS_PER_NS);
        self.anchor_ticks.saturating_sub(before)
    }

    /// From which tick on a charge at this instant counts; `reached` is the last one that has been reached.
    #[inline(always)]
    pub(crate) fn charged_at(&self, reached: u64) -> u64 {
        // Where a nanosecond has a tick or more, less than a nanosecond is lost.
        reached.saturating_add(u64::from(self.speed.shift > 63))
    }

    /// Whether this tick, which has been reached at `now`, was reached in this very nanosecond.
    #[inline(always)]
    pub(crate) fn is_reached_now(&self, tick: u64, reached: u64, now: Nanos) -> bool {
        // Most are further away than that.
        reached - tick <= self.speed.times(1).saturating_add(1)
            && self.at(Nanos::from_nanos(now.as_nanos().saturating_sub(1))) < tick
    }

    /// The first instant at which this tick has been reached.
    pub(crate) fn instant(&self, tick: u64) -> Nanos {
        let Some(ahead) = tick.checked_sub(self.anchor_ticks) else {
            let before = self.inverse.times(self.anchor_ticks - tick);
            return Nanos::from_nanos(self.anchor_ns.saturating_sub(before));
        };
        // Both ratios are rounded down, by less than one part in 2^63. So the guess, which is rounded down in most cases, is wrong by
        // at most two; after one more it is most often right.
        let mut since = self.inverse.times(ahead).saturating_add(1);
        for _ in 0..3 {
            let least = self.speed.least_reaching(ahead, since);
            if least == since {
                break;
            }
            since = least;
        }
        Nanos::from_nanos(self.anchor_ns.saturating_add(since))
    }

    /// So many ticks in nanoseconds, rounded up.
    pub(crate) fn ns(&self, ticks: u64) -> u64 {
        self.inverse.times(ticks).saturating_add(1)
    }

    /// So many nanoseconds in ticks, rounded up.
    pub(crate) fn ticks(&self, ns: u64) -> u64 {
        self.speed.times(ns).saturating_add(1)
    }
}

#[cfg(all(test, not(model)))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    const START: u64 = 1_000_000_000_000;

    fn rates() -> impl Strategy<Value = Rate> {
        (1u64..1 << 30, 0u32..55).prop_filter_map("a rate", |(max, bits)| {
            let per = (1u64 << bits).saturating_add(max % 1_000);
            Rate::new(max, Duration::from_nanos(per)).ok()
        })
    }

    fn clock(rate: Rate) -> TableClock {
        TableClock::new(rate, &Anchor { ticks: 77, ..Anchor::new(rate, Nanos::from_nanos(START)) })
    }

    proptest! {
        /// A call takes `per / max`, exactly, over any time.
        #[test]
        fn the_clock_keeps_the_rate(rate in rates(), calls in 1u64..1 << 20) {
            let anchor = Anchor::new(rate, Nanos::from_nanos(START));
            let clock = TableClock::new(rate, &anchor);
            let ticks = calls << anchor.call_bits;
            let took = clock.instant(ticks).as_nanos() - START;
            let exact = u128::from(calls) * u128::from(rate.per_ns());
            let lower = exact.div_ceil(u128::from(rate.max()));
            // The speed is rounded down: by a nanosecond in 292 years.
            prop_assert!((lower..=lower + 1).contains(&u128::from(took)), "{} for {}", took, lower);
        }

        #[test]
        fn an_instant_is_the_first_of_its_tick(rate in rates(), ahead in 0u64..1 << 50) {
            let clock = clock(rate);
            let tick = 77 + ahead;
            let at = clock.instant(tick);
            prop_assert!(clock.at(at) >= tick);
            if at.as_nanos() > START {
                prop_assert!(clock.at(at - Duration::from_nanos(1)) < tick);
                prop_assert!(clock.is_reached_now(tick, clock.at(at), at) );
                prop_assert!(!clock.is_reached_now(tick, clock.at(at + Duration::from_nanos(1)), at + Duration::from_nanos(1)));
            }
        }

        /// A clock that is read earlier, also before the anchor, shows no more.
        #[test]
        fn the_clock_is_monotonic(rate in rates(), a in 0u64..1 << 50, b in 0u64..1 << 50) {
            let clock = clock(rate);
            let (a, b) = (Nanos::from_nanos(a.min(b)), Nanos::from_nanos(a.max(b)));
            prop_assert!(clock.at(a) <= clock.at(b));
        }

        /// A change of the rate neither gains nor loses a tick at its instant.
        #[test]
        fn a_moved_clock_goes_on_where_it_was(rates in (rates(), rates()), after in 0u64..1 << 50) {
            let (from, to) = rates;
            let anchor = Anchor::new(from, Nanos::from_nanos(START));
            let at = Nanos::from_nanos(START + after);
            let before = TableClock::new(from, &anchor).at(at);
            prop_assert_eq!(TableClock::new(to, &anchor.moved(from, at)).at(at), before);
        }

        #[test]
        fn garbage_is_some_clock(words in any::<(u64, u64, u64, u8, u64, u8)>(), tick: u64, at: u64) {
            let (anchor_ns, anchor_ticks, a, b, c, d) = words;
            let (speed, inverse) = (Ratio { mantissa: a, shift: b }, Ratio { mantissa: c, shift: d });
            let clock = TableClock { anchor_ns, anchor_ticks, speed, inverse };
            let reached = clock.at(Nanos::from_nanos(at));
            let _ = (clock.instant(tick), clock.charged_at(reached), clock.ns(tick), clock.ticks(at));
            let _ = clock.is_reached_now(tick.min(reached), reached, Nanos::from_nanos(at));
        }
    }

    #[test]
    fn a_rate_can_rise_as_long_as_the_word_lasts() {
        let rate = |text: &str| text.parse::<Rate>().unwrap();
        for created in ["1/h", "7/s", "1000000/s"] {
            let created = rate(created);
            let anchor = Anchor::new(created, Nanos::default());
            let times = |n: u64| Rate::new(created.max() * n, created.per());
            assert!(anchor.call_bits <= Anchor::MAX_CALL_BITS && anchor.allows(rate("1/day")));
            assert!(anchor.allows(times(128).unwrap()));
            assert!(times(257).is_ok_and(|fast| !anchor.allows(fast)));
        }
        let slowest = Rate::new(1, crate::limit::MAX_PER).unwrap();
        assert!(Anchor::new(slowest, Nanos::default()).call_bits <= Anchor::MAX_CALL_BITS);
    }

    /// After the rate was lowered by a million, a tick takes most of a millisecond.
    #[test]
    fn a_lowered_rate_is_never_over() {
        let fast = "1000/s".parse::<Rate>().unwrap();
        let slow = "3/h".parse::<Rate>().unwrap();
        let anchor = Anchor::new(fast, Nanos::default());
        let clock = TableClock::new(slow, &anchor);
        let call = 1u64 << anchor.call_bits;
        let (mut now, mut last) = (Nanos::from_nanos(12_345_678_901), None::<Nanos>);
        for i in 0..1_000u64 {
            let charged = clock.charged_at(clock.at(now));
            if let Some(last) = last {
                assert!(now.since(last) >= Duration::from_secs(1_200));
            }
            last = Some(now);
            now = clock.instant(charged + call) + Duration::from_nanos(i * 977 % 3);
        }
    }
}
