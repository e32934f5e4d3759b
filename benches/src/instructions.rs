//! Instructions of one decision, counted by callgrind: a run of many decisions less a run of few.

use crate::subject::Make;
use crate::{floors, ours, peers};
use std::process::Command;

const FEW: u64 = 1_000;
const MANY: u64 = 101_000;

/// Made one at a time: what making them takes varies.
const SUBJECTS: [(&str, Make); 11] = [
    ("clock", floors::clock),
    ("swap", floors::clock_and_swap),
    ("admitted", ours::admitted),
    ("denied", ours::denied),
    ("two", || ours::limits("shm-limit, two limits", 2)),
    ("four", || ours::limits("shm-limit, four limits", 4)),
    ("greedy", || ours::greedy("shm-limit, greedy, 10,000 entries", 10_000)),
    ("permit", ours::with_permit),
    ("governor", || peers::governor_quanta(true)),
    ("monotonic", || peers::governor_monotonic(true)),
    ("robust", || floors::robust_mutex(true)),
];

/// So many decisions of one subject: what callgrind counts.
pub(crate) fn run(name: &str, times: u64) {
    let (_, make) = SUBJECTS.iter().find(|(short, _)| *short == name).expect("a subject");
    (make().run)(times);
}

fn count(name: &str, times: u64) -> Option<u64> {
    let out = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe().ok()?)
        .args(["one", name, &times.to_string()])
        .output()
        .ok()?;
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    let line = said.lines().find(|line| line.contains("Collected"))?;
    line.rsplit(' ').next()?.parse().ok()
}

pub(crate) fn print() {
    println!("\n## Instructions of a decision\n");
    if Command::new("valgrind").arg("--version").output().is_err() {
        println!("Not counted: there is no valgrind here.");
        return;
    }
    println!(
        "By callgrind, the C library's part of reading the clock included. Under callgrind the clock is not anchored"
    );
    println!("as often as it may be, so each decision of shm-limit reads it anew.\n");
    println!("| what | instructions |\n|---|---|");
    for (short, make) in SUBJECTS {
        let subject = make();
        match (count(short, FEW), count(short, MANY)) {
            (Some(few), Some(many)) => {
                println!(
                    "| {} | {:.0} |",
                    subject.name,
                    many.saturating_sub(few) as f64 / (MANY - FEW) as f64
                );
            }
            _ => println!("| {} | callgrind failed |", subject.name),
        }
    }
}
