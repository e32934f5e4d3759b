//! Limits per key: `cargo xtask bench keys`.
//!
//! | file | what |
//! |---|---|
//! | `candidates` | keys, the baseline, shm-limit and governor with many keys |
//! | `rounds` | interleaved rounds of candidates on random keys |
//! | `speed` | a decision by number of keys; batches; kinds of limits; huge pages |
//! | `together` | two processes on one table, and on one key |
//! | `opening` | opening and creating a limiter of ten million keys, and its memory |
//! | `sizes` | simulations: how many keys a table holds, and what a flood of new keys does |

mod candidates;
mod opening;
mod rounds;
mod sizes;
mod speed;
mod together;

type Part = (&'static str, fn());

const PARTS: [Part; 8] = [
    ("decision", speed::decisions),
    ("batch", speed::batches),
    ("kinds", speed::kinds),
    ("pages", speed::huge_pages),
    ("together", together::print),
    ("opening", opening::print),
    ("sizes", sizes::print),
    ("flood", sizes::flood),
];

/// Prints these parts, or all.
pub(crate) fn print(parts: &[&str]) {
    if let Some(unknown) = parts.iter().find(|part| PARTS.iter().all(|(name, _)| name != *part)) {
        let names = PARTS.map(|(name, _)| name).join(" ");
        panic!("no part of the limits per key is named {unknown}; choose from: {names}");
    }
    println!("\n## Limits per key");
    for (name, print) in PARTS {
        if parts.is_empty() || parts.contains(&name) {
            print();
        }
    }
}
