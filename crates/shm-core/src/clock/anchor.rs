//! Time from a counter that runs evenly, between two readings of the clock.
//!
//! **Never ahead.** The counter is read after the clock when an anchor is taken, and the rate is taken lower than
//! measured by [`MARGIN`]. What is left to be ahead by is a clock that is suddenly slowed down by more than that: the
//! kernel slews by at most 500 ppm either way, and a rate is measured anew about every 10 ms.
//!
//! **Hardly behind.** An anchor holds for [`SPAN_NS`], in which the margin makes 0.4 µs; and it is taken only if clock
//! and counter were read within [`MAX_GAP`] counts of one another, half a microsecond at 1 GHz.

/// For how long an anchor holds.
const SPAN_NS: u64 = 200_000;
/// The rate is measured over at least and at most this time. Over more, the machine may have slept in it.
const MEASURE_NS: std::ops::Range<u64> = 10_000_000..1_000_000_000;
/// By one part in this many a rate is taken lower than measured.
const MARGIN: u64 = 512;
/// Two measurements of the rate agree if they differ by less than one part in this many.
const AGREEMENT: u64 = 4_096;
/// A clock reading during which the counter moved by more than this was interrupted, and anchors nothing.
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
    /// Nanoseconds per count, times 2^32, with the margin taken off.
    rate: u64,
    /// The counts for which it holds. 0: it doesn't.
    span: u64,
    /// Where the present measurement of the rate began, and what the last one found.
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
        // A counter that went back is a huge number of counts.
        (counts < self.span).then(|| self.at.ns + ((counts * self.rate) >> 32))
    }

    /// Whether a point is wanted when the clock says `ns`: to anchor, or for a measurement.
    pub(super) fn wants(&self, ns: u64) -> bool {
        self.rate != 0 || ns.wrapping_sub(self.since.ns) >= MEASURE_NS.start
    }

    /// The anchor that follows, from a new point. It holds once two measurements of the rate agree.
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
            self.rate = if usable { measured - measured.div_ceil(MARGIN) } else { 0 };
            (self.since, self.measured) = (at, measured);
        }
        self.span = (SPAN_NS << 32).checked_div(self.rate).unwrap_or(0);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::NEARLY;
    use proptest::prelude::*;

    proptest! {
        /// A clock that is slewed by up to 500 ppm, a counter of 1 to 5 GHz, readings that are late: never ahead,
        /// never more than `NEARLY` behind.
        #[test]
        fn never_ahead_and_hardly_behind(
            khz in 1_000_000u64..5_000_000,
            start in 0u64..1 << 50,
            steps in prop::collection::vec((0u64..2_000_000, -500i64..500, 0u64..300), 50..1_000),
        ) {
            let (mut true_ns, mut count_ps) = (u128::from(start), 0u128);
            let mut anchor = Anchor::NONE;
            for (step, ppm, gap) in steps {
                // The counter runs evenly; the clock runs by `ppm` faster or slower.
                count_ps += u128::from(step) * 1_000;
                true_ns += u128::from(step) * (1_000_000 + ppm) as u128 / 1_000_000;
                let count = (count_ps * u128::from(khz) / 1_000_000_000) as u64;
                let ns = true_ns as u64;
                if let Some(read) = anchor.read(count) {
                    prop_assert!(read <= ns, "{} ahead", read - ns);
                    prop_assert!(ns - read < NEARLY.as_nanos() as u64, "{} behind", ns - read);
                } else if anchor.wants(ns) {
                    // The clock was read up to `gap` before the counter.
                    anchor = anchor.moved(Point { ns: ns - gap.min(ns), count });
                }
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
    fn holds_after_two_measurements_for_a_fifth_of_a_millisecond() {
        let anchor = warm();
        let read = |us: u64| anchor.read(99 * 3_000_000 + us * 3_000);
        assert!((99_189_000..=99_190_000).contains(&read(190).unwrap()));
        assert_eq!(read(260), None);
        // Backwards.
        assert_eq!(anchor.read(98 * 3_000_000), None);
    }

    #[test]
    fn a_machine_that_slept_or_a_counter_that_changed_its_pace_ends_it() {
        let slept = warm().moved(Point { ns: 3_600_000_000_000, count: 100 * 3_000_000 });
        assert_eq!(slept.read(100 * 3_000_000 + 1), None);
        // 400 ms asleep, in the middle of a measurement: it disagrees with the one before.
        let dozed = warm().moved(Point { ns: 510_000_000, count: 110 * 3_000_000 });
        assert_eq!(dozed.read(110 * 3_000_000 + 1), None);
    }
}
