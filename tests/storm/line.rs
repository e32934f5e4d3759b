//! Nothing wasted, and first come, first served: judged by definition, from when callers waited and when they were admitted.

use crate::disruptor::Record;
use std::fmt;

/// A caller that waited.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stood {
    pub(crate) slot: usize,
    pub(crate) from: u64,
    /// Until when it surely waited, if it was not stopped.
    pub(crate) to: u64,
    /// The instant that it was admitted for; 0: it was not.
    pub(crate) at: u64,
}

/// Long against a wake-up beside 64 busy processes.
const WINDOW: u64 = 500_000_000;
/// A caller is overtaken if one that came so much later was admitted before it. What is charged ahead, and a process that
/// wakes late, account for less.
const LATER: u64 = 200_000_000;

/// How callers that waited were served.
pub(crate) struct Served {
    /// Windows in which a caller that was not stopped waited all the time.
    pub(crate) windows: usize,
    /// What was admitted in these, as a part of what the limit allows; and in the worst of them.
    pub(crate) delivered: f64,
    pub(crate) least: f64,
    /// Which part of those that were never stopped while they waited was overtaken.
    pub(crate) overtaken: f64,
}

impl fmt::Display for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.1} % delivered in {} times of half a second with somebody waiting ({:.1} % in the worst), {:.2} % overtaken",
            100.0 * self.delivered,
            self.windows,
            100.0 * self.least,
            100.0 * self.overtaken
        )
    }
}

impl Served {
    pub(crate) fn of(stood: &[Stood], admitted: Vec<(u64, u64)>, nominal: f64, record: &Record) -> Served {
        let parts: Vec<f64> = windows(&times_with_a_waiter(stood, record))
            .map(|from| {
                let inside = admitted.iter().filter(|(at, _)| (from..from + WINDOW).contains(at));
                let amount: u64 = inside.map(|&(_, amount)| amount).sum();
                amount as f64 / (nominal * WINDOW as f64 / 1e9)
            })
            .collect();
        Served {
            windows: parts.len(),
            delivered: parts.iter().sum::<f64>() / parts.len().max(1) as f64,
            least: parts.iter().copied().fold(f64::INFINITY, f64::min),
            overtaken: overtaken(stood, record),
        }
    }
}

/// Times in which at least one caller waits whose process is not stopped, without gaps.
fn times_with_a_waiter(stood: &[Stood], record: &Record) -> Vec<(u64, u64)> {
    let mut times: Vec<(u64, u64)> = Vec::new();
    for one in stood {
        let mut from = one.from;
        let mut stops: Vec<_> = record.stops.iter().filter(|stop| stop.slot == one.slot).collect();
        stops.sort_unstable_by_key(|stop| stop.from);
        for stop in stops {
            let to = if stop.to == 0 { u64::MAX } else { stop.to };
            if to > from && stop.from < one.to {
                times.push((from, stop.from));
                from = to;
            }
        }
        times.push((from, one.to));
    }
    times.retain(|(from, to)| from < to);
    times.sort_unstable();
    let mut whole: Vec<(u64, u64)> = Vec::new();
    for (from, to) in times {
        match whole.last_mut().filter(|last| last.1 >= from) {
            Some(last) => last.1 = last.1.max(to),
            None => whole.push((from, to)),
        }
    }
    whole
}

/// The whole windows in these times, each from its beginning.
fn windows(times: &[(u64, u64)]) -> impl Iterator<Item = u64> {
    times.iter().flat_map(|&(from, to)| (0..(to - from) / WINDOW).map(move |i| from + i * WINDOW))
}

fn overtaken(stood: &[Stood], record: &Record) -> f64 {
    let mut served: Vec<&Stood> = stood.iter().filter(|one| one.at > 0).collect();
    served.sort_unstable_by_key(|one| (one.at, one.from));
    let mut latest = 0;
    let (mut all, mut overtaken) = (0, 0);
    for one in served {
        if record.stopped(one.slot, one.from, one.at) == 0 {
            all += 1;
            overtaken += u64::from(latest > one.from + LATER);
        }
        latest = latest.max(one.from);
    }
    overtaken as f64 / f64::max(f64::from(all), 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disruptor::Stop;

    const MS: u64 = 1_000_000;

    fn stood(slot: usize, from: u64, to: u64, at: u64) -> Stood {
        Stood { slot, from: from * MS, to: to * MS, at: at * MS }
    }

    #[test]
    fn a_window_counts_while_a_running_process_waits() {
        let all = [stood(1, 0, 700, 0), stood(2, 600, 2_000, 0)];
        let free = Record::default();
        assert_eq!(times_with_a_waiter(&all, &free), [(0, 2_000 * MS)]);
        assert_eq!(windows(&times_with_a_waiter(&all, &free)).count(), 4);
        let stops = vec![Stop { slot: 2, from: 900 * MS, to: 1_500 * MS }];
        let stopped = Record { stops, ..Record::default() };
        assert_eq!(times_with_a_waiter(&all, &stopped), [(0, 900 * MS), (1_500 * MS, 2_000 * MS)]);
        let stops = vec![Stop { slot: 2, from: 900 * MS, to: 0 }];
        let gone = Record { stops, ..Record::default() };
        assert_eq!(windows(&times_with_a_waiter(&all, &gone)).count(), 1);
    }

    #[test]
    fn undelivered_turns_beside_a_waiter_count_as_wasted() {
        let all = [stood(1, 0, 1_000, 0)];
        let admitted = (0..60).map(|i| (i * 10 * MS, 1)).collect();
        let served = Served::of(&all, admitted, 100.0, &Record::default());
        assert_eq!(served.windows, 2);
        assert!((served.delivered - 0.6).abs() < 1e-9 && (served.least - 0.2).abs() < 1e-9);
    }

    #[test]
    #[expect(clippy::float_cmp, reason = "halves are exact")]
    fn a_caller_is_overtaken_by_one_that_came_much_later() {
        let record = Record::default();
        let in_order = [stood(1, 0, 300, 300), stood(2, 150, 290, 290)];
        assert_eq!(overtaken(&in_order, &record), 0.0);
        let not = [stood(1, 0, 300, 300), stood(2, 250, 290, 290)];
        assert_eq!(overtaken(&not, &record), 0.5);
        let stops = vec![Stop { slot: 1, from: 100 * MS, to: 200 * MS }];
        assert_eq!(overtaken(&not, &Record { stops, ..Record::default() }), 0.0);
    }
}
