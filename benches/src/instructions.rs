//! Instructions per decision, counted by callgrind: the difference between a run of many decisions and a run of few.

use crate::subject::MakeSubject;
use crate::{baselines, peers, shm_limit};
use std::process::Command;

const FEW: u64 = 1_000;
const MANY: u64 = 101_000;

/// Each run makes only its own subject, since the cost of making one varies.
const SUBJECTS: [(&str, MakeSubject); 11] = [
    ("clock", baselines::clock),
    ("swap", baselines::clock_and_swap),
    ("admitted", shm_limit::admitted),
    ("denied", shm_limit::denied),
    ("two", || shm_limit::limits("shm-limit, two limits", 2)),
    ("four", || shm_limit::limits("shm-limit, four limits", 4)),
    ("greedy", || shm_limit::greedy("shm-limit, greedy, 10,000 entries", 10_000)),
    ("permit", shm_limit::with_permit),
    ("governor", || peers::governor_quanta(true)),
    ("monotonic", || peers::governor_monotonic(true)),
    ("robust", || baselines::robust_mutex(true)),
];

/// Runs this many decisions of one subject, under callgrind.
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
    let output = String::from_utf8_lossy(&out.stderr).into_owned();
    let line = output.lines().find(|line| line.contains("Collected"))?;
    line.rsplit(' ').next()?.parse().ok()
}

pub(crate) fn print() {
    println!("\n## Instructions per decision\n");
    if Command::new("valgrind").arg("--version").output().is_err() {
        println!("Not counted: valgrind is not installed.");
        return;
    }
    println!(
        "Counted by callgrind, including the C library's code that reads the clock. Under callgrind the clock cannot be anchored"
    );
    println!("as usual, so each decision of shm-limit reads the system's clock.\n");
    println!("| subject | instructions |\n|---|---|");
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
