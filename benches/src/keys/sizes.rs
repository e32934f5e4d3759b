//! Simulations with the table's own code, at made-up instants: how often a full table denies a request that the key's own use would
//! allow (an innocent denial).

use harness::Rng;
use shm_core::clock::Nanos;
use shm_core::limit::{Limit, Rate};
use shm_core::{SimulatedDecision, SimulatedTable};
use std::time::Duration;

/// How long a key takes to recover from one call.
const RECOVERY_NS: u64 = 20_000_000;
/// Between two requests.
const STEP_NS: u64 = 1_000;
const REQUESTS: usize = 6_000_000;
const KEYS: usize = 1_000_000;
const START_NS: u64 = 1_000_000_000;
/// The table's bytes for each key of the capacity.
const BYTES_PER_KEY: usize = 40;
/// Bytes per live key. 47 is a live key for 85 % of the capacity.
const SIZES: [usize; 8] = [24, 32, 40, 47, 53, 64, 80, 107];

fn limit(burst: u64) -> Limit {
    let rate = Rate::new(1, Duration::from_nanos(RECOVERY_NS)).expect("a rate");
    Limit::with_burst(rate, burst).expect("a limit")
}

/// What each key has used, exactly: the theoretical arrival time of each.
struct Exact {
    tats: Vec<u64>,
    burst: u64,
}

impl Exact {
    fn new(keys: usize, burst: u64) -> Exact {
        Exact { tats: vec![0; keys], burst }
    }

    fn after(&self, key: usize, now: u64) -> u64 {
        self.tats[key].max(now) + RECOVERY_NS
    }

    fn allows(&self, key: usize, now: u64) -> bool {
        self.after(key, now) <= now + self.burst * RECOVERY_NS
    }

    fn charge(&mut self, key: usize, now: u64) {
        assert!(self.allows(key, now), "a key got more than its limit");
        self.tats[key] = self.after(key, now);
    }

    fn live(&self, now: u64) -> usize {
        self.tats.iter().filter(|&&tat| tat > now).count()
    }
}

/// How requests fared that their keys' own use allows.
#[derive(Default)]
struct Fared {
    allowed: u64,
    denied: u64,
    /// How long the denied ones would have to wait, in all.
    wait_ns: u64,
}

impl Fared {
    /// Decides a request by the table and exactly.
    fn request(&mut self, table: &SimulatedTable, exact: &mut Exact, key: usize, now: u64, counts: bool) {
        let allowed = exact.allows(key, now);
        let decision = table.request(key as u64, Nanos::from_nanos(now));
        if allowed && counts {
            self.allowed += 1;
            if let SimulatedDecision::Denied(ready) = decision {
                self.denied += 1;
                self.wait_ns += ready.as_nanos() - now;
            }
        }
        if decision == SimulatedDecision::Admitted {
            exact.charge(key, now);
        }
    }

    /// In 10,000.
    fn denied_part(&self) -> f64 {
        self.denied as f64 * 1e4 / self.allowed.max(1) as f64
    }

    /// The mean wait of those that were denied, in the time that a key takes to recover from one call.
    fn mean_wait(&self) -> f64 {
        self.wait_ns as f64 / self.denied.max(1) as f64 / RECOVERY_NS as f64
    }
}

/// Runs the traffic through a table of so many rows. Returns how the requests fared after the first third, and the mean number of
/// live keys.
fn simulate(keys: &[u32], burst: u64, rows: usize) -> (Fared, f64) {
    let (table, mut exact) = (SimulatedTable::new(limit(burst), rows), Exact::new(KEYS, burst));
    let (mut fared, mut live) = (Fared::default(), Vec::new());
    for (i, &key) in keys.iter().enumerate() {
        let now = START_NS + i as u64 * STEP_NS;
        let counts = i >= keys.len() / 3;
        fared.request(&table, &mut exact, key as usize, now, counts);
        if counts && i.is_multiple_of(keys.len() / 20) {
            live.push(exact.live(now));
        }
    }
    (fared, live.iter().sum::<usize>() as f64 / live.len() as f64)
}

fn uniform() -> Vec<u32> {
    let mut rng = Rng::seeded(1);
    (0..REQUESTS).map(|_| rng.below(KEYS as u64) as u32).collect()
}

