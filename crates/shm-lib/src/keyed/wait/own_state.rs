//! What one process keeps for its waiting callers, which a forked child does not take over.

use shm_core::{ProcessLock, ProcessToken, without_handlers};

/// A value among the threads of this process. A forked child begins with a new one.
#[derive(Default)]
pub(super) struct OwnState<T>(ProcessLock<Owned<T>>);

#[derive(Default)]
struct Owned<T> {
    process: Option<ProcessToken>,
    value: T,
}

impl<T: Default> OwnState<T> {
    /// Uses the value, with signal handlers blocked: a child forked by one would continue with its parent's.
    pub(super) fn with<R>(&self, use_it: impl FnOnce(&mut T) -> R) -> R {
        without_handlers(|| {
            let mut owned = self.0.lock();
            let here = Some(ProcessToken::current());
            if owned.process != here {
                // A forked child's copy of its parent's. Not dropped: wakers, turns and threads in it are the parent's.
                std::mem::forget(std::mem::take(&mut *owned));
                owned.process = here;
            }
            use_it(&mut owned.value)
        })
    }
}
