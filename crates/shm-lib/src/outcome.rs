//! Decisions: an admission or a denial. A denial is a value, not an error.

use crate::Permit;
use shm_core::clock::Nanos;
use shm_core::limit::{Cost, Refund, Unit};
use shm_core::{ChargeTotals, Denied, Receipt};
use std::time::Duration;

/// The decision about a request: an [`Admission`] or a denial.
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
///             DeniedBy::Limit { index, retry_after } => println!("limit {index} admits it in {retry_after:?}"),
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
    /// The request is denied, and nothing was charged for it.
    Denied(Denied),
}

/// An admitted request. If the limiter has permits, this holds one until it is dropped; otherwise dropping it does nothing.
///
/// In a forked child a copy of it does nothing. When its process is killed, its cost stays used, and its permit is reclaimed
/// (see [`Permit`]).
///
/// ```
/// # fn main() -> shm_lib::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// use shm_lib::RateLimit;
/// use std::time::Duration;
///
/// let limit = RateLimit::builder("render").directory(dir.path()).permits(1).open(100, Duration::from_secs(1))?;
/// let admission = limit.wait()?; // holds the only permit
/// assert!(!limit.try_acquire(1)?.is_admitted());
/// println!("admitted at {:?} after {:?}", admission.at(), admission.waited());
/// drop(admission); // releases it
/// assert!(limit.wait().is_ok());
/// # Ok(())
/// # }
/// ```
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
    /// To a key, and to nothing else.
    KeyCalls(u64),
    /// To a key, and to the limits of all keys.
    Key(Box<KeyCharge>),
    /// The admission was settled.
    Settled,
    /// Not charged: the limiter could not decide, and the caller chose to fail open.
    FailedOpen,
    /// Not charged: the limiter is in shadow mode and would have denied the request.
    Shadowed(Box<Denied>),
}

/// What was charged for an admission of a key.
#[derive(Debug)]
pub(crate) struct KeyCharge {
    /// To the limits per key.
    pub(crate) cost: Cost,
    /// To the limits of all keys; `None` if there are none. Its permit is in the whole admission.
    pub(crate) all: Option<Admission>,
}

/// What [`RateLimit::settle`](crate::RateLimit::settle) gave back or charged in addition. Its example shows one.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Settled {
    pub(crate) refund: Refund,
    pub(crate) debt: Option<Cost>,
}

impl Settled {
    /// How much of this unit was given back, over all limits that count it. A bucket may give back a fraction: what it has
    /// refilled since the admission is not given back a second time.
    pub fn given_back(&self, unit: Unit) -> f64 {
        self.refund.amount(unit)
    }

    /// How much of this unit was charged in addition, because the estimate was too low.
    pub fn charged(&self, unit: Unit) -> u64 {
        self.debt.and_then(|debt| debt.amount(unit)).unwrap_or(0)
    }

    /// Whether nothing was given back and nothing was charged.
    pub fn is_empty(&self) -> bool {
        self.refund.is_empty() && self.debt.is_none()
    }
}

impl Outcome {
    /// Whether the request is admitted.
    #[inline]
    pub fn is_admitted(&self) -> bool {
        matches!(self, Outcome::Admitted(_))
    }

    /// The admission, or `None` if the request was denied.
    pub fn admission(self) -> Option<Admission> {
        match self {
            Outcome::Admitted(admission) => Some(admission),
            Outcome::Denied(_) => None,
        }
    }

    /// The denial, or `None` if the request was admitted.
    pub fn denied(&self) -> Option<Denied> {
        match self {
            Outcome::Admitted(_) => None,
            Outcome::Denied(denied) => Some(*denied),
        }
    }

    /// How long until the same request would be admitted if no other request arrived. `None` if it was admitted, or if that
    /// is not known. See [`Denied::retry_after`].
    pub fn retry_after(&self) -> Option<Duration> {
        self.denied()?.retry_after()
    }
}

impl Admission {
    /// The instant for which the request is admitted. These instants obey the limit in every window. The caller itself acts at
    /// this instant or later, whenever the operating system schedules it.
    pub fn at(&self) -> Nanos {
        self.receipt.at
    }

    /// How long the caller waited; zero if it was admitted immediately.
    pub fn waited(&self) -> Duration {
        Duration::from_nanos(self.waited_ns)
    }

    /// Takes the permit out, to hold it for longer or shorter than this admission. `None` if the limiter has no permits, or
    /// if it was taken out before.
    #[must_use = "the permit is released when it is dropped"]
    pub fn take_permit(&mut self) -> Option<Permit> {
        self.permit.take()
    }

    /// Whether it holds a permit: the limiter has permits, and this one was not taken out.
    #[inline]
    pub fn holds_permit(&self) -> bool {
        self.permit.is_some()
    }

    /// The denial that shadow mode suppressed; `None` if the request was really admitted.
    pub fn shadowed(&self) -> Option<Denied> {
        match &self.charge {
            Charge::Shadowed(denied) => Some(**denied),
            _ => None,
        }
    }
}

impl Admission {
    /// Admitted without waiting.
    #[inline]
    pub(crate) fn immediate(receipt: Receipt, permit: Option<Permit>, charge: Charge) -> Admission {
        Admission { receipt, waited_ns: 0, permit, charge }
    }

    /// Whether anything was charged for it.
    pub(crate) fn is_charged(&self) -> bool {
        !matches!(self.charge, Charge::FailedOpen | Charge::Shadowed(_))
    }

    /// Whether it is that of a key, and the limits of all keys were charged, too.
    pub(crate) fn is_of_all_keys(&self) -> bool {
        matches!(&self.charge, Charge::Key(charge) if charge.all.is_some())
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
