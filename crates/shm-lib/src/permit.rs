//! A permit that is held.

use shm_core::{Held, Limiter};
use std::fmt;
use std::sync::Arc;

/// One of the limiter's permits, held until this is dropped. It can be sent to another thread.
///
/// In a forked child a copy of it does nothing: the permit stays the parent's. When the process that holds it is killed,
/// or execs, the permit is free again: at once for whoever asks for one, within about 0.1 s for those who wait.
pub struct Permit {
    limiter: Arc<Limiter>,
    held: Held,
}

impl Permit {
    pub(crate) fn new(limiter: &Arc<Limiter>, held: Held) -> Permit {
        Permit { limiter: Arc::clone(limiter), held }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.limiter.give_back(self.held);
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("of", &self.limiter.name().as_str()).finish_non_exhaustive()
    }
}
