//! The decision about a request: passed to the inner service, or refused with a status.

use crate::config::{LayerConfig, OnError};
use http::StatusCode;
use shm_lib::{Denied, Error, ErrorKind, Nanos, Outcome, Permit};
use std::sync::Arc;
use std::time::Duration;

/// An extension of admitted requests: when the request was admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Admitted {
    /// The instant that the request is admitted for.
    pub at: Nanos,
    /// How long the request waited for its admission.
    pub waited: Duration,
}

/// An extension of responses whose request the limiter could not decide, and of such a request itself if it failed open: the
/// error.
#[derive(Clone, Debug)]
pub struct Undecided(pub Arc<Error>);

/// Why a request is passed to the inner service.
pub(crate) enum Passed {
    Admitted(Admitted, Option<Permit>),
    /// The limiter could not decide.
    FailedOpen(Undecided),
}

/// Why a request is refused.
pub(crate) enum Refused {
    Denied(Denied),
    /// The limiter could not decide.
    Failed(StatusCode, Undecided),
}

impl LayerConfig {
    /// Not generic, unlike `call`, so that it is compiled only once.
    pub(crate) fn decide_now(&self) -> Result<Passed, Refused> {
        self.decide(self.limit.try_acquire(self.cost))
    }

    pub(crate) fn decide(&self, outcome: shm_lib::Result<Outcome>) -> Result<Passed, Refused> {
        match outcome {
            Ok(Outcome::Admitted(mut admission)) => {
                let admitted = Admitted { at: admission.at(), waited: admission.waited() };
                Ok(Passed::Admitted(admitted, admission.take_permit()))
            }
            Ok(Outcome::Denied(denied)) => Err(Refused::Denied(denied)),
            Err(error) => {
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
