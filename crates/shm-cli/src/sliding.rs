//! A sliding counter with a small maximum admits much less than its rate. Said once, when a limiter gets one.

use shm_lib::{KeyPolicy, Kind, Limit, Policy};

/// Below this part of its rate (in percent), a limit deserves a note.
const ENOUGH: u128 = 90;

/// The notes about the limits of `policy` that `before` did not have.
pub(crate) fn notes(policy: &Policy, before: Option<&Policy>) -> Vec<String> {
    let is_new = |limit: &Limit| before.is_none_or(|before| all(before).all(|other| other != *limit));
    // A limit per key cannot be greedy.
    let instead = if policy.keys().is_some() { "a bucket" } else { "--greedy or a bucket" };
    all(policy).filter(is_new).filter_map(|limit| note(limit, instead)).collect()
}

/// The limits of all requests, and those per key.
fn all(policy: &Policy) -> impl Iterator<Item = Limit> + '_ {
    policy.limits().chain(policy.keys().into_iter().flat_map(KeyPolicy::limits))
}

fn note(limit: Limit, instead: &str) -> Option<String> {
    let (rate, sustained) = (limit.rate(), limit.sustained_rate());
    let all = u128::from(rate.max()) * sustained.per().as_nanos();
    let is_small = u128::from(sustained.max()) * rate.per().as_nanos() * 100 < all * ENOUGH;
    (is_small && limit.kind() == Kind::SlidingCounter).then(|| {
        format!(
            "note: {limit} admits only {sustained} of single calls under constant demand, because its estimate counts part of \
             the previous window to the end of this one; to use {rate} in full take {instead} (no --window)"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_new_sliding_counter_below_ten_is_noted() {
        let sliding = |rate: &str| Policy::from(Limit::sliding_counter(rate.parse().unwrap()).unwrap());
        for (rate, noted) in
            [("1/s", Some("1/2s")), ("2/m", Some("1/m")), ("9/s", Some("8/s")), ("10/s", None)]
        {
            let notes = notes(&sliding(rate), None);
            assert_eq!(notes.len(), usize::from(noted.is_some()), "{rate}");
            assert!(
                noted.is_none_or(|sustained| notes[0].contains(&format!("only {sustained} of"))),
                "{notes:?}"
            );
        }
        assert!(notes(&sliding("5/s"), Some(&sliding("5/s"))).is_empty());
        assert_eq!(notes(&sliding("5/s"), Some(&sliding("50/s"))).len(), 1);
        let per_key = KeyPolicy::new(&[Limit::sliding_counter("5/s".parse().unwrap()).unwrap()]).unwrap();
        let of_keys = notes(&Policy::of_keys(per_key), None);
        assert!(of_keys.len() == 1 && !of_keys[0].contains("--greedy"), "{of_keys:?}");
        assert!(notes(&Limit::greedy("5/s".parse().unwrap()).unwrap().into(), None).is_empty());
    }
}
