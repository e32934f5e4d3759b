//! The waiting callers of this process: its one place in the line shows the first; the others queue behind it in
//! private memory.

use super::places::Front;
use crate::intervals::WAKE_GRACE;
use crate::limit::{Asked, Cost, Costs, MAX_LIMITS};
use crate::seat::{Claimed, Search};
use crate::sys::futex;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;

/// A caller's arrival (ns), and a serial number that tells callers of the same nanosecond apart.
pub(crate) type Key = (u64, u64);

/// How to wake a waiting caller, so that it looks again.
#[derive(Clone, Debug)]
pub enum CallerWaker {
    /// A thread that sleeps on this futex word of its process's memory.
    Thread(Arc<AtomicU64>),
    /// An async task.
    Task(Waker),
}

impl CallerWaker {
    pub(crate) fn is_task(&self) -> bool {
        matches!(self, CallerWaker::Task(_))
    }

    /// Wakes the caller.
    pub fn wake(&self) {
        match self {
            CallerWaker::Thread(word) => {
                word.fetch_add(1, Ordering::Release);
                futex::wake_one(word);
            }
            CallerWaker::Task(waker) => waker.wake_by_ref(),
        }
    }
}

/// What a caller asks for. Plain calls need no allocation.
#[derive(Clone, Debug)]
pub(crate) enum Ask {
    Calls(u64),
    Units(Box<Cost>),
}

impl Ask {
    pub(crate) fn of(cost: &Cost) -> Ask {
        cost.only_calls().map_or_else(|| Ask::Units(Box::new(*cost)), Ask::Calls)
    }

    pub(crate) fn asked(&self) -> Asked<'_> {
        match self {
            Ask::Calls(n) => Asked::Calls(*n),
            Ask::Units(cost) => Asked::Units(cost),
        }
    }
}

/// Work deferred until the callers are unlocked: it runs foreign code, which may call back into this module.
#[derive(Debug)]
pub(crate) enum Deferred {
    Wake(CallerWaker),
    /// Only drops it.
    Forget(#[allow(dead_code)] CallerWaker),
}

impl Deferred {
    pub(crate) fn run(self) {
        match self {
            Deferred::Wake(waker) => waker.wake(),
            Deferred::Forget(_) => {}
        }
    }
}

/// One waiting caller.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) ask: Ask,
    /// What that costs each limit, in the epoch of [`Callers::epoch`].
    pub(crate) costs: Costs,
    /// Its deadline: after this instant it wants no turn any more.
    pub(crate) latest: u64,
    pub(crate) waker: CallerWaker,
    /// When it was woken, if it has not looked since; otherwise 0.
    woken_at: u64,
    /// Whether it sleeps on the bell of the place rather than on its own word.
    on_bell: bool,
}

impl Caller {
    pub(crate) fn new(ask: Ask, costs: Costs, latest: u64, waker: CallerWaker) -> Caller {
        Caller { ask, costs, latest, waker, woken_at: 0, on_bell: false }
    }
}

/// All waiting callers of this process, and its place.
#[derive(Default)]
pub(crate) struct Callers {
    /// The token of the process that they belong to. A forked child has a copy of its parent's, and none of its own.
    pub(crate) process: u64,
    /// The epoch whose limits the costs refer to.
    pub(crate) epoch: u64,
    /// This process's place in the line's table; the process is in line while it has callers.
    pub(crate) place: Option<Claimed>,
    pub(crate) search: Search,
    all: BTreeMap<Key, Caller>,
    /// Those that are not late: they are not due to look, or were woken only recently.
    awake: BTreeSet<Key>,
    /// Wake-ups in order of time, including those of callers that have looked since.
    wake_ups: VecDeque<(u64, Key)>,
    /// The deadlines of the tasks among them.
    deadlines: BTreeSet<(u64, Key)>,
    tasks: usize,
    /// Whether a thread of this process tends its tasks; `tasks_word` is what that thread sleeps on while there are
    /// none.
    pub(crate) is_tended: bool,
    /// Until when that thread sleeps; 0 if it does not sleep for tasks.
    pub(crate) tended_until: u64,
    pub(crate) tasks_word: Arc<AtomicU64>,
    /// The caller that is published at the place.
    pub(crate) published: Option<Key>,
    costs: Costs,
    arrivals: u64,
    pub(crate) deferred: Vec<Deferred>,
}

