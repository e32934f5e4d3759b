//! The library with a mistake: the suite has to find each of them.

use crate::library::Library;
use crate::protocol::{Answer, Front, Request, answer, done};
use serde_json::{Value, json};
use std::time::Duration;

/// How a front can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mistake {
    /// It denies nothing.
    AdmitsAll,
    /// It does not wait.
    NeverWaits,
    /// It says that it was admitted 50 ms before it was.
    Early,
    /// It takes one call, whatever is asked for.
    TakesOne,
    /// It says that a permit was given back, and keeps it.
    KeepsPermits,
    /// It says that it settled.
    DoesNotSettle,
    /// It asks to try again a second too early.
    AsksTooEarly,
    /// All keys are one.
    OneKey,
    /// It hides the shadow mode.
    HidesShadow,
    /// It tells callers that waited a second too late that they are admitted.
    Oversleeps,
}

impl Mistake {
    pub(crate) fn named(name: &str) -> Option<Mistake> {
        Some(match name {
            "admits-all" => Mistake::AdmitsAll,
            "never-waits" => Mistake::NeverWaits,
            "early" => Mistake::Early,
            "takes-one" => Mistake::TakesOne,
            "keeps-permits" => Mistake::KeepsPermits,
            "does-not-settle" => Mistake::DoesNotSettle,
            "asks-too-early" => Mistake::AsksTooEarly,
            "one-key" => Mistake::OneKey,
            "hides-shadow" => Mistake::HidesShadow,
            "oversleeps" => Mistake::Oversleeps,
            _ => return None,
        })
    }
}

pub(crate) struct Wrong {
    library: Library,
    mistake: Mistake,
}

impl Wrong {
    pub(crate) fn new(mistake: Mistake) -> Wrong {
        Wrong { library: Library::default(), mistake }
    }
}

impl Front for Wrong {
    fn perform(&self, request: &Request) -> Answer {
        let mut request = request.clone();
        match (self.mistake, request.op.as_str()) {
            (Mistake::NeverWaits, "acquire") => "try".clone_into(&mut request.op),
            (Mistake::KeepsPermits, "release") | (Mistake::DoesNotSettle, "settle") => return done(),
            (Mistake::OneKey, _) => request.key = request.key.map(|_| "key".to_owned()),
            (Mistake::TakesOne, "try" | "acquire") => request.cost.values_mut().for_each(|n| *n = 1),
            _ => {}
        }
        let mut got = self.library.perform(&request);
        match self.mistake {
            Mistake::AdmitsAll | Mistake::NeverWaits if got["outcome"] == "denied" => {
                let at = shm_lib::now().as_nanos();
                return answer("admitted", json!({"at_ns": at, "shadowed": false}));
            }
            Mistake::Early => {
                if let Some(at) = got.get("at_ns").and_then(Value::as_u64) {
                    got.insert("at_ns".to_owned(), json!(at - 50_000_000));
                }
            }
            Mistake::AsksTooEarly => {
                if let Some(time) = got.get("retry_after_s").and_then(Value::as_f64) {
                    got.insert("retry_after_s".to_owned(), json!((time - 1.0).max(0.0)));
                }
            }
            Mistake::Oversleeps if request.op == "acquire" => std::thread::sleep(Duration::from_secs(1)),
            Mistake::HidesShadow if got["outcome"] == "admitted" => {
                got.insert("shadowed".to_owned(), json!(false));
            }
            _ => {}
        }
        got
    }
}
