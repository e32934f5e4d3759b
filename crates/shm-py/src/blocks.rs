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

    /// The innermost block of this thread ends. A generator may be closed by another thread than that which entered its block: then the
    /// innermost block of any thread ends in its place, whose permit is of the same limiter.
    pub(crate) fn exit(&self) -> Option<Py<Admission>> {
        let (mut entered, this) = (self.entered(), thread::current().id());
        match entered.iter().rposition(|(thread, _)| *thread == this) {
            Some(at) => Some(entered.remove(at).1),
            None => entered.pop().map(|(_, admission)| admission),
        }
    }
}
