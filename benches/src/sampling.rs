//! Interleaved sampling: each round runs every subject, and a row of the table is the subject's median round and its ratio to
//! another subject's. Interleaving makes the ratios meaningful on a noisy machine.

use crate::subject::Subject;
use std::fmt;
use std::time::Instant;

const ROUNDS: usize = 301;
/// Discarded first rounds, which warm up pages, clock anchors and the processor.
const WARMUP_ROUNDS: usize = 20;

/// How often a round repeats an operation, and the unit of the table.
pub(crate) struct Sampling {
    /// Repetitions in a round.
    pub(crate) times: u64,
    pub(crate) unit: &'static str,
    /// Nanoseconds per unit.
    pub(crate) nanos: f64,
}

pub(crate) const DECISIONS: Sampling = Sampling { times: 2_000, unit: "ns", nanos: 1.0 };

/// A row of the table: a subject, and the subject that it is compared to.
pub(crate) struct Row {
    subject: Subject,
    compared_to: Option<&'static str>,
    target: Option<f64>,
    /// Runs after each round, outside the measurement.
    after: Box<dyn FnMut()>,
    rounds: Vec<f64>,
}

pub(crate) fn row(subject: Subject) -> Row {
    Row { subject, compared_to: None, target: None, after: Box::new(|| ()), rounds: Vec::new() }
}

impl Row {
    pub(crate) fn compared_to(self, compared_to: &'static str) -> Row {
        Row { compared_to: Some(compared_to), ..self }
    }

    /// The target for the ratio.
    pub(crate) fn target(self, target: f64) -> Row {
        Row { target: Some(target), ..self }
    }

    pub(crate) fn after(self, after: impl FnMut() + 'static) -> Row {
        Row { after: Box::new(after), ..self }
    }

    /// The median round, in nanoseconds per operation.
    fn median(&self) -> f64 {
        let mut rounds = self.rounds.clone();
        rounds.sort_unstable_by(f64::total_cmp);
        rounds[rounds.len() / 2]
    }
}

impl Sampling {
    /// Measures the rows and prints them as a table.
    pub(crate) fn measure(&self, title: &str, mut rows: Vec<Row>) {
        for round in 0..ROUNDS + WARMUP_ROUNDS {
            for row in &mut rows {
                let began = Instant::now();
                (row.subject.run)(self.times);
                let nanos = began.elapsed().as_nanos() as f64 / self.times as f64;
                if round >= WARMUP_ROUNDS {
                    row.rounds.push(nanos);
                }
                (row.after)();
            }
        }
        println!("\n| {title} | {} | ratio | target |\n|---|---|---|---|", self.unit);
        for row in &rows {
            let other = row.compared_to.and_then(|name| rows.iter().find(|other| other.subject.name == name));
            let ratio =
                other.map(|other| format!("{:.2} × {}", row.median() / other.median(), other.subject.name));
            let target = row.target.map(|target| format!("{target}"));
            println!(
                "| {} | {:.1} | {} | {} |",
                row.subject.name,
                row.median() / self.nanos,
                ratio.unwrap_or_default(),
                target.unwrap_or_default()
            );
        }
    }
}

impl fmt::Display for Sampling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Median of {ROUNDS} interleaved rounds; each round runs every subject ")?;
        match self.times {
            1 => write!(f, "once."),
            times => write!(f, "{times} times."),
        }
    }
}
