//! Waiting: reserve, then sleep. The turn is taken first, so waiting is first come, first served.

use crate::outcome::Paid;
use crate::{Admission, Denial, Outcome, Permit, RateLimit};
use shm_core::clock::{self, Nanos};
use shm_core::limit::Request;
use shm_core::{Error, ErrorKind, Limiter, Receipt, Reservation, Reserved, Result};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The latest turn that is wanted, by the clock that all processes share. A deadline that is over already wants only what
/// is to be had at once.
pub(crate) fn latest(deadline: Option<Instant>) -> Nanos {
    let Some(deadline) = deadline else { return Nanos::from_nanos(u64::MAX) };
    match deadline.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Nanos::from_nanos(0),
        left => clock::now().plus(left),
    }
}

/// Takes what is requested and sleeps until its turn. A turn after `deadline` is not taken. If there are permits it
/// takes one first: it is held while the turn is waited for. In shadow it never waits.
pub(crate) fn wait(
    limit: &RateLimit,
    request: &Request,
    deadline: Option<Instant>,
    mut stop: impl FnMut() -> bool,
) -> Result<Outcome> {
    let limiter = &limit.limiter;
    let latest = latest(deadline);
    let mut permit = None;
    // When the first sleep began, if there was one.
    let mut asleep = None;
    // Once more after each change: there may be permits now, or shadow.
    loop {
        // A child that was forked by `stop`, or in a signal handler, has a copy of its parent's.
        permit = permit.filter(Permit::is_ours);
        if limiter.is_shadow() {
            return limit.try_request(request);
        }
        if permit.is_none() {
            match for_permit(limiter, request, latest, &mut asleep, &mut stop)? {
                Ok(found) => permit = found,
                Err(denial) => return Ok(denied(limiter, denial)),
            }
        }
        let reservation = match limiter.reserve(request, latest)? {
            Reserved::Turn(reservation) => reservation,
            Reserved::Denied { ready, now } => return Ok(denied(limiter, Denial { ready, now })),
        };
        match sleep_until_turn(limiter, &reservation, &mut stop) {
            Ok(Turn::Come(_)) if permit.as_ref().is_some_and(|permit| !permit.is_ours()) => {}
            Ok(Turn::Come(now)) => {
                let receipt = reservation.receipt;
                let began = asleep.unwrap_or(reservation.now);
                let waited = now.since(began);
                limiter.count_admitted(request.call_count(), waited);
                let paid = Paid::for_request(request, reservation.charged);
                let waited_ns = waited.as_nanos() as u64;
                return Ok(Outcome::Admitted(Admission { receipt, waited_ns, permit, paid }));
            }
            // The terms have changed, and the queue is dropped: ask again.
            Ok(Turn::Void) => asleep = asleep.or(Some(reservation.now)),
            Ok(Turn::Unwanted) => return Err(interrupted(limiter, Some(reservation))),
            Err(e) => {
                limiter.cancel(reservation);
                return Err(e);
            }
        }
    }
}

fn denied(limiter: &Limiter, denial: Denial) -> Outcome {
    limiter.count_denied();
    Outcome::Denied(denial)
}

/// A permit, where there are permits. A denial if none is free by `latest`.
fn for_permit(
    limiter: &Arc<Limiter>,
    request: &Request,
    latest: Nanos,
    asleep: &mut Option<Nanos>,
    stop: &mut impl FnMut() -> bool,
) -> Result<std::result::Result<Option<Permit>, Denial>> {
    let wanted = || limiter.has_permits() && !limiter.is_shadow();
    if !wanted() {
        return Ok(Ok(None));
    }
    let mut held = limiter.take_permit()?;
    if held.is_none() {
        limiter.check(request)?;
    }
    while held.is_none() && wanted() {
        let now = clock::now();
        asleep.get_or_insert(now);
        if now >= latest {
            return Ok(Err(Denial { ready: now, now }));
        }
        if stop() {
            return Err(interrupted(limiter, None));
        }
        limiter.check_still_there()?;
        held = limiter.wait_for_permit(now, latest)?;
    }
    Ok(Ok(held.map(|held| Permit::new(limiter, held))))
}

fn interrupted(limiter: &Limiter, reservation: Option<Reservation>) -> Error {
    let what = match reservation.map(|reservation| limiter.cancel(reservation)) {
        None => "nothing was taken",
        Some(true) => "the turn was given back",
        Some(false) => "the turn was forfeited",
    };
    Error::new(ErrorKind::Interrupted, format!("the wait was interrupted; {what}"))
        .at(limiter.name().as_str(), limiter.path())
}

pub(crate) enum Turn {
    /// Found to have come at this instant.
    Come(Nanos),
    /// The terms have changed.
    Void,
    /// The caller stopped waiting.
    Unwanted,
}

/// Where a turn stands.
pub(crate) fn look(limiter: &Limiter, reservation: &Reservation) -> Option<Turn> {
    let receipt = &reservation.receipt;
    if receipt.at == reservation.now {
        return Some(Turn::Come(reservation.now));
    }
    // In this order: a turn that came before the news counts as used, and is.
    let now = clock::now();
    if limiter.is_void(receipt) {
        return Some(Turn::Void);
    }
    (now >= receipt.at).then_some(Turn::Come(now))
}

fn sleep_until_turn(
    limiter: &Limiter,
    reservation: &Reservation,
    stop: &mut impl FnMut() -> bool,
) -> Result<Turn> {
    loop {
        if !limiter.is_ours(&reservation.receipt) {
            // Forked by `stop`, or in a signal handler: the turn is the parent's.
            return Ok(Turn::Void);
        }
        if let Some(turn) = look(limiter, reservation) {
            return Ok(turn);
        }
        if stop() {
            return Ok(Turn::Unwanted);
        }
        if limiter.is_ours(&reservation.receipt) {
            limiter.sleep(&reservation.receipt, clock::now())?;
        }
    }
}

/// Sleeps until a turn that is kept whatever is changed.
pub(crate) fn until(limiter: &Limiter, receipt: &Receipt) -> Result<Nanos> {
    loop {
        let now = clock::now();
        if now >= receipt.at {
            return Ok(now);
        }
        if limiter.is_void(receipt) {
            // Its epoch is over, so there is nothing to hear on it any more.
            limiter.check_still_there()?;
            std::thread::sleep(receipt.at.since(now).min(Duration::from_secs(1)));
        } else {
            limiter.sleep(receipt, now)?;
        }
    }
}
