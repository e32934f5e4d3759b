//! All subjects in turns, many rounds; of each the median round, and its ratio to the one it stands beside. So ratios mean
//! something on a noisy machine.

use crate::subject::Subject;
use std::fmt;
use std::time::Instant;

const ROUNDS: usize = 301;
/// The first ones warm up: pages, anchors of clocks, the processor.
const WARMING: usize = 20;

/// How often, and in what it is told.
pub(crate) struct Rounds {
    /// How often in a round.
    pub(crate) times: u64,
    pub(crate) unit: &'static str,
    pub(crate) nanos: f64,
}

pub(crate) const DECISIONS: Rounds = Rounds { times: 2_000, unit: "ns", nanos: 1.0 };

/// A line of the table: what, and beside which.
pub(crate) struct Line {
    subject: Subject,
    beside: Option<&'static str>,
    goal: Option<f64>,
    /// What is done after each round, and not measured.
    after: Box<dyn FnMut()>,
    rounds: Vec<f64>,
}

pub(crate) fn line(subject: Subject) -> Line {
    Line { subject, beside: None, goal: None, after: Box::new(|| ()), rounds: Vec::new() }
}

impl Line {
    pub(crate) fn beside(self, beside: &'static str) -> Line {
        Line { beside: Some(beside), ..self }
    }

    /// The ratio to reach.
    pub(crate) fn goal(self, goal: f64) -> Line {
        Line { goal: Some(goal), ..self }
    }

    pub(crate) fn after(self, after: impl FnMut() + 'static) -> Line {
        Line { after: Box::new(after), ..self }
    }

    /// In nanoseconds.
    fn median(&self) -> f64 {
        let mut rounds = self.rounds.clone();
        rounds.sort_unstable_by(f64::total_cmp);
        rounds[rounds.len() / 2]
    }
}

impl Rounds {
    /// Prints the table.
    pub(crate) fn measure(&self, title: &str, mut lines: Vec<Line>) {
        for round in 0..ROUNDS + WARMING {
            for line in &mut lines {
                let began = Instant::now();
                (line.subject.run)(self.times);
                let nanos = began.elapsed().as_nanos() as f64 / self.times as f64;
                if round >= WARMING {
                    line.rounds.push(nanos);
                }
                (line.after)();
            }
        }
        println!("\n| {title} | {} | ratio | to reach |\n|---|---|---|---|", self.unit);
        for line in &lines {
            let other = line.beside.and_then(|name| lines.iter().find(|other| other.subject.name == name));
            let ratio =
                other.map(|other| format!("{:.2} × {}", line.median() / other.median(), other.subject.name));
            let goal = line.goal.map(|goal| format!("{goal}"));
            println!(
                "| {} | {:.1} | {} | {} |",
                line.subject.name,
                line.median() / self.nanos,
                ratio.unwrap_or_default(),
                goal.unwrap_or_default()
            );
        }
    }
}

impl fmt::Display for Rounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Median of {ROUNDS} rounds, all subjects in turns; in each round ")?;
        match self.times {
            1 => write!(f, "once."),
            times => write!(f, "{times} times."),
        }
    }
}
