//! What was decided: values, not errors.

use crate::Permit;
use shm_core::clock::Nanos;
use shm_core::limit::{Refund, Request, Unit};
use shm_core::{Charged, Receipt};
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// What a request got.
#[derive(Debug)]
#[must_use = "a denied request must not be carried out"]
pub enum Outcome {
    /// The tokens are taken; go ahead.
    Admitted(Admission),
    /// Nothing was taken.
    Denied(Denial),
}

/// Tokens that were taken, and the permit if the limiter has permits: it is held until this is dropped.
#[derive(Debug)]
pub struct Admission {
    pub(crate) receipt: Receipt,
    pub(crate) waited_ns: u64,
    pub(crate) permit: Option<Permit>,
    pub(crate) paid: Paid,
}

/// For what an admission was charged.
#[derive(Debug)]
pub(crate) enum Paid {
    Calls(u64),
    Units(Box<(Request, Charged)>),
    /// It has been settled.
    Settled,
    /// The limiter could not decide, and it was admitted all the same.
    Nothing,
    /// The limiter is in shadow and would have denied.
    Shadowed(Box<Denial>),
}

/// What a settlement changed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Settled {
    pub(crate) refund: Refund,
    pub(crate) debt: Option<Request>,
}

impl Settled {
    /// How much of this unit was given back, by all limits that count it. A bucket gives back fractions: what time has
    /// refilled since the admission can't be given back once more.
    pub fn given_back(&self, unit: Unit) -> f64 {
        self.refund.amount(unit)
    }

    /// How much of this unit was charged besides, since the estimate was too low.
    pub fn charged(&self, unit: Unit) -> u64 {
        self.debt.and_then(|debt| debt.amount(unit)).unwrap_or(0)
    }

    /// Whether nothing was given back and nothing charged.
    pub fn is_nothing(&self) -> bool {
        self.refund.is_nothing() && self.debt.is_none()
    }
}

/// A refusal. Nothing was taken, nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denial {
    pub(crate) ready: Nanos,
    pub(crate) now: Nanos,
}

impl Outcome {
    /// Whether the tokens are taken.
    #[inline]
    pub fn is_admitted(&self) -> bool {
        matches!(self, Outcome::Admitted(_))
    }

    /// The admission, if it is one.
    pub fn admission(self) -> Option<Admission> {
        match self {
            Outcome::Admitted(admission) => Some(admission),
            Outcome::Denied(_) => None,
        }
    }

    /// After how long the same request would be admitted, if it was denied and nobody else asks.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Outcome::Admitted(_) => None,
            Outcome::Denied(denial) => Some(denial.retry_after()),
        }
    }
}

impl Admission {
    /// The instant that the tokens were taken for. These instants keep the limit in every window; the caller's own
    /// action comes at this instant or later, whenever the operating system lets it run.
    pub fn at(&self) -> Nanos {
        self.receipt.at
    }

    /// How long the caller waited for it. Zero if it was admitted at once.
    pub fn waited(&self) -> Duration {
        Duration::from_nanos(self.waited_ns)
    }

    /// The permit, to be kept longer or shorter than this. `None` if the limiter has none.
    pub fn take_permit(&mut self) -> Option<Permit> {
        self.permit.take()
    }

    /// What would have been the refusal, if the limiter is in shadow and would have refused.
    pub fn shadowed(&self) -> Option<Denial> {
        match &self.paid {
            Paid::Shadowed(denial) => Some(**denial),
            _ => None,
        }
    }
}

impl Denial {
    /// After how long the same request would be admitted, if nobody else asks: not a nanosecond sooner. Where all
    /// permits are held nobody knows; then it is zero.
    pub fn retry_after(&self) -> Duration {
        self.ready.since(self.now)
    }

    /// The same, and up to `spread` more, at random: so that those who were denied together don't come back together.
    pub fn retry_after_jittered(&self, spread: Duration) -> Duration {
        // A hasher's random keys differ each time.
        let part = RandomState::new().hash_one(self.now.as_nanos()) as f64 / u64::MAX as f64;
        self.retry_after() + spread.mul_f64(part)
    }

    /// Whether it is the permits that are all held, so that nobody knows when to come back.
    pub fn is_for_permits(&self) -> bool {
        self.ready <= self.now
    }

    /// The same as an instant.
    pub fn ready_at(&self) -> Nanos {
        self.ready
    }
}

impl Admission {
    /// Admitted at once.
    #[inline]
    pub(crate) fn at_once(receipt: Receipt, permit: Option<Permit>, paid: Paid) -> Admission {
        Admission { receipt, waited_ns: 0, permit, paid }
    }

    /// Admitted without asking the limits.
    pub(crate) fn unasked(at: Nanos, permit: Option<Permit>, paid: Paid) -> Admission {
        Admission { receipt: Receipt::of_nothing(at), waited_ns: 0, permit, paid }
    }
}

impl Paid {
    pub(crate) fn for_request(request: &Request, charged: Charged) -> Paid {
        match request.only_calls() {
            Some(n) => Paid::Calls(n),
            None => Paid::Units(Box::new((*request, charged))),
        }
    }
}
