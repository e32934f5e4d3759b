//! What was decided: values, not errors.

use crate::Permit;
use shm_core::clock::Nanos;
use shm_core::limit::{Cost, Refund, Unit};
use shm_core::{ChargeTotals, Denied, Receipt};
use std::time::Duration;

/// What a request got: an [`Admission`], or why it was [`Denied`].
///
/// ```
/// # fn main() -> shm_lib::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// use shm_lib::{DeniedBy, Outcome, Rate, RateLimit};
///
/// let limit = RateLimit::builder("api").directory(dir.path()).open_rate(Rate::per_second(5)?)?;
/// for _ in 0..2 {
///     match limit.try_acquire(1)? {
///         Outcome::Admitted(admission) => println!("admitted for {:?}", admission.at()),
///         Outcome::Denied(denied) => match denied.by() {
///             DeniedBy::Limit { index, retry_after } => println!("limit {index} denies it for {retry_after:?}"),
///             other => println!("denied by {other:?}"),
///         },
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a denied request must not be carried out"]
pub enum Outcome {
    /// The request is admitted.
    Admitted(Admission),
    /// Nothing was taken for it.
    Denied(Denied),
}

/// That a request is admitted. If the limiter has permits, this holds one until it is dropped.
#[derive(Debug)]
pub struct Admission {
    pub(crate) receipt: Receipt,
    pub(crate) waited_ns: u64,
    pub(crate) permit: Option<Permit>,
    pub(crate) charge: Charge,
}

/// What was charged for an admission.
#[derive(Debug)]
pub(crate) enum Charge {
    Calls(u64),
    Units(Box<(Cost, ChargeTotals)>),
    /// It has been settled.
    Settled,
    /// It was not charged: the limiter could not decide, and the caller chose to fail open.
    FailedOpen,
    /// It was not charged: the limiter is in shadow and would have denied it.
    Shadowed(Box<Denied>),
}

/// What a settlement changed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Settled {
    pub(crate) refund: Refund,
    pub(crate) debt: Option<Cost>,
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

impl Outcome {
    /// Whether the request is admitted.
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

    /// Why it was denied, if it was.
    pub fn denied(&self) -> Option<Denied> {
        match self {
            Outcome::Admitted(_) => None,
            Outcome::Denied(denied) => Some(*denied),
        }
    }

    /// After how long the same request would be admitted if no other request came; `None` if it was admitted, and where
    /// that is not known. See [`Denied::retry_after`].
    pub fn retry_after(&self) -> Option<Duration> {
        self.denied()?.retry_after()
    }
}

impl Admission {
    /// The instant that the request is admitted for. These instants keep the limit in every window; the caller's own
    /// action comes at this instant or later, whenever the operating system lets it run.
    pub fn at(&self) -> Nanos {
        self.receipt.at
    }

    /// How long the caller waited. Zero if it was admitted at once.
    pub fn waited(&self) -> Duration {
        Duration::from_nanos(self.waited_ns)
    }

    /// The permit, to be kept longer or shorter than this. `None` if the limiter has none.
    pub fn take_permit(&mut self) -> Option<Permit> {
        self.permit.take()
    }

    /// What the denial would have been, if the limiter is in shadow and would have denied the request.
    pub fn shadowed(&self) -> Option<Denied> {
        match &self.charge {
            Charge::Shadowed(denied) => Some(**denied),
            _ => None,
        }
    }
}

impl Admission {
    /// Admitted at once.
    #[inline]
    pub(crate) fn at_once(receipt: Receipt, permit: Option<Permit>, charge: Charge) -> Admission {
        Admission { receipt, waited_ns: 0, permit, charge }
    }

    /// Admitted without being charged.
    pub(crate) fn uncharged(at: Nanos, permit: Option<Permit>, charge: Charge) -> Admission {
        Admission { receipt: Receipt::of_nothing(at), waited_ns: 0, permit, charge }
    }
}

impl Charge {
    pub(crate) fn of(cost: &Cost, charged: ChargeTotals) -> Charge {
        match cost.only_calls() {
            Some(n) => Charge::Calls(n),
            None => Charge::Units(Box::new((*cost, charged))),
        }
    }
}
