//! Time from a counter with a constant rate, between two readings of the clock.
//!
//! The kernel may slew its clock: relative to the counter, the clock's rate is `1 + s`, and `s` may change at any
//! instant, also between two readings. `MAX_SLEW_PPM` bounds `s`. With `H = 1 + s` and `L = 1 − s` at that bound, in
//! nanoseconds per count (times the counter's constant nominal rate, which cancels out):
//!
//! **Never ahead.** An anchor is a reading of the clock and of the counter, the counter read second, after a fence. The
//! rate was measured as at most `H`; from the anchor on, the clock may run at `L`. The rate that is used is the
//! measured one times [`SAFETY`], 5/8. `5/8 · H < L`, because `L / H = 0.774 / 1.226 > 0.631`. The difference of 1 %
//! covers the measurement error, which is at most [`MAX_GAP`] counts in 10 ms.
//!
//! **Behind by less than [`QUICK_LAG`](super::QUICK_LAG).** An anchor holds for [`SPAN_NS`], counted at the measured
//! rate, which is at least `L`. In that many counts the clock advances by at most `SPAN_NS · H / L` and the anchor's
//! time by at least `SPAN_NS · 5/8`: they diverge by less than `3 µs · (1.584 − 0.625) < 2.9 µs`. The anchor itself is
//! late by at most [`MAX_GAP`] counts, 0.63 µs at 1 GHz. The sum is below 4 µs.
//!
//! A shorter span would lower the lag but read the clock more often. With 3 µs, more than a hundred decisions of a busy
//! thread still share one reading.

/// The maximum slew of the kernel's clock, in parts per million: `adjtimex` allows 100,000 by the length of the tick
/// and 500 by the frequency, `adjtime` another 500, and the phase-locked loop corrects at most an eighth of a second
/// per second.
#[cfg(test)]
const MAX_SLEW_PPM: i64 = 100_000 + 500 + 500 + 125_000;
/// How long an anchor holds, at the measured rate.
const SPAN_NS: u64 = 3_000;
/// The minimum and maximum time over which the rate is measured. In a longer one, the machine may have been suspended.
const MEASURE_NS: std::ops::Range<u64> = 10_000_000..1_000_000_000;
/// The rate that is used, as a fraction of the measured one.
const SAFETY: (u64, u64) = (5, 8);
/// Two measurements agree if they differ by less than one part in this many.
const AGREEMENT: u64 = 4_096;
/// A clock reading during which the counter advanced by more than this was interrupted, and is not used as an anchor.
pub(super) const MAX_GAP: u64 = 512;

/// The clock and the counter, read at (nearly) the same moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Point {
    pub(super) ns: u64,
    /// Read after the clock.
    pub(super) count: u64,
}

/// Where time is counted from, and how fast. All zeros: nothing known yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Anchor {
    at: Point,
    /// Nanoseconds per count, times 2^32, with [`SAFETY`] applied.
    rate: u64,
    /// The number of counts for which it holds; 0: it does not hold.
    span: u64,
    /// Where the current measurement of the rate began, and the result of the previous one.
    since: Point,
    measured: u64,
}

impl Anchor {
    pub(super) const NONE: Anchor = Anchor {
        at: Point { ns: 0, count: 0 },
        rate: 0,
        span: 0,
        since: Point { ns: 0, count: 0 },
        measured: 0,
    };

    /// The time at this count, if the anchor holds.
    #[inline]
    pub(super) fn read(&self, count: u64) -> Option<u64> {
        let counts = count.wrapping_sub(self.at.count);
        // A counter that went backwards appears as a huge number of counts.
        (counts < self.span).then(|| self.at.ns + ((counts * self.rate) >> 32))
    }

    /// Whether a point is useful when the clock reads `ns`: as an anchor or for a measurement.
    pub(super) fn wants(&self, ns: u64) -> bool {
        self.rate != 0 || ns.wrapping_sub(self.since.ns) >= MEASURE_NS.start
    }