/// The key of rank `r` comes with a probability proportional to `1/r`.
fn zipf() -> Vec<u32> {
    let mut rng = Rng::seeded(2);
    let mut sum = 0.0;
    let sums: Vec<f64> = (1..=KEYS)
        .map(|rank| {
            sum += 1.0 / rank as f64;
            sum
        })
        .collect();
    let mut random = || rng.below(1 << 52) as f64 / (1u64 << 52) as f64 * sum;
    let mut key = || {
        let at = random();
        sums.partition_point(|&end| end <= at) as u32
    };
    (0..REQUESTS).map(|_| key()).collect()
}

pub(super) fn print() {
    println!(
        "\n### Sizes\n\nOf 10,000 requests that the key's own use allows, so many are denied for what other keys owe (in brackets: the mean \
         wait of those, in the time in which a key recovers from one call). A simulation with the table's own code: {} million \
         requests of a million keys. *Live* keys are those that owe something. The targets are 1 in 10,000 at 53 bytes (uniform) \
         and at 40 bytes (Zipf, burst 3).\n",
        REQUESTS / 1_000_000
    );
    let (uniform, zipf) = (uniform(), zipf());
    let traffics =
        [("uniform, burst 1", &uniform, 1), ("Zipf, burst 3", &zipf, 3), ("Zipf, burst 10", &zipf, 10)];
    let live = traffics.map(|(_, keys, burst)| simulate(keys, burst, KEYS).1);
    let titles = traffics.map(|(name, ..)| name).join(" | ");
    println!("| bytes per live key | live keys, of the capacity | {titles} |\n|---|---|---|---|---|");
    for bytes in SIZES {
        let cells = std::array::from_fn::<String, 3, _>(|i| {
            let (_, keys, burst) = traffics[i];
            let rows = (live[i] * bytes as f64 / SimulatedTable::ROW as f64).round() as usize;
            let (fared, _) = simulate(keys, burst, rows);
            match fared.denied {
                0 => "0".to_owned(),
                _ => format!("{:.2} ({:.2})", fared.denied_part(), fared.mean_wait()),
            }
        });
        println!("| {bytes} | {} % | {} |", 100 * BYTES_PER_KEY / bytes, cells.join(" | "));
    }
}

/// Rows of the table that is flooded.
const FLOODED_ROWS: usize = 512;
const FLOOD: usize = 1_500_000;

/// A flood of keys that come once each, and regular keys, which are a twentieth of the slots and come once in twice the time in
/// which they recover from a call, on average.
pub(super) fn flood() {
    println!(
        "\n### A flood of new keys\n\nEach new key makes one request. The flood's rate is relative to the rate at which slots become free: one call per slot in \
         the time in which a key recovers from a call. Regular keys (as many as 5 % of the slots) make a request every two such times, \
         on average. Denials are of requests that the key's own use allows; waits are means of those that were denied, in the time in \
         which a key recovers from a call.\n\n| burst | flood | new keys denied | wait | regular keys denied | wait |\n|---|---|---|---|---|---|"
    );
    let slots = FLOODED_ROWS * SimulatedTable::SLOTS;
    let regular = slots / 20;
    for burst in [1, 5, 20] {
        for rate in [0.5, 0.95, 1.3] {
            let step = (RECOVERY_NS as f64 / (rate * slots as f64)) as u64;
            // The chance that a regular key's request comes in a step, in 2^32.
            let chance = ((regular as f64 / (2.0 * RECOVERY_NS as f64)) * step as f64 * 2f64.powi(32)) as u64;
            let table = SimulatedTable::new(limit(burst), FLOODED_ROWS);
            let mut exact = Exact::new(regular + FLOOD, burst);
            let mut rng = Rng::seeded(burst);
            let (mut new, mut old) = (Fared::default(), Fared::default());
            for i in 0..FLOOD {
                let now = START_NS + i as u64 * step;
                let counts = i >= FLOOD / 2;
                new.request(&table, &mut exact, regular + i, now, counts);
                if rng.below(1 << 32) < chance {
                    old.request(&table, &mut exact, rng.below(regular as u64) as usize, now, counts);
                }
            }
            let cells = |fared: &Fared| match fared.denied {
                0 => "0 | ".to_owned(),
                _ => format!("{:.3} % | {:.2}", fared.denied_part() / 100.0, fared.mean_wait()),
            };
            println!("| {burst} | {rate} × | {} | {} |", cells(&new), cells(&old));
        }
    }
}
