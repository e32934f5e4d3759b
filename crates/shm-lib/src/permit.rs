//! A permit that is held.

use shm_core::{Limiter, PermitToken};
use std::fmt;
use std::sync::Arc;

/// One of the limiter's permits, held until this is dropped. It can be sent to another thread.
///
/// In a forked child a copy of it does nothing: the permit stays the parent's. When the process that holds it is killed,
/// or execs, the permit is free again: for a process that asks for one within 10 ms, for those that wait within about 0.1 s.
pub struct Permit {
    /// There until it is given back.
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

/// Apart, and by value: so an admission without a permit is dropped without having been in memory.
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
