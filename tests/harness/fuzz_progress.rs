//! What a fuzzing child is doing, in a mapped file: its watchdog reads it while the child runs and after it died.

use crate::raw::MappedWords;
use shm_lib::ErrorKind;
use std::path::Path;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// What is done to a limiter.
pub const OPS: [&str; 49] = [
    "make",
    "spoil",
    "attach",
    "open",
    "try",
    "try n",
    "try units",
    "wait timeout",
    "wait",
    "reserve",
    "commit",
    "cancel",
    "settle",
    "schedule",
    "charge",
    "give back",
    "status",
    "policy",
    "inspect",
    "stats",
    "change",
    "change policy",
    "reset",
    "pause",
    "resume",
    "retire",
    "remove",
    "list",
    "forked try",
    "wait for turn",
    "audit",
    "mend",
    "drop",
    "key try",
    "key many",
    "key wait",
    "key task",
    "key charge",
    "key reset",
    "key status",
    "key table",
    "key denied",
    "key change",
    "key reset all",
    "key pause",
    "key at",
    "key inspect",
    "key settle",
    "key fork",
];

/// How it ends: an answer, or a kind of error.
const KINDS: [ErrorKind; 20] = [
    ErrorKind::InvalidName,
    ErrorKind::InvalidInput,
    ErrorKind::NotFound,
    ErrorKind::Mismatch,
    ErrorKind::NeverAdmissible,
    ErrorKind::TooFar,
    ErrorKind::Retired,
    ErrorKind::Removed,
    ErrorKind::Corrupt,
    ErrorKind::NotALimiter,
    ErrorKind::Incompatible,
    ErrorKind::OtherClock,
    ErrorKind::Untrusted,
    ErrorKind::PermissionDenied,
    ErrorKind::NoSpace,
    ErrorKind::Unsupported,
    ErrorKind::NoSeat,
    ErrorKind::Busy,
    ErrorKind::Interrupted,
    ErrorKind::Io,
];
const OUTCOMES: usize = KINDS.len() + 2;

const CASE: usize = 0;
const OP: usize = 1;
const BEGAN: usize = 2;
const CASES: usize = 3;
const LONGEST: usize = 4;
const TALLY: usize = 8;

/// The board of one child.
pub struct Progress(MappedWords);

/// Where a child is.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// The case it is in.
    pub case: u64,
    /// What it does, and since when; `None` between operations.
    pub op: Option<(&'static str, u64)>,
}

/// What was done so far.
#[derive(Clone, Default)]
pub struct Counts {
    /// Cases that came to their end.
    pub cases: u64,
    /// The longest operation, in nanoseconds.
    pub longest_ns: u64,
    counts: Vec<u64>,
}

impl Progress {
    /// Maps it.
    pub fn at(path: &Path) -> Progress {
        Progress(MappedWords::map(path, TALLY + OPS.len() * OUTCOMES).expect("a board"))
    }

    /// A case begins.
    pub fn case(&self, number: u64) {
        self.0.all()[CASE].store(number, Release);
    }

    /// A case is over.
    pub fn case_done(&self) {
        self.0.all()[CASES].fetch_add(1, Relaxed);
    }

    /// An operation begins now; returns its index.
    pub fn begin(&self, op: &str, now_ns: u64) -> usize {
        let index = OPS.iter().position(|name| *name == op).expect("a known operation");
        self.0.all()[BEGAN].store(now_ns, Release);
        self.0.all()[OP].store(index as u64 + 1, Release);
        index
    }

    /// It came to an end: `Ok` with an answer or a denial (false), or an error.
    pub fn end(&self, op: usize, outcome: Result<bool, ErrorKind>, took_ns: u64) {
        let column = match outcome {
            Ok(yes) => usize::from(!yes),
            Err(kind) => 2 + KINDS.iter().position(|k| *k == kind).expect("a known kind"),
        };
        self.0.all()[TALLY + op * OUTCOMES + column].fetch_add(1, Relaxed);
        self.0.all()[LONGEST].fetch_max(took_ns, Relaxed);
        self.0.all()[OP].store(0, Release);
    }

    /// Where the child is.
    pub fn now(&self) -> Now {
        let words = self.0.all();
        let op = (words[OP].load(Acquire) as usize).checked_sub(1);
        let op = op.and_then(|op| Some((*OPS.get(op)?, words[BEGAN].load(Acquire))));
        Now { case: words[CASE].load(Acquire), op }
    }

    /// What it did so far.
    pub fn tally(&self) -> Counts {
        let words = self.0.all();
        Counts {
            cases: words[CASES].load(Relaxed),
            longest_ns: words[LONGEST].load(Relaxed),
            counts: words[TALLY..].iter().map(|w| w.load(Relaxed)).collect(),
        }
    }
}

impl Counts {
    /// With another one's.
    #[must_use]
    pub fn plus(self, other: &Counts) -> Counts {
        let mut counts = other.counts.clone();
        counts.iter_mut().zip(&self.counts).for_each(|(sum, n)| *sum += n);
        let longest_ns = self.longest_ns.max(other.longest_ns);
        Counts { cases: self.cases + other.cases, longest_ns, counts }
    }

    /// All operations.
    pub fn ops(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// How often this operation was done.
    pub fn of(&self, op: &str) -> u64 {
        self.rows().filter(|(name, _)| *name == op).flat_map(|(_, row)| row).sum()
    }

    /// How often anything ended in this kind of error.
    pub fn errors(&self, kind: ErrorKind) -> u64 {
        let column = KINDS.iter().position(|k| *k == kind).map_or(usize::MAX, |k| k + 2);
        self.rows().filter_map(|(_, row)| row.get(column)).sum()
    }

    fn rows(&self) -> impl Iterator<Item = (&'static str, &[u64])> {
        OPS.iter().copied().zip(self.counts.chunks(OUTCOMES))
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(
            f,
            "{} cases, {} operations, the longest took {} ms",
            self.cases,
            self.ops(),
            self.longest_ns / 1_000_000
        )?;
        for (op, row) in self.rows().filter(|(_, row)| row.iter().any(|&n| n > 0)) {
            write!(f, "  {op:<13} yes {} no {}", row[0], row[1])?;
            for (kind, n) in KINDS.iter().zip(&row[2..]).filter(|(_, n)| **n > 0) {
                write!(f, ", {kind:?} {n}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
