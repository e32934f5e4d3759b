//! Waiting for a key's turn, in a thread or as a future.
//!
//! | file | content |
//! |---|---|
//! | `mod` | the wait itself, the same for threads and tasks |
//! | `queues` | the callers of this process that wait for the same key, in order of arrival |
//! | `own_state` | what a forked child does not take over |
//! | `timer` | what wakes a caller at an instant: its own thread, or one thread for all tasks |
//!
//! The first caller of a key in each process tries to charge a turn; the others sleep. It sleeps until the turn is within
//! [`AHEAD`], charges it, leaves the queue to the next one, and sleeps until the turn has come. So the queue moves on at the rate
//! of the key, however late anybody wakes up, and at most the turns within `AHEAD` belong to somebody.

mod own_state;
pub(super) mod queues;
mod timer;

use super::{LimitOfKey, OwnedKey, decide};
use crate::{Admission, DeniedBy, Error, ErrorKind, Outcome, Result};
use decide::KeyCharged;
use queues::{Asked, Place, Queues};
use shm_core::clock::{self, Nanos};
use shm_core::limit::Cost;
use shm_core::{Decision, Denied, KeyAsk, Limiter, ProcessToken};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use timer::{Sleep, TaskTimer, ThreadTimer};

/// How far ahead a caller charges its turn.
const AHEAD: Duration = Duration::from_millis(20);
/// A caller looks at least this often, so that it notices changes.
const LOOK: Duration = Duration::from_secs(1);
/// How long a caller sleeps where nobody knows when it can be admitted: before a full table, or while its limiter is lost.
const RETRY: Duration = Duration::from_millis(100);

/// A number for a caller. A forked child goes on from its parent's, so that the copy of a waiting caller has a number of its own.
fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A request that may wait.
#[derive(Clone, Debug)]
pub(super) struct Request<'l, 'k> {
    pub(super) of: LimitOfKey<'l, 'k>,
    pub(super) cost: Cost,
    /// It is denied if its turn would come later.
    pub(super) latest: Nanos,
    /// It is denied if so many callers wait already.
    pub(super) max_waiters: Option<u64>,
}

/// What an attempt led to.
enum Attempt {
    Done(Outcome),
    /// Its turn has been charged, and comes at the instant of the admission.
    Booked(Admission),
    /// Another attempt makes sense at this instant.
    RetryAt(Nanos),
}

impl<'l, 'k> Request<'l, 'k> {
    pub(super) fn new(of: LimitOfKey<'l, 'k>, cost: Cost) -> Request<'l, 'k> {
        Request { of, cost, latest: Nanos::from_nanos(u64::MAX), max_waiters: None }
    }

    fn queues(&self) -> &'l Arc<Queues> {
        &self.of.limit.queues
    }

    /// Whether this denial is final: nothing will change it until the deadline.
    fn is_final(&self, denied: &Denied) -> bool {
        denied.retry_at().is_some_and(|at| at > self.latest) || clock::now() >= self.latest
    }

    /// Whether the limiter is lost, and this handle looks its name up again.
    fn can_reopen_after(&self, e: &Error) -> bool {
        e.kind().is_lost() && self.of.limit.all.binding.reopens()
    }

    /// The maximum number of callers that wait for the key in this process.
    fn max_waiters(&self) -> Result<Option<u64>> {
        let policy = self.of.limit.all.policy()?.max_waiters().map(u64::from);
        Ok(match (self.max_waiters, policy) {
            (Some(own), Some(policy)) => Some(own.min(policy)),
            (own, policy) => own.or(policy),
        })
    }
}

/// Decides the request if that needs no wait. `None`: it may have to wait.
pub(super) fn immediately(request: &Request<'_, '_>) -> Result<Option<Outcome>> {
    // Those who wait for the key come first.
    if !request.queues().is_empty() && request.queues().has(&request.of.key) {
        return Ok(None);
    }
    let all = &request.of.limit.all;
    let attempt = all.with(|limiter| {
        // With limits of all keys, the request may have to stand in their line.
        if limiter.takes_more_than_keys()? {
            Ok(None)
        } else {
            try_key(request, limiter, Duration::ZERO).map(Some)
        }
    });
    match attempt {
        Ok(Some(Attempt::Done(outcome))) => Ok(Some(outcome)),
        Ok(Some(Attempt::Booked(admission))) => {
            all.limiter().count_admitted(request.cost.call_count(), Duration::ZERO);
            Ok(Some(Outcome::Admitted(admission)))
        }
        Ok(Some(Attempt::RetryAt(_)) | None) => Ok(None),
        // Lost again right after it was reopened: a caller that may wait retries.
        Err(e) if request.can_reopen_after(&e) && request.latest > clock::now() => Ok(None),
        Err(e) => Err(e),
    }
}

