//! One process. All subjects in turns, many rounds; of each the median round, and its ratio to the one it stands beside.

use crate::subject::Subject;
use crate::{floors, ours, peers};
use std::time::Instant;

const ROUNDS: usize = 301;
/// Decisions in a round.
const TIMES: u64 = 2_000;

/// A line of the table: what, and beside which.
struct Line {
    subject: Subject,
    beside: Option<&'static str>,
    goal: Option<f64>,
    rounds: Vec<f64>,
}

fn line(subject: Subject) -> Line {
    Line { subject, beside: None, goal: None, rounds: Vec::with_capacity(ROUNDS) }
}

impl Line {
    fn beside(self, beside: &'static str) -> Line {
        Line { beside: Some(beside), ..self }
    }

    fn goal(self, goal: f64) -> Line {
        Line { goal: Some(goal), ..self }
    }

    fn median(&self) -> f64 {
        let mut rounds = self.rounds.clone();
        rounds.sort_unstable_by(f64::total_cmp);
        rounds[rounds.len() / 2]
    }
}

fn measure(title: &str, mut lines: Vec<Line>) {
    for round in 0..ROUNDS + 20 {
        for line in &mut lines {
            let began = Instant::now();
            (line.subject.run)(TIMES);
            let ns = began.elapsed().as_nanos() as f64 / TIMES as f64;
            // The first rounds warm up: pages, anchors of clocks, the processor.
            if round >= 20 {
                line.rounds.push(ns);
            }
        }
    }
    println!("\n| {title} | ns | ratio | to reach |\n|---|---|---|---|");
    for line in &lines {
        let other = line.beside.and_then(|name| lines.iter().find(|other| other.subject.name == name));
        let ratio =
            other.map(|other| format!("{:.2} × {}", line.median() / other.median(), other.subject.name));
        let goal = line.goal.map(|goal| format!("{goal}"));
        println!(
            "| {} | {:.1} | {} | {} |",
            line.subject.name,
            line.median(),
            ratio.unwrap_or_default(),
            goal.unwrap_or_default()
        );
    }
}

pub(crate) fn print() {
    println!("\n## One process\n\nMedian of {ROUNDS} rounds of {TIMES} decisions, all subjects in turns.");
    measure(
        "admitted",
        vec![
            #[cfg(target_arch = "x86_64")]
            line(floors::counter()),
            line(floors::clock()),
            line(floors::clock_and_swap()),
            line(peers::governor_quanta(true)),
            line(ours::admitted()).beside(peers::GOVERNOR).goal(1.0),
            line(peers::governor_monotonic(true)).beside(ours::ADMITTED),
            line(peers::governor_keyed(true)).beside(ours::ADMITTED),
            line(peers::ratelimit(true)).beside(ours::ADMITTED),
            line(peers::leaky_bucket(true)).beside(ours::ADMITTED),
            line(peers::throttlecrab(true)).beside(ours::ADMITTED),
            line(floors::robust_mutex(true)).beside(ours::ADMITTED),
            line(floors::by_hand(true)).beside(ours::ADMITTED),
            line(floors::flock()).beside(ours::ADMITTED),
        ],
    );
    measure(
        "denied",
        vec![
            #[cfg(target_arch = "x86_64")]
            line(floors::counter()),
            line(floors::clock()),
            line(peers::governor_quanta(false)),
            line(ours::denied()).beside(peers::GOVERNOR).goal(1.0),
            line(peers::governor_monotonic(false)).beside(ours::DENIED),
            line(peers::governor_keyed(false)).beside(ours::DENIED),
            line(peers::ratelimit(false)).beside(ours::DENIED),
            line(peers::leaky_bucket(false)).beside(ours::DENIED),
            line(peers::throttlecrab(false)).beside(ours::DENIED),
            line(floors::robust_mutex(false)).beside(ours::DENIED),
            line(floors::by_hand(false)).beside(ours::DENIED),
        ],
    );
    measure(
        "several limits, and other kinds",
        vec![
            line(ours::admitted()),
            line(ours::limits("two limits", 2)).beside(ours::ADMITTED).goal(2.0),
            line(ours::limits("three limits", 3)).beside(ours::ADMITTED),
            line(ours::limits("four limits", 4)).beside(ours::ADMITTED).goal(3.0),
            line(ours::greedy("greedy, 100 entries", 100)).beside(ours::ADMITTED).goal(2.5),
            line(ours::greedy("greedy, 10,000 entries", 10_000)).beside(ours::ADMITTED).goal(2.5),
            line(ours::greedy("greedy, 1,000,000 entries", 1_000_000)).beside(ours::ADMITTED).goal(2.5),
            line(ours::windows("fixed window", false)).beside(ours::ADMITTED),
            line(ours::windows("sliding counter", true)).beside(ours::ADMITTED),
            line(ours::denied_by_two()).beside(ours::ADMITTED),
            line(ours::with_permit()).beside(ours::ADMITTED),
            line(ours::waited()).beside(ours::ADMITTED),
        ],
    );
}
