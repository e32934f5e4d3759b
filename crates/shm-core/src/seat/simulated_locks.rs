//! The kernel's locks, as model checkers see them: a word for each tenure of each seat or place, 1 while its holder lives. Its
//! answers are true at that moment.

use super::tenure::{HolderId, SeesLocks, TakesLocks};
use crate::error::Result;
use crate::sync::{AtomicU64, Ordering};

/// The locks of the first tenures of these seats or places.
pub(crate) struct SimulatedLocks<const HOLDERS: usize, const TENURES: usize>([[AtomicU64; TENURES]; HOLDERS]);

impl<const HOLDERS: usize, const TENURES: usize> SimulatedLocks<HOLDERS, TENURES> {
    pub(crate) fn new() -> Self {
        SimulatedLocks(std::array::from_fn(|_| std::array::from_fn(|_| AtomicU64::new(0))))
    }

    /// Odd tenures are taken.
    fn of(&self, holder: HolderId) -> &AtomicU64 {
        &self.0[holder.seat][holder.tenure as usize / 2]
    }
}

impl<const HOLDERS: usize, const TENURES: usize> SeesLocks for &SimulatedLocks<HOLDERS, TENURES> {
    fn is_held(&mut self, by: HolderId) -> Result<bool> {
        Ok(self.of(by).fetch_or(0, Ordering::AcqRel) == 1)
    }
}

impl<const HOLDERS: usize, const TENURES: usize> TakesLocks for &SimulatedLocks<HOLDERS, TENURES> {
    fn try_lock(&mut self, id: HolderId) -> Result<bool> {
        Ok(self.of(id).swap(1, Ordering::AcqRel) == 0)
    }

    fn unlock(&mut self, id: HolderId) {
        self.of(id).swap(0, Ordering::AcqRel);
    }
}
