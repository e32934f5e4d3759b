//! A policy as one word of a job: `greedy:200/100ms+bucket:3000/s:50+fixed:800/500ms`.

use shm_lib::{Calendar, KeyPolicy, Limit, Policy, Rate, Start, Unit, Zone};

/// Reads limits joined by `+`, each `KIND:RATE[:BURST][@UNIT][~GUARD]`, where the kind is `bucket`, `greedy`, `fixed`
/// (since 1970), `first` (use), `calendar` (of UTC) or `sliding`; or `none`, with permits. A kind after `key-` is that of a limit
/// per key.
///
/// # Panics
/// If it is not a valid policy.
pub fn parse(text: &str, permits: u64) -> Policy {
    if text == "none" {
        return Policy::of_permits(permits as u32).expect("permits");
    }
    let (of_key, of_all): (Vec<&str>, Vec<&str>) =
        text.split('+').partition(|limit| limit.starts_with(PER_KEY));
    let limits: Vec<Limit> = of_all.into_iter().map(one).collect();
    let of_key: Vec<Limit> = of_key.into_iter().map(|limit| one(&limit[PER_KEY.len()..])).collect();
    let keys = (!of_key.is_empty()).then(|| KeyPolicy::new(&of_key).expect("limits per key"));
    let policy = match (limits.is_empty(), keys) {
        (true, Some(keys)) => Policy::of_keys(keys),
        (_, keys) => {
            let policy = Policy::new(&limits).expect("a policy");
            keys.map_or(policy, |keys| policy.with_keys(keys))
        }
    };
    if permits > 0 { policy.with_permits(permits as u32).expect("permits") } else { policy }
}

/// What a limit per key begins with.
const PER_KEY: &str = "key-";

/// Whether these are limits per key, or some of them.
pub fn has_keys(text: &str) -> bool {
    text.split('+').any(|limit| limit.starts_with(PER_KEY))
}

fn one(text: &str) -> Limit {
    let (text, guard) = text.split_once('~').unwrap_or((text, "0s"));
    let (text, unit) = text.split_once('@').map_or((text, None), |(text, unit)| (text, Some(unit)));
    let words: Vec<&str> = text.split(':').collect();
    let rate: Rate = words[1].parse().expect("a rate");
    let limit = match words[0] {
        "bucket" => Limit::with_burst(rate, words.get(2).map_or(1, |burst| burst.parse().expect("a burst"))),
        "greedy" => Limit::greedy(rate),
        "fixed" => Limit::fixed_window(rate, Start::Epoch),
        "first" => Limit::fixed_window(rate, Start::FirstUse),
        "calendar" => calendar(rate),
        "sliding" => Limit::sliding_counter(rate),
        other => panic!("no such kind: {other}"),
    };
    let guard = shm_lib::limit::parse_span(guard).expect("a span");
    let limit = limit.and_then(|limit| limit.guarded(guard)).expect("a limit");
    unit.map_or(limit, |unit| limit.counting(Unit::named(unit).expect("a unit")))
}

fn calendar(rate: Rate) -> shm_lib::Result<Limit> {
    let periods = [Calendar::Hour, Calendar::Day, Calendar::Week, Calendar::Month];
    let period = periods.into_iter().find(|period| period.nominal() == rate.per()).expect("a period");
    Limit::calendar_window(rate.max(), period, Zone::UTC)
}