impl Callers {
    /// The index of this process's place in the line's table.
    pub(crate) fn place_index(&self) -> Option<usize> {
        self.place.as_ref().map(|place| place.id.seat)
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(crate) fn has_tasks(&self) -> bool {
        self.tasks > 0
    }

    /// The sum of all their costs.
    pub(crate) fn total(&self) -> Costs {
        self.costs
    }

    /// What this caller asks of each limit; zeros if it is gone, or the limits can never admit it.
    pub(crate) fn costs(&self, key: Key) -> Costs {
        self.all.get(&key).map_or([0; MAX_LIMITS], |caller| caller.costs)
    }

    pub(crate) fn is_task(&self, key: Key) -> bool {
        self.all.get(&key).is_some_and(|caller| caller.waker.is_task())
    }

    /// Whether this caller was woken and has not looked since.
    pub(crate) fn is_woken(&self, key: Key) -> bool {
        self.all.get(&key).is_some_and(|caller| caller.woken_at != 0)
    }

    pub(crate) fn insert(&mut self, arrived: u64, caller: Caller) -> Key {
        self.arrivals += 1;
        let key = (arrived, self.arrivals);
        self.costs = sum(&self.costs, &caller.costs);
        if caller.waker.is_task() {
            self.tasks += 1;
            if self.tasks == 1 {
                self.tasks_word.fetch_add(1, Ordering::Release);
                futex::wake_all(&self.tasks_word);
            }
            if caller.latest != u64::MAX {
                self.deadlines.insert((caller.latest, key));
            }
        }
        self.all.insert(key, caller);
        self.awake.insert(key);
        key
    }

    /// Marks callers as late that were woken more than [`WAKE_GRACE`] ago and have not looked.
    pub(crate) fn mark_late(&mut self, now: u64) {
        let grace = WAKE_GRACE.as_nanos() as u64;
        while let Some(&(woken_at, key)) =
            self.wake_ups.front().filter(|(woken_at, _)| woken_at.saturating_add(grace) < now)
        {
            self.wake_ups.pop_front();
            if self.all.get(&key).is_some_and(|caller| caller.woken_at == woken_at) {
                self.awake.remove(&key);
            }
        }
    }

    pub(crate) fn remove(&mut self, key: Key) -> bool {
        let Some(caller) = self.all.remove(&key) else { return false };
        self.awake.remove(&key);
        self.costs = difference(&self.costs, &caller.costs);
        if caller.waker.is_task() {
            self.tasks -= 1;
            self.deadlines.remove(&(caller.latest, key));
        }
        self.deferred.push(Deferred::Forget(caller.waker));
        true
    }

    /// Records that this caller is looking.
    pub(crate) fn mark_awake(&mut self, key: Key, waker: &CallerWaker) {
        if let Some(caller) = self.all.get_mut(&key) {
            (caller.woken_at, caller.on_bell) = (0, false);
            self.awake.insert(key);
            // A task may be polled with a different waker each time.
            if let (CallerWaker::Task(old), CallerWaker::Task(new)) = (&mut caller.waker, waker)
                && !old.will_wake(new)
            {
                let old = std::mem::replace(old, new.clone());
                self.deferred.push(Deferred::Forget(CallerWaker::Task(old)));
            }
        }
    }

    /// Records that this caller will sleep on the bell of the place.
    pub(crate) fn set_on_bell(&mut self, key: Key) {
        if let Some(caller) = self.all.get_mut(&key) {
            caller.on_bell = true;
        }
    }

    /// Whether its own thread sleeps on the bell.
    pub(crate) fn is_on_bell(&self, key: Key) -> bool {
        self.all.get(&key).is_some_and(|caller| caller.on_bell)
    }

    /// Whether the bell wakes it: its thread sleeps on the bell, or it is a task, for which the tending thread does.
    pub(crate) fn is_woken_by_bell(&self, key: Key) -> bool {
        self.is_on_bell(key) || self.is_task(key)
    }

    /// Wakes this caller, so that it looks.
    pub(crate) fn wake(&mut self, key: Key, now: u64) {
        if let Some(caller) = self.all.get_mut(&key) {
            if caller.woken_at == 0 {
                caller.woken_at = now;
                self.wake_ups.push_back((now, key));
            }
            self.deferred.push(Deferred::Wake(caller.waker.clone()));
        }
    }

    /// Wakes all callers.
    pub(crate) fn wake_all(&mut self, now: u64) {
        for key in self.all.keys().copied().collect::<Vec<_>>() {
            self.wake(key, now);
        }
    }

    /// The first caller that is not late; if all are late, the first.
    pub(crate) fn first(&self) -> Option<Key> {
        self.awake.first().or_else(|| self.all.first_key_value().map(|(key, _)| key)).copied()
    }

    /// Whether no caller is before this one, late or not.
    pub(crate) fn is_oldest(&self, key: Key) -> bool {
        self.all.first_key_value().is_none_or(|(&first, _)| first >= key)
    }

    /// The callers that are not late, in order.
    pub(crate) fn awake(&self) -> impl Iterator<Item = Key> {
        self.awake.iter().copied()
    }

    /// How many callers are before this one, and the sum of their costs. Late ones are not counted, unless every
    /// caller of this process is before it.
    pub(crate) fn before(&self, key: Key) -> (u64, Costs) {
        if self.all.last_key_value().is_none_or(|(&last, _)| last < key) {
            return (self.all.len() as u64, self.costs);
        }
        let before = self.awake.range(..key);
        before.fold((0, [0; MAX_LIMITS]), |(n, costs), &key| (n + 1, sum(&costs, &self.costs(key))))
    }

    /// What is published at the place, with this caller first.
    pub(crate) fn front(&self, first: Key) -> Front {
        let costs = self.all.get(&first).map_or([0; MAX_LIMITS], |caller| caller.costs);
        let newest = self.all.last_key_value().map_or(0, |(key, _)| key.0);
        Front { ticket: first.0, behind: self.all.len() as u64 - 1, newest, costs, epoch: self.epoch }
    }

    /// The tasks whose deadline has passed.
    pub(crate) fn expired(&self, now: u64) -> Vec<Key> {
        self.deadlines.iter().take_while(|(latest, _)| *latest < now).map(|&(_, key)| key).collect()
    }

    /// The next task deadline that has not passed at `now`.
    pub(crate) fn next_deadline(&self, now: u64) -> u64 {
        self.deadlines.range((now, (0, 0))..).next().map_or(u64::MAX, |&(latest, _)| latest)
    }

    /// Recomputes all costs for a new epoch. Wakes the callers whose costs `of` cannot compute.
    pub(crate) fn recount(&mut self, epoch: u64, now: u64, of: impl Fn(&Ask) -> Option<Costs>) {
        self.epoch = epoch;
        self.costs = [0; MAX_LIMITS];
        let mut impossible = Vec::new();
        for (key, caller) in &mut self.all {
            caller.costs = of(&caller.ask).unwrap_or_else(|| {
                impossible.push(*key);
                [0; MAX_LIMITS]
            });
            self.costs = sum(&self.costs, &caller.costs);
        }
        impossible.into_iter().for_each(|key| self.wake(key, now));
    }
}

pub(crate) fn sum(a: &Costs, b: &Costs) -> Costs {
    std::array::from_fn(|i| a[i].saturating_add(b[i]))
}

pub(crate) fn difference(a: &Costs, b: &Costs) -> Costs {
    std::array::from_fn(|i| a[i].saturating_sub(b[i]))
}
