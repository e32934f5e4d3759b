//! The callers of this process that wait for keys: one queue per key, in order of arrival.
//!
//! All of it runs with signal handlers blocked and for a few hundred nanoseconds. A forked child begins with empty queues: the
//! callers in its copy are its parent's.

use super::super::{Key, OwnedKey};
use crate::Admission;
use shm_core::{ProcessLock, ProcessToken, without_handlers};
use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Poll, Waker};

/// The queues of a handle and its clones.
#[derive(Default)]
pub(in super::super) struct Queues {
    queues: ProcessLock<State>,
    /// How many callers there are.
    callers: AtomicUsize,
    /// For waiting tasks.
    pub(super) timer: super::timer::TimerThread,
}

#[derive(Default)]
struct State {
    process: Option<ProcessToken>,
    next_id: u64,
    /// How many callers there are.
    callers: usize,
    by_key: HashMap<OwnedKey, VecDeque<Caller>>,
}

struct Caller {
    id: u64,
    waker: Option<Waker>,
    /// A turn that was charged for a caller that has left.
    inherited: Option<Admission>,
}

/// A caller's place in the queue of its key. Dropping it leaves the queue.
pub(super) struct Place {
    queues: Arc<Queues>,
    key: OwnedKey,
    id: u64,
}

/// A turn that is charged and has not come. Dropping it passes it on.
pub(super) struct Turn {
    queues: Arc<Queues>,
    key: OwnedKey,
    admission: Option<Admission>,
    process: ProcessToken,
}

impl Queues {
    /// Whether no caller of this process waits.
    pub(super) fn is_empty(&self) -> bool {
        self.callers.load(Ordering::Relaxed) == 0
    }

    /// Whether a caller of this process waits for this key.
    pub(super) fn has(&self, key: &Key<'_>) -> bool {
        let key = key.clone().into_owned();
        self.with(|state| state.by_key.contains_key(&key))
    }

    fn with<T>(&self, use_it: impl FnOnce(&mut State) -> T) -> T {
        without_handlers(|| {
            let mut state = self.queues.lock();
            let here = Some(ProcessToken::current());
            if state.process != here {
                // A forked child's copy of its parent's callers. Not dropped: their wakers and turns are the parent's.
                std::mem::forget(std::mem::take(&mut *state));
                state.process = here;
                self.callers.store(0, Ordering::Relaxed);
            }
            let done = use_it(&mut state);
            self.callers.store(state.callers, Ordering::Relaxed);
            done
        })
    }

    /// Joins the queue of a key; if `max` callers wait already, says how many.
    pub(super) fn join(self: &Arc<Self>, key: OwnedKey, max: Option<u64>) -> Result<Place, u64> {
        let id = self.with(|state| {
            let queue = state.by_key.entry(key.clone()).or_default();
            let waiting = queue.len() as u64;
            if max.is_some_and(|max| waiting >= max) {
                if queue.is_empty() {
                    state.by_key.remove(&key);
                }
                return Err(waiting);
            }
            state.next_id += 1;
            state.callers += 1;
            queue.push_back(Caller { id: state.next_id, waker: None, inherited: None });
            Ok(state.next_id)
        })?;
        Ok(Place { queues: Arc::clone(self), key, id })
    }

    /// Gives a charged turn to the first caller of the key; it is lost if there is none.
    fn pass_on(&self, key: &OwnedKey, admission: Admission) {
        let (rest, waker) =
            self.with(|state| match state.by_key.get_mut(key).and_then(VecDeque::front_mut) {
                Some(first) if first.inherited.is_none() => {
                    first.inherited = Some(admission);
                    (None, first.waker.take())
                }
                _ => (Some(admission), None),
            });
        // Outside the lock: both run code of others.
        drop(rest);
        waker.into_iter().for_each(Waker::wake);
    }
}

impl Place {
    /// Whether the place is the first. Otherwise the task is woken when it becomes that.
    pub(super) async fn is_first(&self) -> bool {
        poll_fn(|context| Poll::Ready(self.check_first(context.waker()))).await
    }

    fn check_first(&self, waker: &Waker) -> bool {
        let new = waker.clone();
        let (is_first, old) = self.queues.with(|state| {
            let queue = state.by_key.entry(self.key.clone()).or_default();
            match queue.iter().position(|caller| caller.id == self.id) {
                Some(at) => (at == 0, queue[at].waker.replace(new)),
                None => {
                    // A copy of a waiting caller in a forked child: it joins the queue there.
                    state.callers += 1;
                    queue.push_back(Caller { id: self.id, waker: Some(new), inherited: None });
                    (queue.len() == 1, None)
                }
            }
        });
        drop(old);
        is_first
    }

    /// A turn that was charged for a caller that has left.
    pub(super) fn take_inherited(&self) -> Option<Admission> {
        self.queues.with(|state| {
            let queue = state.by_key.get_mut(&self.key)?;
            queue.iter_mut().find(|caller| caller.id == self.id)?.inherited.take()
        })
    }

    /// Leaves the queue with a charged turn.
    pub(super) fn leave_with(self, admission: Admission) -> Turn {
        Turn {
            queues: Arc::clone(&self.queues),
            key: self.key.clone(),
            admission: Some(admission),
            process: ProcessToken::current(),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let (left, next) = self.queues.with(|state| {
            let Some(queue) = state.by_key.get_mut(&self.key) else { return (None, None) };
            let Some(at) = queue.iter().position(|caller| caller.id == self.id) else { return (None, None) };
            let mut left = queue.remove(at);
            state.callers -= 1;
            let next = if at == 0 { queue.front_mut() } else { None };
            let waker = next.and_then(|next| {
                if let Some(left) = &mut left
                    && next.inherited.is_none()
                {
                    next.inherited = left.inherited.take();
                }
                next.waker.take()
            });
            if queue.is_empty() {
                state.by_key.remove(&self.key);
            }
            (left, waker)
        });
        drop(left);
        next.into_iter().for_each(Waker::wake);
    }
}

impl Turn {
    /// The admission, once its instant has come; `None` in a forked child, whose copy it is.
    pub(super) fn take(mut self) -> Option<Admission> {
        let admission = self.admission.take();
        if self.process == ProcessToken::current() {
            return admission;
        }
        // Not dropped: its permit is the parent's.
        std::mem::forget(admission);
        None
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(admission) = self.admission.take() else { return };
        if self.process == ProcessToken::current() {
            self.queues.pass_on(&self.key, admission);
        } else {
            std::mem::forget(admission);
        }
    }
}
