//! The admissions of a handle's `with` blocks.

use crate::outcome::Admission;
use pyo3::prelude::*;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

/// The blocks that are entered, the innermost of each thread last.
#[derive(Default)]
pub(crate) struct Blocks(Mutex<Vec<(ThreadId, Py<Admission>)>>);

impl Blocks {
    fn entered(&self) -> MutexGuard<'_, Vec<(ThreadId, Py<Admission>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A block of this thread begins.
    pub(crate) fn enter(&self, admission: Py<Admission>) {
        self.entered().push((thread::current().id(), admission));
    }

    /// The innermost block of this thread ends. Generators and greenlets may end theirs in another order, or in another thread than
    /// that which entered them: then another block ends in its place, whose permit is of the same limiter. An admission that holds no
    /// permit any more goes first, so that no permit is released while its block goes on.
    pub(crate) fn exit(&self) -> Option<Py<Admission>> {
        let (mut entered, this) = (self.entered(), thread::current().id());
        let own = |entry: &(ThreadId, _)| entry.0 == this;
        let holds_none =
            |(_, admission): &(_, Py<Admission>)| !admission.get().with(|inner| inner.holds_permit());
        let at = entered.iter().rposition(|entry| own(entry) && holds_none(entry));
        let at = at.or_else(|| entered.iter().rposition(own));
        let at =
            at.or_else(|| entered.iter().rposition(holds_none)).or_else(|| entered.len().checked_sub(1))?;
        Some(entered.remove(at).1)
    }
}
