//! Interleaved rounds on random keys: in each round all candidates decide, one after the other.

use super::candidates::{BATCH, Candidate, Keys};
use std::time::Instant;

/// Batches of a round that are not measured: they bring a small table back into the caches, from which the other candidates have
/// pushed it.
fn warm_up(population: u64) -> usize {
    (2 * population as usize / BATCH).clamp(2, 24)
}

const MEASURED: usize = 2;
const ROUNDS: usize = 301;

/// For each candidate, the nanoseconds per decision of each round.
pub(super) struct Rounds(Vec<Vec<f64>>);

impl Rounds {
    /// Measures the candidates, after each has decided about each key of the population once.
    pub(super) fn measure(population: u64, candidates: &mut [Candidate]) -> Rounds {
        let mut keys = Keys::new(population);
        for candidate in candidates.iter_mut() {
            keys.each_once(|keys| {
                let _ = (candidate.decide)(keys);
            });
        }
        Rounds::of_filled(population, candidates)
    }

    /// The same, if that has happened.
    pub(super) fn of_filled(population: u64, candidates: &mut [Candidate]) -> Rounds {
        let mut keys = Keys::new(population);
        let mut all = vec![Vec::with_capacity(ROUNDS); candidates.len()];
        let warm_up = warm_up(population);
        for _ in 0..ROUNDS {
            for (candidate, rounds) in candidates.iter_mut().zip(&mut all) {
                let (mut nanos, mut admitted) = (0, 0);
                for batch in 0..warm_up + MEASURED {
                    keys.draw();
                    let began = Instant::now();
                    let n = (candidate.decide)(&keys.texts);
                    if batch >= warm_up {
                        (nanos, admitted) = (nanos + began.elapsed().as_nanos(), admitted + n);
                    }
                }
                let decisions = MEASURED * BATCH;
                if let Some(admits) = candidate.admits {
                    assert_eq!(admitted, if admits { decisions } else { 0 }, "{}", candidate.name);
                }
                rounds.push(nanos as f64 / decisions as f64);
            }
        }
        Rounds(all)
    }

    /// The median of one candidate's rounds, in nanoseconds.
    pub(super) fn nanos(&self, candidate: usize) -> f64 {
        median(self.0[candidate].iter().copied())
    }

    /// The median of the ratio of two candidates in the same round.
    pub(super) fn ratio(&self, candidate: usize, to: usize) -> f64 {
        median(self.0[candidate].iter().zip(&self.0[to]).map(|(own, other)| own / other))
    }
}

pub(super) fn median(of: impl Iterator<Item = f64>) -> f64 {
    let mut all: Vec<f64> = of.collect();
    all.sort_unstable_by(f64::total_cmp);
    all[all.len() / 2]
}

/// A number of keys, as a reader says it.
pub(super) fn count(n: u64) -> String {
    match n {
        n if n >= 1_000_000 => format!("{} million", n / 1_000_000),
        n if n >= 1_000 => format!("{},000", n / 1_000),
        n => n.to_string(),
    }
}
