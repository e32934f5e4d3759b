//! The quick clock: the CPU's time-stamp counter, where the kernel itself uses it as its clock source.
//!
//! Each thread has its own anchor, so nothing is shared and nothing is locked. Without such a counter, or with another
//! clock source, every reading is exact.

#[cfg(not(all(target_arch = "x86_64", not(model))))]
mod counted {
    use crate::clock::{Nanos, now};

    pub(crate) fn read() -> Option<Nanos> {
        None
    }

    pub(crate) fn exact() -> Nanos {
        now()
    }

    #[cfg(not(model))]
    pub(crate) fn forget() {}
}

#[cfg(all(target_arch = "x86_64", not(model)))]
#[allow(unsafe_code)]
mod counted {
    use crate::clock::anchor::{Anchor, MAX_GAP, Point};
    use crate::clock::{Nanos, now};
    use std::arch::x86_64::{_mm_lfence, _rdtsc};
    use std::cell::Cell;
    use std::sync::atomic::{AtomicU8, Ordering};

    thread_local! {
        static ANCHOR: Cell<Anchor> = const { Cell::new(Anchor::NONE) };
    }

    /// Whether the kernel trusts the counter. Queried once per process.
    static TRUSTED: AtomicU8 = AtomicU8::new(UNASKED);
    const UNASKED: u8 = 0;
    const YES: u8 = 1;
    const NO: u8 = 2;

    fn is_trusted() -> bool {
        match TRUSTED.load(Ordering::Relaxed) {
            UNASKED => {
                let file = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
                let trusted = std::fs::read(file).is_ok_and(|name| name.trim_ascii() == b"tsc");
                TRUSTED.store(if trusted { YES } else { NO }, Ordering::Relaxed);
                trusted
            }
            answer => answer == YES,
        }
    }

    #[inline]
    fn count() -> u64 {
        // No fence: a value read early by speculation lags a little, which is allowed.
        // SAFETY: reads a register. (A process that disables this instruction by PR_SET_TSC cannot read the clock
        // either.)
        unsafe { _rdtsc() }
    }

    /// `None` if this thread's anchor does not hold.
    #[inline]
    pub(crate) fn read() -> Option<Nanos> {
        ANCHOR.with(|cell| cell.get().read(count()).map(Nanos::from_nanos))
    }

    /// The exact clock; moves the anchor, so that the next readings can use the counter where it is trusted.
    #[cold]
    #[inline(never)]
    pub(crate) fn exact() -> Nanos {
        ANCHOR.with(move_anchor)
    }

    fn move_anchor(cell: &Cell<Anchor>) -> Nanos {
        let anchor = cell.get();
        let before = count();
        let ns = now();
        if !anchor.wants(ns.as_nanos()) || !is_trusted() {
            return ns;
        }
        // SAFETY: a fence; part of every x86_64.
        unsafe { _mm_lfence() };
        let after = count();
        // Also rejects the reading during which `is_trusted` had to read its file.
        if after.wrapping_sub(before) < MAX_GAP {
            cell.set(anchor.moved(Point { ns: ns.as_nanos(), count: after }));
        }
        ns
    }

    /// A forked child may be in another time namespace.
    pub(crate) fn forget() {
        ANCHOR.with(|cell| cell.set(Anchor::NONE));
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use crate::clock::QUICK_LAG;

        /// For half a second, compared with the clock before and after. A thread preempted in between proves nothing,
        /// and does no harm.
        #[test]
        fn quick_time_stays_between_two_clock_readings() {
            let start = now();
            let (mut quick, mut late) = (0u64, 0u64);
            while now().since(start).as_millis() < 500 {
                let before = now();
                let Some(at) = read() else {
                    exact();
                    continue;
                };
                let after = now();
                assert!(at <= after, "ahead");
                quick += 1;
                late += u64::from(at.plus(QUICK_LAG) < before);
            }
            assert_eq!(late, 0, "of {quick}");
            assert!(quick > 0 || !is_trusted());
        }
    }
}

pub(crate) use counted::*;
