//! A subject: what is measured.

use std::hint::black_box;

/// Runs a decision this many times. The loop is inside the closure, so that no decision is called through a pointer.
pub(crate) type Loop = Box<dyn FnMut(u64)>;

/// Makes a subject on demand.
pub(crate) type MakeSubject = fn() -> Subject;

/// A named operation to measure.
pub(crate) struct Subject {
    pub(crate) name: &'static str,
    pub(crate) run: Loop,
}

impl Subject {
    pub(crate) fn new<T>(name: &'static str, mut decide: impl FnMut() -> T + 'static) -> Subject {
        let run = move |times| {
            for _ in 0..times {
                black_box(decide());
            }
        };
        Subject { name, run: Box::new(run) }
    }
}