/// One attempt where there are no limits of all keys.
fn try_key(request: &Request<'_, '_>, limiter: &Arc<Limiter>, ahead: Duration) -> Result<Attempt> {
    let Request { of, cost, latest, .. } = request;
    let ahead = ahead.min(latest.since(clock::now()));
    let decision = of.key.with(|key| limiter.book_key(&KeyAsk { key, cost, at: of.at }, ahead))?;
    // None: limits of all keys have been added since.
    Ok(decision.map_or(Attempt::RetryAt(clock::now()), |decision| concluded(request, limiter, decision)))
}

/// What a decision of a key alone leads to.
fn concluded(request: &Request<'_, '_>, limiter: &Arc<Limiter>, decision: Decision) -> Attempt {
    match decision {
        Decision::Admitted(_) => match decide::outcome(decision, &request.cost) {
            Outcome::Admitted(admission) => Attempt::Booked(admission),
            denied @ Outcome::Denied(_) => Attempt::Done(denied),
        },
        Decision::Denied { denied, shadow } if shadow || request.is_final(&denied) => {
            limiter.count_denied();
            Attempt::Done(decide::outcome(decision, &request.cost))
        }
        Decision::Denied { denied, .. } => {
            Attempt::RetryAt(denied.retry_at().unwrap_or(clock::now().plus(RETRY)))
        }
    }
}

/// One attempt of the first caller of its key, where there are limits of all keys: once the key has a turn, the caller stands in
/// their line, and then charges the key.
async fn attempt_in_line(request: &Request<'_, '_>) -> Result<Attempt> {
    let Request { of, cost, latest, .. } = request;
    let all = &of.limit.all;
    let (for_all, for_key) = all.with(|limiter| limiter.split_cost(cost))?;
    let key_denial = all.with(|limiter| {
        of.key.with(|key| limiter.key_denial(&KeyAsk { key, cost: &for_key, at: of.at }, false))
    })?;
    if let Some(denied) = key_denial {
        let limiter = all.limiter();
        return Ok(concluded(request, &limiter, Decision::Denied { denied, shadow: limiter.is_shadow() }));
    }
    let of_all = match all.acquire(for_all).until(*latest).await? {
        Outcome::Admitted(admission) => admission,
        denied @ Outcome::Denied(_) => return Ok(Attempt::Done(denied)),
    };
    let limiter = Arc::clone(&all.limiter());
    let charged = of.key.with(|key| {
        let ask = KeyAsk { key, cost: &for_key, at: of.at };
        decide::charge_key(&limiter, &ask, &for_all, of_all)
    });
    match charged {
        Ok(KeyCharged::Whole(admission)) => Ok(Attempt::Booked(admission)),
        Ok(KeyCharged::Denied { denied, shadow }) => {
            Ok(concluded(request, &limiter, Decision::Denied { denied, shadow }))
        }
        Ok(KeyCharged::Again) => Ok(Attempt::RetryAt(clock::now())),
        // The limiter was lost in between: again, with the next one.
        Err(e) if e.kind().is_lost() => Ok(Attempt::RetryAt(clock::now())),
        Err(e) => Err(e),
    }
}

/// Waits in a task.
pub(super) async fn in_task(request: Request<'_, '_>) -> Result<Outcome> {
    let timer = TaskTimer::of(request.queues());
    wait(&request, &timer).await
}

/// Waits in this thread. `stop`: see [`KeyAcquire::stop_when`](super::KeyAcquire::stop_when).
pub(super) fn in_thread(
    request: &Request<'_, '_>,
    stop: Option<&mut dyn FnMut() -> bool>,
) -> Result<Outcome> {
    if let Some(outcome) = immediately(request)? {
        return Ok(outcome);
    }
    let timer = ThreadTimer::default();
    timer.run(wait(request, &timer), stop).unwrap_or_else(|| {
        let why = "the wait was ended by the caller's own condition";
        Err(Error::new(ErrorKind::Interrupted, why).at(request.of.limit.name(), request.of.limit.path()))
    })
}

