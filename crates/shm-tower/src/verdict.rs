//! What becomes of a request.

use crate::config::{LayerConfig, OnError};
use http::StatusCode;
use shm_lib::{Denied, Error, ErrorKind, Nanos, Outcome, Permit};
use std::sync::Arc;
use std::time::Duration;

/// In the extensions of a request that was admitted: when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// The instant that it is admitted for.
    pub at: Nanos,
    /// How long the request waited for it.
    pub waited: Duration,
}

/// In the extensions of a response whose request the limiter could not decide, and of the request if it was admitted
/// all the same: why.
#[derive(Clone, Debug)]
pub struct Undecided(pub Arc<Error>);

/// Why a request passes.
pub(crate) enum Passed {
    Admitted(Admitted, Option<Permit>),
    /// The limiter could not decide.
    FailedOpen(Undecided),
}

/// Why it does not.
pub(crate) enum Refused {
    Denied(Denied),
    /// The limiter could not decide.
    Failed(StatusCode, Undecided),
}

impl LayerConfig {
    /// Not part of `call`, so that it is compiled once and not for each service.
    pub(crate) fn judge_now(&self) -> Result<Passed, Refused> {
        self.judge(self.limit.try_acquire(self.cost))
    }

    pub(crate) fn judge(&self, outcome: shm_lib::Result<Outcome>) -> Result<Passed, Refused> {
        match outcome {
            Ok(Outcome::Admitted(mut admission)) => {
                let admitted = Admitted { at: admission.at(), waited: admission.waited() };
                Ok(Passed::Admitted(admitted, admission.take_permit()))
            }
            Ok(Outcome::Denied(denied)) => Err(Refused::Denied(denied)),
            Err(error) => {
                let mistake = matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::NeverAdmissible);
                let undecided = Undecided(Arc::new(error));
                match self.on_error {
                    _ if mistake => Err(Refused::Failed(StatusCode::INTERNAL_SERVER_ERROR, undecided)),
                    OnError::FailOpen => Ok(Passed::FailedOpen(undecided)),
                    OnError::FailClosed => Err(Refused::Failed(StatusCode::SERVICE_UNAVAILABLE, undecided)),
                }
            }
        }
    }
}
