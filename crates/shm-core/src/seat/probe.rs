//! The locks of seats, as the kernel has them.

use super::tenure::{SeesLocks, Sitter, TakesLocks};
use crate::error::Result;
use crate::layout::seat_lock;
use crate::segment::Segment;
use crate::sys::descriptor::Momentary;
use crate::sys::lock;
use std::fs::File;

/// Looks at the locks of a limiter's seats, on a descriptor that is opened when first needed.
pub(crate) struct Probe<'a> {
    segment: &'a Segment,
    file: Option<Momentary>,
}

impl<'a> Probe<'a> {
    pub(crate) fn of(segment: &'a Segment) -> Probe<'a> {
        Probe { segment, file: None }
    }
}

impl SeesLocks for Probe<'_> {
    fn is_held(&mut self, by: Sitter) -> Result<bool> {
        if self.file.is_none() {
            self.file = Some(Momentary::open(|| self.segment.reopen())?);
        }
        let file = self.file.as_ref().expect("just opened");
        lock::is_held(file, seat_lock(by.seat, by.tenure)).map_err(|e| self.segment.lock_refused(e))
    }
}

/// Takes them for this open file description. What is locked by it lives as long as that.
pub(super) struct OnFile<'a> {
    pub(super) segment: &'a Segment,
    pub(super) file: &'a File,
}

impl SeesLocks for OnFile<'_> {
    fn is_held(&mut self, by: Sitter) -> Result<bool> {
        lock::is_held(self.file, seat_lock(by.seat, by.tenure)).map_err(|e| self.segment.lock_refused(e))
    }
}

impl TakesLocks for OnFile<'_> {
    fn try_lock(&mut self, sitter: Sitter) -> Result<bool> {
        let at = seat_lock(sitter.seat, sitter.tenure);
        lock::try_lock(self.file, at).map_err(|e| self.segment.lock_refused(e))
    }

    fn unlock(&mut self, sitter: Sitter) {
        lock::unlock(self.file, seat_lock(sitter.seat, sitter.tenure));
    }
}
