//! The locks of seats, as the kernel has them.

use super::{Locks, Sitter};
use crate::error::Result;
use crate::layout::seat_lock;
use crate::segment::Segment;
use crate::sys::lock;
use std::fs::File;

/// The locks of a limiter's seats, on a descriptor of its own that is opened when first needed. What is locked by it
/// lives as long as the descriptor.
pub(crate) struct Probe<'a> {
    segment: &'a Segment,
    file: Option<File>,
}

impl<'a> Probe<'a> {
    pub(crate) fn of(segment: &'a Segment) -> Probe<'a> {
        Probe { segment, file: None }
    }
}

impl Probe<'_> {
    fn file(&mut self) -> Result<&File> {
        if self.file.is_none() {
            self.file = Some(self.segment.reopen()?);
        }
        Ok(self.file.as_ref().expect("just opened"))
    }

    /// The descriptor, if one was needed.
    pub(crate) fn into_file(self) -> Option<File> {
        self.file
    }
}

impl Locks for Probe<'_> {
    fn is_held(&mut self, by: Sitter) -> Result<bool> {
        let at = seat_lock(by.seat, by.tenure);
        lock::is_held(self.file()?, at).map_err(|e| self.segment.lock_refused(e))
    }

    fn try_lock(&mut self, sitter: Sitter) -> Result<bool> {
        let at = seat_lock(sitter.seat, sitter.tenure);
        lock::try_lock(self.file()?, at).map_err(|e| self.segment.lock_refused(e))
    }

    fn unlock(&mut self, sitter: Sitter) {
        if let Some(file) = &self.file {
            lock::unlock(file, seat_lock(sitter.seat, sitter.tenure));
        }
    }
}
