//! Exact integer time: one token is exactly `2^shift` ticks.
//!
//! A rate of `max` per `per` rarely divides evenly, and a rounded emission interval would drift. So time is counted in
//! ticks of `per / max / 2^shift`, with the smallest `shift` for which a tick is at most a nanosecond. Tokens, bursts
//! and costs are then exact shifts. Only the clock reading is rounded, down, with an error that does not accumulate: it
//! stays under one tick for the whole range of `u64` nanoseconds.
//!
//! **Why no window of whole nanoseconds contains one admission too many.** Let `x = d·r` be the exact position in ticks
//! of the clock reading `d`, with `r` the rounded-down ratio. An admission is booked at `p` with `p ≤ x < p + r` (`p`
//! is `floor(x)`, or the slot whose first nanosecond is `d`). Booked times satisfy `p_k ≥ p_0 + k·2^shift`, so `d_k −
//! d_0 > (k·2^shift − r)/r ≥ k·per/max − 1`: a whole number of nanoseconds greater than `W − 1` for every whole `W ≤
//! k·per/max`, hence at least `W`.

use super::Rate;

/// Converts between nanoseconds and the ticks of one rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticks {
    /// One token is `2^shift` ticks.
    pub(crate) shift: u32,
    /// Ticks per nanosecond, times 2^63, rounded down. In `2^63 .. 2^64`.
    pub(crate) per_ns: u64,
    /// Nanoseconds per tick, times 2^64, rounded down (and at most `u64::MAX`).
    pub(crate) inverse: u64,
}

impl Ticks {
    /// The ticks of this rate.
    pub fn of(rate: Rate) -> Ticks {
        let (max, per) = (u128::from(rate.max()), u128::from(rate.per_ns()));
        // The smallest shift with max << shift ≥ per, that is, a tick of at most 1 ns. At most 55, since per < 2^55.
        let shift = per.div_ceil(max).next_power_of_two().trailing_zeros();
        let per_ns = (((max << shift) << 63) / per) as u64;
        Ticks { shift, per_ns, inverse: inverse_of(per_ns) }
    }

    /// The tick in which the nanosecond `ns` begins, for `ns` below 2^63 (292 years).
    #[inline]
    pub fn at(self, ns: u64) -> u64 {
        // Doubled first, because the high half of a product is cheap.
        ((u128::from(ns << 1) * u128::from(self.per_ns)) >> 64) as u64
    }

    /// The first nanosecond that is in tick `tick` or later; the exact inverse of [`at`](Self::at): `at(n) ≥ tick` if
    /// and only if `n ≥ first_ns(tick)`. For `tick < 2^63`.
    #[inline]
    pub fn first_ns(self, tick: u64) -> u64 {
        // The smallest n with n·per_ns ≥ tick·2^63. Multiplying by the inverse gives at most 2 less.
        let guess = ((u128::from(tick) * u128::from(self.inverse)) >> 64) as u64;
        let missing =
            (u128::from(tick) << 63).wrapping_sub(u128::from(guess).wrapping_mul(u128::from(self.per_ns)));
        guess.wrapping_add(u64::from(missing > 0)).wrapping_add(u64::from(missing > u128::from(self.per_ns)))
    }

    /// `tokens` in ticks.
    #[inline]
    pub fn tokens(self, tokens: u64) -> u64 {
        // Masked, so that a shift read from corrupt memory is still valid.
        tokens << (self.shift & 63)
    }

    /// `times · tokens` in ticks.
    pub(crate) fn tokens_saturating(self, tokens: u64, times: u64) -> u64 {
        let all = (u128::from(tokens) * u128::from(times)) << (self.shift & 63);
        u64::try_from(all).unwrap_or(u64::MAX)
    }

    /// The number of whole tokens in `ticks`.
    #[inline]
    pub fn whole_tokens(self, ticks: u64) -> u64 {
        ticks >> (self.shift & 63)
    }
}

fn inverse_of(per_ns: u64) -> u64 {
    ((1u128 << 127) / u128::from(per_ns)).min(u128::from(u64::MAX)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    fn rates() -> impl Strategy<Value = Rate> {
        (0u32..=54, 0u32..=54, any::<u64>(), any::<u64>()).prop_map(|(per_bits, max_bits, a, b)| {
            let per = (a % (1u64 << per_bits)).min(366 * 86_400_000_000_000 - 1) + 1;
            let max = (b % (1u64 << max_bits) + 1).min(per);
            Rate::new(max, Duration::from_nanos(per)).unwrap()
        })
    }

    proptest! {
        /// A tick is more than half a nanosecond and at most one (unless a token is a nanosecond).
        #[test]
        fn a_tick_is_at_most_a_nanosecond(rate in rates()) {
            let t = Ticks::of(rate);
            let token_ticks = 1u128 << t.shift;
            let (max, per) = (u128::from(rate.max()), u128::from(rate.per_ns()));
            prop_assert!(max * token_ticks >= per);
            prop_assert!(t.shift == 0 || max * (token_ticks >> 1) < per);
            prop_assert!(t.per_ns >= 1 << 63);
        }

        /// Never early, and never late by more than one tick, over 70 years.
        #[test]
        fn readings_are_rounded_down_by_less_than_a_tick(rate in rates(), ns in 0u64..1 << 61) {
            let t = Ticks::of(rate);
            // at/2^shift tokens ≤ ns·max/per  <  (at + 2)/2^shift, exactly. (One for the floor, one for the ratio.)
            let exact = u128::from(ns) * u128::from(rate.max());
            let token = |tick: u128| (tick * u128::from(rate.per_ns())) >> t.shift;
            prop_assert!(token(t.at(ns).into()) <= exact);
            prop_assert!(token(u128::from(t.at(ns)) + 2) >= exact);
        }

        #[test]
        fn first_ns_is_the_exact_inverse(rate in rates(), tick in 0u64..1 << 62) {
            let t = Ticks::of(rate);
            let ns = t.first_ns(tick);
            prop_assert!(t.at(ns) >= tick);
            prop_assert!(ns == 0 || t.at(ns - 1) < tick);
        }
    }

    #[test]
    fn the_extreme_rates_convert_exactly() {
        for (max, per) in
            [(1, 1), (1, 366 * 86_400_000_000_000), (1_000_000_007, 3_600_000_000_000), (10, 3_000_000_000)]
        {
            let t = Ticks::of(Rate::new(max, Duration::from_nanos(per)).unwrap());
            for tick in [0, 1, 2, (1 << 62) - 1] {
                assert!(t.at(t.first_ns(tick)) >= tick);
            }
        }
    }
}
