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
        if let Some(now) = sleep_until_turn(limiter, &reservation, &mut stop)? {
            let at_once = now == reservation.now && !heard_news;
            let waited = if at_once { Duration::ZERO } else { now.since(began) };
            limiter.count_admitted(&reservation, waited);
            return Ok(Outcome::Admitted(Admission { at: reservation.at, waited }));
        }
        // The terms have changed: the turn is void, and the queue with it.
        heard_news = true;
    }
}

/// When the turn was found to have come; `None` if it is void.
fn sleep_until_turn(
    limiter: &Limiter,
    reservation: &Reservation,
    stop: &mut impl FnMut() -> bool,
) -> Result<Option<Nanos>> {
    if reservation.at == reservation.now {
        return Ok(Some(reservation.now));
    }
    loop {
        // In this order: a turn that came before the news counts as used, and is.
        let now = clock::now();
        if limiter.is_void(reservation) {
            return Ok(None);
        }
        if now >= reservation.at {
            return Ok(Some(now));
        }
        if stop() {
            limiter.cancel(reservation);
            return Err(Error::new(
                ErrorKind::Interrupted,
                "the wait was interrupted; the turn was given back",
            )
            .at(limiter.name().as_str(), limiter.path()));
        }
        limiter.sleep(reservation, now)?;
    }
}
