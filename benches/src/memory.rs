//! Bytes of shared memory: a limiter, and what each more of something takes.

use crate::ours::place;
use shm_lib::{Builder, RateLimit, Result};
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3_600);

fn bytes(open: impl FnOnce(Builder) -> Result<RateLimit>) -> u64 {
    place(open).limit.inspect().expect("a healthy limiter").bytes
}

/// What each of `more` takes.
fn each(few: u64, many: u64, more: u64) -> f64 {
    (many - few) as f64 / more as f64
}

pub(crate) fn print() {
    let plain = |b: Builder| b.open(5, HOUR);
    let twice = |b: Builder| {
        b.and(shm_lib::Limit::patient(shm_lib::Rate::new(5, HOUR).expect("a rate"))).open(5, HOUR)
    };
    println!("\n## Memory\n\n| what | bytes |\n|---|---|");
    let one = bytes(plain);
    println!("| a limiter of one bucket, with 256 seats | {} |", bytes(|b| plain(b.seats(256))));
    println!("| the same without its seats | {} |", one - default_seats() * 256);
    let seats = |open: &dyn Fn(Builder) -> Result<RateLimit>, n| bytes(|b| open(b.seats(n)));
    println!("| a seat | {:.0} |", each(seats(&plain, 64), seats(&plain, 128), 64));
    println!(
        "| a seat where there are several limits | {:.0} |",
        each(seats(&twice, 64), seats(&twice, 128), 64)
    );
    println!(
        "| a permit | {:.0} |",
        each(bytes(|b| plain(b.permits(64))), bytes(|b| plain(b.permits(1_024))), 960)
    );
    let greedy = |max| bytes(move |b| b.greedy().open(max, HOUR));
    println!("| an entry of a greedy limit | {:.0} |", each(greedy(1 << 10), greedy(1 << 12), 3 << 10));
}

fn default_seats() -> u64 {
    place(|b| b.open(5, HOUR)).limit.inspect().expect("a healthy limiter").seats as u64
}
