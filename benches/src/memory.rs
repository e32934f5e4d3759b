//! Bytes of shared memory: of a limiter, and of each additional seat, permit and entry.

use crate::shm_limit::fixture;
use shm_lib::{Builder, RateLimit, Result};
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3_600);

fn bytes(open: impl FnOnce(Builder) -> Result<RateLimit>) -> u64 {
    fixture(open).limit.inspect().expect("a healthy limiter").bytes
}

/// The bytes per item, where `many` has this many more items than `few`.
fn per_item(few: u64, many: u64, difference: u64) -> f64 {
    (many - few) as f64 / difference as f64
}

pub(crate) fn print() {
    let plain = |b: Builder| b.open(5, HOUR);
    let twice = |b: Builder| {
        b.and(shm_lib::Limit::patient(shm_lib::Rate::new(5, HOUR).expect("a rate"))).open(5, HOUR)
    };
    println!("\n## Memory\n\n| shared memory of | bytes |\n|---|---|");
    let one = bytes(plain);
    println!("| a limiter of one bucket, with 256 seats | {} |", bytes(|b| plain(b.seats(256))));
    println!("| the same without its seats | {} |", one - default_seats() * 256);
    let seats = |open: &dyn Fn(Builder) -> Result<RateLimit>, n| bytes(|b| open(b.seats(n)));
    println!("| a seat | {:.0} |", per_item(seats(&plain, 64), seats(&plain, 128), 64));
    println!(
        "| a seat of a limiter with several limits | {:.0} |",
        per_item(seats(&twice, 64), seats(&twice, 128), 64)
    );
    println!(
        "| a permit | {:.0} |",
        per_item(bytes(|b| plain(b.permits(64))), bytes(|b| plain(b.permits(1_024))), 960)
    );
    let greedy = |max| bytes(move |b| b.greedy().open(max, HOUR));
    println!("| an entry of a greedy limit | {:.0} |", per_item(greedy(1 << 10), greedy(1 << 12), 3 << 10));
}

fn default_seats() -> u64 {
    fixture(|b| b.open(5, HOUR)).limit.inspect().expect("a healthy limiter").seats as u64
}
