//! The callers of this process that wait for keys: one queue per key, in order of arrival.
//!
//! All of it runs with signal handlers blocked and for a few hundred nanoseconds. A forked child begins with empty queues: the
//! callers in its copy are its parent's.

use super::super::{Key, OwnedKey};
use super::own_state::OwnState;
use super::timer::Sleep;
use super::{LOOK, next_id};
use crate::Admission;
use shm_core::ProcessToken;
use shm_core::clock::{self, Nanos};
use shm_core::limit::{Cost, Rate};
use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Poll, Waker};

/// The queues of a handle and its clones.
#[derive(Default)]
pub(in super::super) struct Queues {
    queues: OwnState<State>,
    /// How many callers there are.
    callers: AtomicUsize,
    /// For waiting tasks.
    pub(super) timer: super::timer::TimerThread,
}

#[derive(Default)]
struct State {
    /// How many callers there are.
    callers: usize,
    by_key: HashMap<OwnedKey, VecDeque<Caller>>,
}

/// What a caller asks for. A turn that was charged for one is of use to another only if that asks for the same.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Asked {
    pub(super) cost: Cost,
    pub(super) at: Option<(Rate, u64)>,
}

struct Caller {
    id: u64,
    asked: Asked,
    /// Its deadline.
    latest: Nanos,
    waker: Option<Waker>,
    /// When it looked last, which it does every [`LOOK`].
    looked: Nanos,
    /// A turn that was charged for a caller that has left.
    inherited: Option<Admission>,
}

impl Caller {
    fn new(id: u64, asked: Asked, latest: Nanos, waker: Option<Waker>) -> Caller {
        Caller { id, asked, latest, waker, looked: clock::now(), inherited: None }
    }

    /// Whether a turn that was charged for this can be used by it.
    fn can_use(&self, asked: Asked, turn: &Admission) -> bool {
        self.inherited.is_none() && self.asked == asked && turn.receipt.at <= self.latest
    }

    /// Whether it is overdue: a future that its task holds and does not poll. The callers behind it go on without it.
    fn is_overdue(&self, now: Nanos) -> bool {
        now.since(self.looked) > 2 * LOOK
    }
}

/// Where the first caller is that is not overdue.
fn first_of(queue: &VecDeque<Caller>, now: Nanos) -> Option<usize> {
    queue.iter().position(|caller| !caller.is_overdue(now))
}

/// A caller's place in the queue of its key. Dropping it leaves the queue.
pub(super) struct Place {
    queues: Arc<Queues>,
    key: OwnedKey,
    asked: Asked,
    latest: Nanos,
    id: u64,
}

/// What a caller sees of its place.
struct Seen {
    is_first: bool,
    has_inherited: bool,
}

/// A turn that is charged and has not come. Dropping it passes it on.
pub(super) struct Turn {
    queues: Arc<Queues>,
    key: OwnedKey,
    asked: Asked,
    admission: Option<Admission>,
    /// The process that charged it.
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
        self.queues.with(|state| {
            let done = use_it(state);
            self.callers.store(state.callers, Ordering::Relaxed);
            done
        })
    }

    /// Joins the queue of a key; if `max` callers wait already, says how many.
    pub(super) fn join(
        self: &Arc<Self>,
        key: OwnedKey,
        asked: Asked,
        latest: Nanos,
        max: Option<u64>,
    ) -> Result<Place, u64> {
        let id = next_id();
        self.with(|state| {
            let queue = state.by_key.entry(key.clone()).or_default();
            let waiting = queue.len() as u64;
            if max.is_some_and(|max| waiting >= max) {
                if queue.is_empty() {
                    state.by_key.remove(&key);
                }
                return Err(waiting);
            }
            state.callers += 1;
            queue.push_back(Caller::new(id, asked, latest, None));
            Ok(())
        })?;
        Ok(Place { queues: Arc::clone(self), key, asked, latest, id })
    }

    /// Gives a charged turn to the first caller of the key, if that asks for the same; otherwise it is lost.
    fn pass_on(&self, key: &OwnedKey, asked: Asked, admission: Admission) {
        let now = clock::now();
        let (rest, waker) = self.with(|state| {
            let queue = state.by_key.get_mut(key);
            let first = queue.and_then(|queue| {
                let at = first_of(queue, now)?;
                queue.get_mut(at)
            });
            match first {
                Some(first) if first.can_use(asked, &admission) => {
                    first.inherited = Some(admission);
                    (None, first.waker.take())
                }
                _ => (Some(admission), None),
            }
        });
        // Outside the lock: both run code of others.
        drop(rest);
        waker.into_iter().for_each(Waker::wake);
    }
}

