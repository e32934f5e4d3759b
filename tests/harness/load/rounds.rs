//! Measurements that are repeated on a machine that stalls, because no limiter can be judged by them there.

use super::heartbeat::DISTURBED;
use crate::{alone, log_uncaptured};
use std::time::Duration;

/// How often measurements are made at most.
const ROUNDS: usize = 4;

/// What one measurement showed.
pub struct Measured {
    /// What is wrong, in words.
    pub complaints: Vec<String>,
    /// The longest stall of the machine meanwhile.
    pub stall: Duration,
}

/// Makes all measurements at the same time, each on a limiter of its own, beside no other test. If any of them complains and
/// the machine stalled, all are made again.
///
/// # Panics
/// With the complaints, if the machine did not stall or this was the last round.
pub fn judge<T: Sync>(all: &[T], measure: impl Fn(&T) -> Measured + Sync) {
    let _alone = alone();
    for rounds_left in (0..ROUNDS).rev() {
        let Measured { complaints, stall } = measure_all(all, &measure);
        if complaints.is_empty() {
            return;
        }
        assert!(
            stall > DISTURBED && rounds_left > 0,
            "(the machine stalled for up to {stall:?})\n{}",
            complaints.join("\n")
        );
        log_uncaptured(&format!("the machine stalled for {stall:?}: once more"));
    }
}

fn measure_all<T: Sync>(all: &[T], measure: &(impl Fn(&T) -> Measured + Sync)) -> Measured {
    std::thread::scope(|scope| {
        let running: Vec<_> = all.iter().map(|what| scope.spawn(move || measure(what))).collect();
        let mut sum = Measured { complaints: Vec::new(), stall: Duration::ZERO };
        for one in running {
            let round = one.join().expect("a measurement");
            sum.complaints.extend(round.complaints);
            sum.stall = sum.stall.max(round.stall);
        }
        sum
    })
}

#[cfg(test)]
mod tests {
    use super::{DISTURBED, Measured, ROUNDS, judge};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    fn complaint(stall: Duration) -> Measured {
        Measured { complaints: vec!["too few".into()], stall }
    }

    /// How often the measurement is made, and whether it is accepted.
    fn rounds(measure: impl Fn(usize) -> Measured + Sync) -> (usize, bool) {
        let made = AtomicUsize::new(0);
        let judged = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            judge(&[()], |()| measure(made.fetch_add(1, Ordering::Relaxed)));
        }));
        (made.into_inner(), judged.is_ok())
    }

    #[test]
    fn only_a_measurement_on_a_machine_that_stalled_is_repeated() {
        let none = || Measured { complaints: Vec::new(), stall: 2 * DISTURBED };
        assert_eq!(rounds(|_| none()), (1, true));
        assert_eq!(rounds(|_| complaint(DISTURBED)), (1, false));
        assert_eq!(rounds(|_| complaint(2 * DISTURBED)), (ROUNDS, false));
        assert_eq!(rounds(|i| if i < 2 { complaint(2 * DISTURBED) } else { none() }), (3, true));
    }
}
