//! Tenures: a seat's number, incremented when the seat is taken (to odd) and released (to even).
//!
//! 1. Each tenure has a lock of its own, held by its holder until it dies. So an odd tenure whose lock is free belongs
//!    to a dead holder, even while another process is slowly taking the seat after it.
//! 2. A process that takes a seat locks the next tenure, then checks that it is still the next. So of two processes
//!    that take the same seat, at least one sees the other, and only the holder of that lock writes the tenure.
//! 3. A tenure that is over never recurs.

use crate::error::Result;
use crate::layout::Holder;
use crate::sync::Ordering;

/// The low bits of a tenure that are stored in other words and compared.
pub(crate) const TENURE_BITS: u32 = 40;
const TENURE: u64 = (1 << TENURE_BITS) - 1;

/// The holder of one tenure of a seat or place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HolderId {
    pub(crate) seat: usize,
    pub(crate) tenure: u64,
}

/// Queries the locks of all tenures. The kernel releases them when their holder dies.
pub(crate) trait SeesLocks {
    fn is_held(&mut self, by: HolderId) -> Result<bool>;
}

/// The same, and takes locks.
pub(crate) trait TakesLocks: SeesLocks {
    fn try_lock(&mut self, id: HolderId) -> Result<bool>;
    fn unlock(&mut self, id: HolderId);
}

/// Locks the next tenure of a seat, if the seat is free. The caller then writes its description and calls [`begin`];
/// until then nothing has changed.
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
        // It was taken, and perhaps released, in between.
        locks.unlock(next);
        return Ok(None);
    }
    Ok(Some(next))
}

/// Begins the claimed tenure.
pub(crate) fn begin(holder: &Holder, id: HolderId) {
    holder.tenure.store(id.tenure, Ordering::Release);
}

/// Ends this tenure. Only by its holder.
pub(crate) fn end(holder: &Holder, tenure: u64) {
    holder.tenure.store(tenure.wrapping_add(1) & !1, Ordering::Release);
}

/// Whether this tenure has ended: released, dead, or superseded. Once true, it stays true.
pub(crate) fn has_ended(holder: &Holder, id: HolderId, locks: &mut impl SeesLocks) -> Result<bool> {
    // Acquire: pairs with the Release in `begin` and `end`.
    let now = holder.tenure.load(Ordering::Acquire);
    Ok(id.tenure & 1 == 0 || now & TENURE != id.tenure & TENURE || !locks.is_held(id)?)
}
