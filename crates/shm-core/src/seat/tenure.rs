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
pub(crate) const TENURE_BITS: u32 = 48;
const TENURE: u64 = (1 << TENURE_BITS) - 1;

/// Who sits where, and since which taking of the seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sitter {
    pub(crate) seat: usize,
    pub(crate) tenure: u64,
}

/// The locks of all tenures of all seats. They are the kernel's, and free when their holder is dead.
pub(crate) trait SeesLocks {
    fn is_held(&mut self, by: Sitter) -> Result<bool>;
}

/// The same, for a process that takes a seat.
pub(crate) trait TakesLocks: SeesLocks {
    fn try_lock(&mut self, sitter: Sitter) -> Result<bool>;
    fn unlock(&mut self, sitter: Sitter);
}

/// Takes the lock for the next tenure of a seat, if the seat is free. Then the caller writes who it is, and
/// [`begin`]s; until then nothing has changed.
pub(crate) fn claim(seat: usize, holder: &Holder, locks: &mut impl TakesLocks) -> Result<Option<Sitter>> {
    // Acquire: pairs with the Release in `begin` and `end`.
    let tenure = holder.tenure.load(Ordering::Acquire);
    if tenure & 1 == 1 && locks.is_held(Sitter { seat, tenure })? {
        return Ok(None);
    }
    let next = Sitter { seat, tenure: after(tenure) };
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

/// The next tenure of a seat that is free.
fn after(tenure: u64) -> u64 {
    tenure.wrapping_add(1) | 1
}

/// Begins the tenure that was claimed; false if it is over already.
///
/// By a swap, since a child that a signal handler forked may come here as well, at any time later: a tenure never comes
/// again, so the child changes nothing.
pub(crate) fn begin(holder: &Holder, sitter: Sitter) -> bool {
    let is_before = |tenure: u64| after(tenure) == sitter.tenure;
    let next = |tenure: u64| is_before(tenure).then_some(sitter.tenure);
    match holder.tenure.fetch_update(Ordering::Release, Ordering::Relaxed, next) {
        Ok(_) => true,
        Err(tenure) => tenure == sitter.tenure,
    }
}

/// Ends a tenure, by its holder. By a swap, as above.
pub(crate) fn end(holder: &Holder, tenure: u64) {
    let left = tenure.wrapping_add(1) & !1;
    let _ = holder.tenure.compare_exchange(tenure, left, Ordering::Release, Ordering::Relaxed);
}

/// Whether this sitter is gone: left, dead, or another has its seat. Once it is, it stays gone.
pub(crate) fn is_gone(holder: &Holder, sitter: Sitter, locks: &mut impl SeesLocks) -> Result<bool> {
    // Acquire: pairs with the Release in `begin` and `end`.
    let now = holder.tenure.load(Ordering::Acquire);
    Ok(sitter.tenure & 1 == 0 || now & TENURE != sitter.tenure & TENURE || !locks.is_held(sitter)?)
}
