//! The decision about a request: passed to the inner service, or refused with a status.

use crate::budget::Budget;
use crate::config::{LayerConfig, OnError};
use http::StatusCode;
use shm_lib::{Denied, Error, ErrorKind, Nanos, Outcome, Permit};
use std::sync::Arc;
use std::time::Duration;

/// An extension of admitted requests: when the request was admitted. A request that is [exempt](crate::RequestKey::Exempt) has it,
/// too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Admitted {
    /// The instant that the request is admitted for.
    pub at: Nanos,
    /// How long the request waited for its admission.
    pub waited: Duration,
}

/// An extension of responses whose request the limiter could not decide, or whose key could not be found, and of such a request
/// itself if it failed open: the error.
#[derive(Clone, Debug)]
pub struct Undecided(pub Arc<Error>);

/// Why a request is passed to the inner service.
pub(crate) enum Passed {
    Admitted(Admitted, Option<Permit>, Budget),
    /// The limiter could not decide.
    FailedOpen(Undecided),
}

/// Why a request is refused.
pub(crate) enum Refused {
    Denied(Denied, Budget),
    /// The extractor refuses it.
    NoKey(StatusCode),
    /// The limiter could not decide.
    Failed(StatusCode, Undecided),
}

impl LayerConfig {
    /// Not generic, unlike `call`, so that it is compiled only once.
    pub(crate) fn decide_now(&self, budget: Budget) -> Result<Passed, Refused> {
        self.decide(self.try_acquire(&budget), budget)
    }

    pub(crate) fn decide(
        &self,
        outcome: Option<shm_lib::Result<Outcome>>,
        budget: Budget,
    ) -> Result<Passed, Refused> {
        match outcome {
            None => {
                let admitted = Admitted { at: shm_lib::now(), waited: Duration::ZERO };
                Ok(Passed::Admitted(admitted, None, budget))
            }
            Some(Ok(Outcome::Admitted(mut admission))) => {
                let admitted = Admitted { at: admission.at(), waited: admission.waited() };
                Ok(Passed::Admitted(admitted, admission.take_permit(), budget))
            }
            Some(Ok(Outcome::Denied(denied))) => Err(Refused::Denied(denied, budget)),
            Some(Err(error)) => {
                let is_misconfigured =
                    matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::NeverAdmissible);
                let undecided = Undecided(Arc::new(error));
                match self.on_error {
                    _ if is_misconfigured => {
                        Err(Refused::Failed(StatusCode::INTERNAL_SERVER_ERROR, undecided))
                    }
                    OnError::FailOpen => Ok(Passed::FailedOpen(undecided)),
                    OnError::FailClosed => Err(Refused::Failed(StatusCode::SERVICE_UNAVAILABLE, undecided)),
                }
            }
        }
    }
}