    /// The next anchor, from a new point. It holds once two measurements of the rate agree.
    #[must_use]
    pub(super) fn moved(mut self, at: Point) -> Anchor {
        self.at = at;
        let (ns, counts) = (at.ns.wrapping_sub(self.since.ns), at.count.wrapping_sub(self.since.count));
        if !MEASURE_NS.contains(&ns) || counts == 0 {
            if ns >= MEASURE_NS.end {
                self = Anchor { at, since: at, ..Anchor::NONE };
            }
        } else {
            let measured = ((u128::from(ns) << 32) / u128::from(counts)).try_into().unwrap_or(u64::MAX);
            let agree = measured.abs_diff(self.measured) <= measured / AGREEMENT;
            let usable = agree && measured < 1 << 42;
            self.rate = if usable { measured / SAFETY.1 * SAFETY.0 } else { 0 };
            (self.since, self.measured) = (at, measured);
        }
        self.span = if self.rate == 0 { 0 } else { (SPAN_NS << 32) / self.measured };
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::QUICK_LAG;
    use proptest::prelude::*;

    /// A counter with a constant rate, and a clock with any rate that the kernel allows.
    struct World {
        khz: u64,
        ns: f64,
        counted_ns: f64,
        anchor: Anchor,
    }

    impl World {
        fn new(khz: u64, start: u64) -> World {
            World { khz, ns: start as f64, counted_ns: 0.0, anchor: Anchor::NONE }
        }

        fn pass(&mut self, ns: u64, ppm: i64) {
            self.counted_ns += ns as f64;
            self.ns += ns as f64 * (1.0 + ppm as f64 * 1e-6);
        }

        /// Reads the time, and moves the anchor if it does not hold; the clock is then read up to `gap` ns before the
        /// counter. Returns whether the reading came from the anchor; an error if it was wrong.
        fn read(&mut self, gap: u64) -> Result<bool, String> {
            let (count, ns) = ((self.counted_ns * self.khz as f64 * 1e-6) as u64, self.ns as u64);
            match self.anchor.read(count) {
                Some(read) if read > ns => Err(format!("{} ahead", read - ns)),
                Some(read) if ns - read >= QUICK_LAG.as_nanos() as u64 => {
                    Err(format!("{} behind", ns - read))
                }
                Some(_) => Ok(true),
                None => {
                    if self.anchor.wants(ns) {
                        self.anchor = self.anchor.moved(Point { ns: ns - gap.min(ns), count });
                    }
                    Ok(false)
                }
            }
        }

        /// Runs at one rate for long enough that the anchor has measured it.
        fn settle(&mut self, ppm: i64) {
            for _ in 0..40 {
                self.pass(1_000_000, ppm);
                let _ = self.read(0);
            }
        }
    }

    fn slews() -> impl Strategy<Value = i64> {
        prop_oneof![Just(-MAX_SLEW_PPM), Just(MAX_SLEW_PPM), -MAX_SLEW_PPM..=MAX_SLEW_PPM]
    }

    /// Changes of the slew; usually none.
    fn slew_changes() -> impl Strategy<Value = Option<i64>> {
        prop_oneof![8 => Just(None), 1 => slews().prop_map(Some)]
    }

    fn spans() -> impl Strategy<Value = u64> {
        prop_oneof![2 => 0u64..2_000, 1 => 0u64..8_000_000]
    }

    proptest! {
        /// A counter of 1 to 5 GHz, late readings, and a clock whose slew changes at any instant.
        #[test]
        fn anchored_time_is_never_ahead_and_lags_within_bounds(
            khz in 1_000_000u64..5_000_000,
            start in 0u64..1 << 50,
            steps in prop::collection::vec((spans(), slew_changes(), prop::bool::ANY, 0u64..500), 50..1_000),
        ) {
            let (mut world, mut ppm) = (World::new(khz, start), 0);
            for (ns, change, reads, gap) in steps {
                ppm = change.unwrap_or(ppm);
                world.pass(ns, ppm);
                if reads {
                    world.read(gap.min(MAX_GAP * 1_000_000 / khz)).map_err(TestCaseError::fail)?;
                }
            }
        }
    }

    /// The worst case: the rate was measured at one end of the allowed range, and right after an anchor the clock goes
    /// to the other end.
    #[test]
    fn anchored_time_stays_within_bounds_when_the_slew_reverses() {
        for (before, after) in [(MAX_SLEW_PPM, -MAX_SLEW_PPM), (-MAX_SLEW_PPM, MAX_SLEW_PPM)] {
            for khz in [1_000_000, 2_500_000, 5_000_000] {
                let mut world = World::new(khz, 1 << 40);
                world.settle(before);
                world.pass(1_000_000, before);
                assert_eq!(world.read(MAX_GAP * 1_000_000 / khz), Ok(false));
                let mut anchored = 0;
                loop {
                    world.pass(50, after);
                    match world.read(0) {
                        Ok(true) => anchored += 1,
                        Ok(false) => break,
                        Err(why) => panic!("from {before} to {after} ppm at {khz} kHz: {why}"),
                    }
                }
                assert!(anchored > 30, "only {anchored} readings");
            }
        }
    }

    fn warm() -> Anchor {
        let mut anchor = Anchor::NONE;
        for ms in 1..100 {
            anchor = anchor.moved(Point { ns: ms * 1_000_000, count: ms * 3_000_000 });
        }
        anchor
    }

    #[test]
    fn an_anchor_holds_for_its_span_once_two_measurements_agree() {
        let anchor = warm();
        let read = |ns: u64| anchor.read(99 * 3_000_000 + ns * 3);
        assert_eq!(read(2_900), Some(99_000_000 + 2_900 * 5 / 8));
        assert_eq!(read(3_010), None);
        // Backwards.
        assert_eq!(anchor.read(98 * 3_000_000), None);
    }

    #[test]
    fn an_anchor_ends_after_suspend_or_a_change_of_rate() {
        let slept = warm().moved(Point { ns: 3_600_000_000_000, count: 100 * 3_000_000 });
        assert_eq!(slept.read(100 * 3_000_000 + 1), None);
        // Suspended for 400 ms in the middle of a measurement, which then disagrees with the previous one.
        let dozed = warm().moved(Point { ns: 510_000_000, count: 110 * 3_000_000 });
        assert_eq!(dozed.read(110 * 3_000_000 + 1), None);
    }
}
