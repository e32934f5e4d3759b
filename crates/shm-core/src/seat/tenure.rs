//! Tenures: a seat's number grows whenever it is taken (to odd) and left (to even).
//!
//! 1. Each tenure has a lock of its own, held by its holder until it dies. So a tenure that is odd with its lock free is
//!    that of a dead holder, also while somebody is taking the seat after it, however slowly.
//! 2. Whoever takes a seat takes the next tenure's lock, then looks whether it is still the next. So of two who take the
//!    same seat one sees the other, and only the holder of that lock writes the tenure.
//! 3. A tenure that is over never comes again.

use crate::error::Result;
use crate::layout::Holder;
use crate::sync::Ordering;

/// So much of a tenure is told apart.
pub(crate) const TENURE_BITS: u32 = 40;
const TENURE: u64 = (1 << TENURE_BITS) - 1;

/// Who sits where, and since which taking of the seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HolderId {
    pub(crate) seat: usize,
    pub(crate) tenure: u64,
}

/// The locks of all tenures of all seats. They are the kernel's, and free when their holder is dead.
pub(crate) trait SeesLocks {
    fn is_held(&mut self, by: HolderId) -> Result<bool>;
}

/// The same, for a process that takes a seat.
pub(crate) trait TakesLocks: SeesLocks {
    fn try_lock(&mut self, id: HolderId) -> Result<bool>;
    fn unlock(&mut self, id: HolderId);
}

/// Takes the lock for the next tenure of a seat, if the seat is free. Then the caller writes who it is, and
/// [`begin`]s; until then nothing has changed.
pub(crate) fn claim(seat: usize, holder: &Holder, locks: &mut impl TakesLocks) -> Result<Option<HolderId>> {
    // Acquire: pairs with the Release in `begin` and `end`.
    let tenure = holder.tenure.load(Ordering::Acquire);
    if tenure & 1 == 1 && locks.is_held(HolderId { seat, tenure })? {
        return Ok(None);
    }
    let next = HolderId { seat, tenure: tenure.wrapping_add(1) | 1 };
    if !locks.try_lock(next)? {
        return Ok(None);
    }
    if holder.tenure.load(Ordering::Acquire) != tenure {
        // It was taken, and perhaps left, in between.
        locks.unlock(next);
        return Ok(None);
    }
    Ok(Some(next))
}

/// Begins the tenure that was claimed.
pub(crate) fn begin(holder: &Holder, id: HolderId) {
    holder.tenure.store(id.tenure, Ordering::Release);
}

/// Ends this tenure, by its holder.
pub(crate) fn end(holder: &Holder, tenure: u64) {
    holder.tenure.store(tenure.wrapping_add(1) & !1, Ordering::Release);
}

/// Whether this sitter is gone: left, dead, or another has its seat. Once it is, it stays gone.
pub(crate) fn has_ended(holder: &Holder, id: HolderId, locks: &mut impl SeesLocks) -> Result<bool> {
    // Acquire: pairs with the Release in `begin` and `end`.
    let now = holder.tenure.load(Ordering::Acquire);
    Ok(id.tenure & 1 == 0 || now & TENURE != id.tenure & TENURE || !locks.is_held(id)?)
}
