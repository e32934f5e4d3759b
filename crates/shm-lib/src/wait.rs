//! Waiting: reserve, then sleep. The turn is taken first, so waiting is first come, first served.

use crate::{Admission, Denial, Outcome};
use shm_core::clock::{self, Nanos};
use shm_core::{Decision, Error, ErrorKind, Limiter, Reservation, Result};
use std::time::{Duration, Instant};

/// Takes `tokens` and sleeps until their turn. A turn after `deadline` is not taken.
pub(crate) fn wait(
    limiter: &Limiter,
    tokens: u64,
    deadline: Option<Instant>,
    mut stop: impl FnMut() -> bool,
) -> Result<Outcome> {
    let began = clock::now();
    let latest = deadline.map_or(Nanos::from_nanos(u64::MAX), |deadline| {
        began.plus(deadline.saturating_duration_since(Instant::now()))
    });
    let mut heard_news = false;
    loop {
        let reservation = match limiter.reserve(tokens, latest)? {
            Decision::Admitted(reservation) => reservation,
            Decision::Denied { ready, now } => {
                limiter.count_denied();
                return Ok(Outcome::Denied(Denial { ready, now }));
            }
        };
        match sleep_until_turn(limiter, &reservation, &mut stop)? {
            Turn::Come(now) => {
                let at_once = now == reservation.now && !heard_news;
                let waited = if at_once { Duration::ZERO } else { now.since(began) };
                limiter.count_admitted(&reservation, waited);
                return Ok(Outcome::Admitted(Admission { at: reservation.at, waited }));
            }
            // The terms have changed, and the queue is dropped: ask again.
            Turn::Void => heard_news = true,
            Turn::Unwanted => {
                let what = if limiter.cancel(reservation) { "given back" } else { "forfeited" };
                let message = format!("the wait was interrupted; the turn was {what}");
                return Err(
                    Error::new(ErrorKind::Interrupted, message).at(limiter.name().as_str(), limiter.path())
                );
            }
        }
    }
}

enum Turn {
    /// Found to have come at this instant.
    Come(Nanos),
    /// The terms have changed.
    Void,
    /// The caller stopped waiting.
    Unwanted,
}

fn sleep_until_turn(
    limiter: &Limiter,
    reservation: &Reservation,
    stop: &mut impl FnMut() -> bool,
) -> Result<Turn> {
    if reservation.at == reservation.now {
        return Ok(Turn::Come(reservation.now));
    }
    loop {
        // In this order: a turn that came before the news counts as used, and is.
        let now = clock::now();
        if limiter.is_void(reservation) {
            return Ok(Turn::Void);
        }
        if now >= reservation.at {
            return Ok(Turn::Come(now));
        }
        if stop() {
            return Ok(Turn::Unwanted);
        }
        limiter.sleep(reservation, now)?;
    }
}
