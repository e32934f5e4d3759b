//! What is checked afterwards, from nothing but what happened.

use super::crowd::{Record, Waited};
use harness::check::most_at_once;
use serde_json::Value;
use shm_lib::limit::audit::{self, Admission};
use shm_lib::{Nanos, Policy};
use std::collections::BTreeMap;
use std::fmt;

const MS: u64 = 1_000_000;
/// The crowd has settled after this time.
const WARM_UP: u64 = 500 * MS;
/// What a kill may cost at most: the turn that the process was charging, and one that it was admitted for and had not told.
const TURNS_PER_KILL: u64 = 2;
/// The part of the rest that has to be delivered, on a machine that does other work as well.
const DELIVERED: f64 = 0.9;
/// A caller is overtaken if one that came so much later was admitted before it. A process needs some of this to start.
const LATER: u64 = 300 * MS;
/// Which part may be overtaken: those whose process got no processor for so long.
const OVERTAKEN: f64 = 0.05;

/// What became of the limit.
pub(super) struct Verdict {
    over: Option<String>,
    /// The most permits that were held at one time, and how many there are.
    permits: Option<(u64, u64)>,
    admitted: u64,
    nominal: f64,
    kills: u64,
    stops: usize,
    /// Which part of those that waited was overtaken.
    overtaken: f64,
    by_front: BTreeMap<&'static str, u64>,
    /// By which factor a front may have less than the others: each waits in the same line, or for a key by itself, where a front
    /// with a process for each caller has more.
    uneven: f64,
    refusals: Vec<String>,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = 100.0 * self.admitted as f64 / self.nominal;
        let over = if self.over.is_some() { "OVER" } else { "never over" };
        write!(f, "{over}, {} admitted {:?}, {percent:.1} % of the limit, ", self.admitted, self.by_front)?;
        write!(
            f,
            "{} kills and {} stops, {:.2} % overtaken",
            self.kills,
            self.stops,
            100.0 * self.overtaken
        )?;
        match self.permits {
            Some((most, permits)) => write!(f, ", {most} of {permits} permits held at most"),
            None => Ok(()),
        }
    }
}

impl Verdict {
    pub(super) fn of(policy: &Value, record: &Record) -> Verdict {
        let policy: Policy = serde_json::from_value(policy.clone()).expect("a policy");
        let of_key = policy.keys().and_then(|keys| keys.limits().next());
        let limit = of_key.or(policy.first()).expect("a limit");
        let served = || record.waited.iter().filter(|one| one.at > 0);
        let mut all: Vec<Admission> =
            served().map(|one| Admission { at: Nanos::from_nanos(one.at), calls: 1 }).collect();
        let over = audit::check(limit, &mut all).err().map(|over| over.to_string());
        let (from, to) = (record.from + WARM_UP, record.to);
        let counted = || served().filter(|one| (from..to).contains(&one.at));
        let mut by_front = BTreeMap::new();
        counted().for_each(|one| *by_front.entry(one.front).or_default() += 1);
        let per_ns = limit.rate().max() as f64 / limit.rate().per().as_nanos() as f64;
        Verdict {
            over,
            permits: policy.permits().map(|permits| (most_at_once(&record.held), permits.into())),
            admitted: counted().count() as u64,
            nominal: per_ns * to.saturating_sub(from) as f64,
            kills: record.kills.iter().filter(|(_, at)| *at >= from).count() as u64,
            stops: record.stops.len(),
            // Callers of different processes that wait for a key have no order.
            overtaken: if of_key.is_some() { 0.0 } else { overtaken(record) },
            by_front,
            uneven: if of_key.is_some() { 10.0 } else { 4.0 },
            refusals: record.refusals.clone(),
        }
    }