/// Waits until the request is admitted or denied.
async fn wait<S: Sleep>(request: &Request<'_, '_>, timer: &S) -> Result<Outcome> {
    let began = clock::now();
    let key: OwnedKey = request.of.key.clone().into_owned();
    let all = &request.of.limit.all;
    loop {
        let asked = Asked { cost: request.cost, at: request.of.at };
        let place = match request.queues().join(key.clone(), asked, request.latest, request.max_waiters()?) {
            Ok(place) => place,
            Err(waiting) => {
                all.limiter().count_denied();
                return Ok(Outcome::Denied(Denied::new(DeniedBy::Line { waiting }, clock::now())));
            }
        };
        let booked = match stand(request, timer, &place).await? {
            Ok(booked) => booked,
            Err(outcome) => return Ok(outcome),
        };
        let receipt = booked.receipt;
        // Before the check: a child that is forked after it has another token.
        let process = ProcessToken::current();
        if booked.is_charged() && !all.limiter().belongs_to_this_process(&receipt) {
            // A child that was forked right after the charge, or another limiter by now.
            continue;
        }
        let turn = place.leave_with(booked, process);
        timer.sleep_until(receipt.at).await;
        let limiter = Arc::clone(&all.limiter());
        // The turn is charged, so a change of the rate leaves it as it is. But a pause may have begun meanwhile.
        if limiter.is_stale(&receipt) && limiter.paused_until(clock::now())?.is_some() {
            // Nobody may use this turn any more.
            drop(turn.take());
            continue;
        }
        // In a child that was forked meanwhile, the turn is the parent's.
        let Some(mut admission) = turn.take() else { continue };
        let waited = clock::now().since(began);
        if !admission.is_of_all_keys() {
            // Otherwise it was counted in the line of the limits of all keys.
            limiter.count_admitted(request.cost.call_count(), waited);
        }
        admission.waited_ns = waited.as_nanos() as u64;
        return Ok(Outcome::Admitted(admission));
    }
}

/// Stands in the queue of the key until its turn is charged; or the outcome without one.
async fn stand<S: Sleep>(
    request: &Request<'_, '_>,
    timer: &S,
    place: &Place,
) -> Result<std::result::Result<Admission, Outcome>> {
    loop {
        if !place.is_first().await {
            // Behind others: until the deadline, or until the place becomes the first.
            if clock::now() >= request.latest {
                return Ok(Err(Outcome::Denied(denied_behind_others(request)?)));
            }
            place.doze_until(request.latest.min(clock::now().plus(LOOK)), timer, false).await;
            continue;
        }
        if let Some(booked) = place.take_inherited() {
            return Ok(Ok(booked));
        }
        let takes_more = request.of.limit.all.with(|limiter| limiter.takes_more_than_keys());
        // Where there are limits of all keys, both are charged for one instant, which must have come.
        let early = if takes_more.as_ref().is_ok_and(|more| *more) { Duration::ZERO } else { AHEAD / 2 };
        let attempt = match takes_more {
            Ok(true) => place.looking(timer, attempt_in_line(request)).await,
            Ok(false) => request.of.limit.all.with(|limiter| try_key(request, limiter, AHEAD)),
            Err(e) => Err(e),
        };
        let retry_at = match attempt {
            Ok(Attempt::Booked(admission)) => return Ok(Ok(admission)),
            Ok(Attempt::Done(outcome)) => return Ok(Err(outcome)),
            Ok(Attempt::RetryAt(at)) => at,
            // Lost again right after it was reopened; the name is looked up again soon.
            Err(e) if request.can_reopen_after(&e) && clock::now().plus(RETRY) < request.latest => {
                clock::now().plus(RETRY)
            }
            Err(e) => return Err(e),
        };
        let now = clock::now();
        // Early enough to charge the turn ahead, unless that has just been refused, and never in a tight loop.
        let next = if retry_at.since(now) > early { retry_at - early } else { retry_at };
        let next = next.max(now.plus(Duration::from_micros(50)));
        place.doze_until(next.min(now.plus(LOOK)).min(request.latest.max(now)), timer, true).await;
    }
}

/// The denial of a caller whose deadline comes while others stand before it. If the key itself denies nothing, it may ask again
/// immediately.
fn denied_behind_others(request: &Request<'_, '_>) -> Result<Denied> {
    let Request { of, cost, .. } = request;
    let limiter = Arc::clone(&of.limit.all.limiter());
    limiter.count_denied();
    let (_, for_key) = limiter.split_cost(cost)?;
    let denied = of.key.with(|key| limiter.key_denial(&KeyAsk { key, cost: &for_key, at: of.at }, false))?;
    let soon = DeniedBy::KeyLimit { index: 0, retry_after: Duration::ZERO, inherited: false };
    Ok(denied.unwrap_or(Denied::new(soon, clock::now())))
}
