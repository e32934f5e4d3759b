//! Waiting: reserve, then sleep. The turn is taken first, so waiting is first come, first served.

use crate::outcome::Paid;
use crate::{Admission, Denial, Outcome, Permit};
use shm_core::clock::{self, Nanos};
use shm_core::limit::Request;
use shm_core::{Decision, Error, ErrorKind, Limiter, Receipt, Reservation, Result};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// As an instant of the clock that all processes share.
pub(crate) fn latest(deadline: Option<Instant>) -> Nanos {
    deadline.map_or(Nanos::from_nanos(u64::MAX), |deadline| {
        clock::now().plus(deadline.saturating_duration_since(Instant::now()))
    })
}

/// Takes what is requested and sleeps until its turn. A turn after `deadline` is not taken. If there are permits it
/// takes one first: it is held while the turn is waited for.
pub(crate) fn wait(
    limiter: &Arc<Limiter>,
    request: &Request,
    deadline: Option<Instant>,
    mut stop: impl FnMut() -> bool,
) -> Result<Outcome> {
    let began = clock::now();
    let latest = latest(deadline);
    let permit = match for_permit(limiter, latest, &mut stop)? {
        Ok(permit) => permit,
        Err(denial) => {
            limiter.count_denied();
            return Ok(Outcome::Denied(denial));
        }
    };
    let mut heard_news = false;
    loop {
        let reservation = match limiter.reserve(request, latest)? {
            Ok(reservation) => reservation,
            Err(Decision::Denied { ready, now }) => {
                limiter.count_denied();
                return Ok(Outcome::Denied(Denial { ready, now }));
            }
            Err(Decision::Admitted { .. }) => unreachable!("admitted without a reservation"),
        };
        match sleep_until_turn(limiter, &reservation, &mut stop)? {
            Turn::Come(now) => {
                let receipt = reservation.receipt;
                let at_once = now == reservation.now && !heard_news && permit.waited.is_zero();
                let waited = if at_once { Duration::ZERO } else { now.since(began) };
                limiter.count_admitted(request.call_count(), waited);
                let paid = Paid::for_request(request, receipt, reservation.charged);
                return Ok(Outcome::Admitted(Admission {
                    at: receipt.at,
                    waited_ns: waited.as_nanos() as u64,
                    permit: permit.permit,
                    paid,
                }));
            }
            // The terms have changed, and the queue is dropped: ask again.
            Turn::Void => heard_news = true,
            Turn::Unwanted => return Err(interrupted(limiter, Some(reservation))),
        }
    }
}

struct WithPermit {
    permit: Option<Permit>,
    waited: Duration,
}

/// A permit, where there are permits. A denial if none is free by `latest`.
fn for_permit(
    limiter: &Arc<Limiter>,
    latest: Nanos,
    stop: &mut impl FnMut() -> bool,
) -> Result<std::result::Result<WithPermit, Denial>> {
    let began = clock::now();
    while limiter.has_permits() {
        let now = clock::now();
        if let Some(held) = limiter.wait_for_permit(now, latest)? {
            let waited = if clock::now().since(began) < Duration::from_millis(1) {
                Duration::ZERO
            } else {
                now.since(began)
            };
            return Ok(Ok(WithPermit { permit: Some(Permit::new(limiter, held)), waited }));
        }
        limiter.check_still_there()?;
        let now = clock::now();
        if now >= latest {
            return Ok(Err(Denial { ready: now, now }));
        }
        if stop() {
            return Err(interrupted(limiter, None));
        }
    }
    Ok(Ok(WithPermit { permit: None, waited: Duration::ZERO }))
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
        if let Some(turn) = look(limiter, reservation) {
            return Ok(turn);
        }
        if stop() {
            return Ok(Turn::Unwanted);
        }
        limiter.sleep(&reservation.receipt, clock::now())?;
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
