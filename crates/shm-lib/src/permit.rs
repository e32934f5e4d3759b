//! A held permit.

use shm_core::{Limiter, PermitToken};
use std::fmt;
use std::sync::Arc;

/// One of the limiter's permits, held until this is dropped. It can be sent to another thread.
///
/// In a forked child a copy of it does nothing: the permit stays with the parent. When the holding process is killed or
/// execs, the permit is reclaimed: within 10 ms by a process that tries to acquire one, within about 0.1 s by a waiter.
///
/// ```
/// # fn main() -> shm_lib::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// use shm_lib::RateLimit;
///
/// let limit = RateLimit::builder("uploads").directory(dir.path()).permits(1).open_permits()?;
/// let permit = limit.wait()?.take_permit(); // outlives the admission
/// assert!(!limit.try_acquire(1)?.is_admitted());
/// drop(permit);
/// assert!(limit.try_acquire(1)?.is_admitted());
/// # Ok(())
/// # }
/// ```
#[must_use = "a permit is released when it is dropped"]
pub struct Permit {
    /// `None` once it is released.
    limiter: Option<Arc<Limiter>>,
    held: PermitToken,
}

impl Permit {
    pub(crate) fn new(limiter: &Arc<Limiter>, held: PermitToken) -> Permit {
        Permit { limiter: Some(Arc::clone(limiter)), held }
    }
}

impl Drop for Permit {
    #[inline]
    fn drop(&mut self) {
        if let Some(limiter) = self.limiter.take() {
            give_back(limiter, self.held);
        }
    }
}

/// Out of line and by value, so that the compiler can keep an admission without a permit in registers when it drops it.
#[inline(never)]
#[allow(clippy::needless_pass_by_value)]
fn give_back(limiter: Arc<Limiter>, held: PermitToken) {
    limiter.give_back(held);
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit")
            .field("of", &self.limiter.as_ref().map(|limiter| limiter.name().as_str()))
            .finish_non_exhaustive()
    }
}