impl Place {
    /// Whether the place is the first, not counting those that are overdue.
    pub(super) async fn is_first(&self) -> bool {
        poll_fn(|context| Poll::Ready(self.look(context.waker()).is_first)).await
    }

    /// Sleeps until this instant, or until the place becomes the first, or is no longer the first, or inherits a turn.
    pub(super) async fn doze_until(&self, at: Nanos, timer: &impl Sleep, was_first: bool) {
        poll_fn(|context| {
            let seen = self.look(context.waker());
            if seen.is_first != was_first || seen.has_inherited || clock::now() >= at {
                return Poll::Ready(());
            }
            timer.wake_at(at, context.waker());
            Poll::Pending
        })
        .await;
    }

    /// Looks where the place is. The task is woken when that changes.
    fn look(&self, waker: &Waker) -> Seen {
        let (new, now) = (waker.clone(), clock::now());
        let (seen, old) = self.queues.with(|state| {
            let queue = state.by_key.entry(self.key.clone()).or_default();
            match queue.iter().position(|caller| caller.id == self.id) {
                Some(at) => {
                    queue[at].looked = now;
                    let is_first = first_of(queue, now) == Some(at);
                    let has_inherited = queue[at].inherited.is_some();
                    (Seen { is_first, has_inherited }, queue[at].waker.replace(new))
                }
                None => {
                    // A copy of a waiting caller in a forked child: it joins the queue there.
                    state.callers += 1;
                    queue.push_back(Caller::new(self.id, self.asked, self.latest, Some(new)));
                    (Seen { is_first: queue.len() == 1, has_inherited: false }, None)
                }
            }
        });
        drop(old);
        seen
    }

    /// Polls a future that may wait for longer than [`LOOK`]: meanwhile the caller is not overdue.
    pub(super) async fn looking<T>(&self, timer: &impl Sleep, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        poll_fn(|context| {
            let polled = future.as_mut().poll(context);
            if polled.is_pending() {
                self.look(context.waker());
                timer.wake_at(clock::now().plus(LOOK), context.waker());
            }
            polled
        })
        .await
    }

    /// A turn that was charged for a caller that has left.
    pub(super) fn take_inherited(&self) -> Option<Admission> {
        self.queues.with(|state| {
            let queue = state.by_key.get_mut(&self.key)?;
            queue.iter_mut().find(|caller| caller.id == self.id)?.inherited.take()
        })
    }

    /// Leaves the queue with a turn that was charged by this process.
    pub(super) fn leave_with(self, admission: Admission, process: ProcessToken) -> Turn {
        Turn {
            queues: Arc::clone(&self.queues),
            key: self.key.clone(),
            asked: self.asked,
            admission: Some(admission),
            process,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let now = clock::now();
        let (left, next) = self.queues.with(|state| {
            let Some(queue) = state.by_key.get_mut(&self.key) else { return (None, None) };
            let Some(at) = queue.iter().position(|caller| caller.id == self.id) else { return (None, None) };
            let mut left = queue.remove(at);
            state.callers -= 1;
            let next = first_of(queue, now).filter(|&next| next >= at);
            let next = next.and_then(|next| queue.get_mut(next));
            let waker = next.and_then(|next| {
                if let Some(left) = &mut left
                    && left.inherited.as_ref().is_some_and(|turn| next.can_use(self.asked, turn))
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
        self.admission.take().filter(|_| self.process == ProcessToken::current())
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(admission) = self.admission.take() else { return };
        if self.process == ProcessToken::current() {
            self.queues.pass_on(&self.key, self.asked, admission);
        }
    }
}