    /// What is wrong. Each of these fronts has taken part.
    pub(super) fn complaints(&self, fronts: &[&str]) -> Vec<String> {
        let mut all: Vec<String> = self.refusals.iter().take(5).cloned().collect();
        all.extend(self.over.iter().map(|over| format!("over the limit: {over}")));
        if let Some((most, permits)) = self.permits.filter(|(most, permits)| most > permits) {
            all.push(format!("{most} of {permits} permits were held at one time"));
        }
        let lost = self.kills * TURNS_PER_KILL;
        if (self.admitted + lost) as f64 <= DELIVERED * self.nominal {
            let (admitted, nominal, kills) = (self.admitted, self.nominal, self.kills);
            all.push(format!("delivered {admitted} of {nominal:.0}, with {kills} kills"));
        }
        if self.overtaken > OVERTAKEN {
            all.push(format!("{:.1} % were overtaken", 100.0 * self.overtaken));
        }
        let share = self.admitted as f64 / fronts.len() as f64;
        for front in fronts {
            let admitted = self.by_front.get(front).copied().unwrap_or(0);
            if (admitted as f64) < share / self.uneven {
                all.push(format!("{front} was admitted {admitted} times of {}", self.admitted));
            }
        }
        all
    }
}

/// Which part of the callers that were never stopped while they waited was admitted after one that came much later.
fn overtaken(record: &Record) -> f64 {
    let was_stopped = |one: &Waited| {
        record
            .stops
            .iter()
            .any(|&(process, from, to)| process == one.process && from < one.at && to > one.asked)
    };
    let mut served: Vec<&Waited> = record.waited.iter().filter(|one| one.at > 0).collect();
    served.sort_unstable_by_key(|one| (one.at, one.asked));
    let (mut latest, mut all, mut overtaken) = (0, 0.0, 0.0);
    for one in served {
        if !was_stopped(one) {
            all += 1.0;
            overtaken += f64::from(u8::from(latest > one.asked + LATER));
        }
        latest = latest.max(one.asked);
    }
    overtaken / f64::max(all, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// 100 a second for 4.5 seconds, each a second after it was asked for.
    fn even(every_ns: u64) -> Record {
        let start = 10_000 * MS;
        let one = |i: u64| {
            let at = start + i * every_ns;
            Waited { process: 0, front: "one", asked: at - 1_000 * MS, answered: at + MS, at }
        };
        let to = start + 4_500 * MS;
        let waited = (0..10_000).map(one).take_while(|one| one.at < to).collect();
        Record { from: start, to, waited, ..Record::default() }
    }

    fn complaints(record: &Record) -> Vec<String> {
        let policy = json!({"permits": 2, "limit": [{"rate": "100/s", "burst": 1}]});
        Verdict::of(&policy, record).complaints(&["one"])
    }

    #[test]
    fn a_crowd_that_is_served_well_passes() {
        assert_eq!(complaints(&even(10 * MS)), Vec::<String>::new());
    }

    #[test]
    fn one_admission_a_nanosecond_early_is_over() {
        let mut record = even(10 * MS);
        record.waited[100].at -= 1;
        assert!(complaints(&record)[0].contains("over the limit"), "{:?}", complaints(&record));
    }

    #[test]
    fn turns_that_nobody_got_are_wasted_unless_kills_account_for_them() {
        let mut record = even(12 * MS);
        assert!(complaints(&record)[0].contains("delivered"), "{:?}", complaints(&record));
        record.kills = (0..20).map(|i| (i, record.from + 1_000 * MS)).collect();
        assert_eq!(complaints(&record), Vec::<String>::new());
    }

    #[test]
    fn callers_in_the_wrong_order_are_overtaken_unless_they_were_stopped() {
        let mut record = even(10 * MS);
        for pair in record.waited.chunks_exact_mut(2).take(50) {
            pair[1].asked -= 500 * MS;
        }
        assert!(complaints(&record)[0].contains("overtaken"), "{:?}", complaints(&record));
        record.stops = vec![(0, record.from, record.to)];
        assert_eq!(complaints(&record), Vec::<String>::new());
    }

    #[test]
    fn more_permits_than_there_are_and_a_front_without_admissions_are_found() {
        let mut record = even(10 * MS);
        record.held = vec![(1, 5), (2, 6), (4, 7)];
        assert!(complaints(&record)[0].contains("3 of 2 permits"));
        let verdict = Verdict::of(&json!({"limit": [{"rate": "100/s"}]}), &even(10 * MS));
        assert!(verdict.complaints(&["one", "two"])[0].contains("two was admitted 0 times"));
    }
}
