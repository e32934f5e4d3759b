//! The permits and turns of a worker that executes orders: taken, kept, released.

use shm_lib::{Admission, Cost, Error, Outcome, RateLimit};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

/// What it holds.
#[derive(Default)]
pub(crate) struct Holding(Vec<Admission>);

impl Holding {
    /// Obeys the order, if it is one of these. Taking answers `held AT NOW` or `denied`.
    pub(crate) fn act(
        &mut self,
        limit: Option<&RateLimit>,
        order: &str,
        number: impl Fn(usize) -> u64,
    ) -> Option<Result<String, Error>> {
        let limit = || limit.expect("an open limiter");
        Some(match order {
            "hold" => limit().try_acquire(1).map(|outcome| self.keep(outcome)),
            "hold-wait" => limit().wait().map(|admission| self.keep(Outcome::Admitted(admission))),
            "hold-ms" => limit()
                .acquire(1)
                .timeout(Duration::from_millis(number(0)))
                .wait()
                .map(|outcome| self.keep(outcome)),
            "held" => limit().inspect().map(|seen| seen.permits_held.to_string()),
            "release" => {
                drop(self.0.pop().expect("a permit"));
                Ok("ok".to_owned())
            }
            "release-elsewhere" => {
                let admission = self.0.pop().expect("a permit");
                std::thread::spawn(move || drop(admission)).join().expect("another thread");
                Ok("ok".to_owned())
            }
            "release-all" => {
                self.0.clear();
                Ok("ok".to_owned())
            }
            "schedule" => limit().schedule(1, number(0) as usize).map(|turns| turns.len().to_string()),
            "reserve" => limit().reserve(1).map(|turn| turn.cancel().to_string()),
            "settle" => match limit().try_acquire(2).map(Outcome::admission) {
                Ok(Some(mut admission)) => {
                    limit().settle(&mut admission, Cost::one()).map(|_| "ok".to_owned())
                }
                other => other.map(|_| "denied".to_owned()),
            },
            "charge" => limit().charge(Cost::from(number(0))).map(|()| "ok".to_owned()),
            "exec" => {
                let error =
                    Command::new("/proc/self/exe").args(std::env::args().skip(1)).arg("anew=1").exec();
                panic!("exec: {error}");
            }
            _ => return None,
        })
    }

    fn keep(&mut self, outcome: Outcome) -> String {
        let now = shm_lib::now().as_nanos();
        match outcome {
            Outcome::Denied(_) => "denied".to_owned(),
            Outcome::Admitted(admission) => {
                let at = admission.at().as_nanos();
                self.0.push(admission);
                format!("held {at} {now}")
            }
        }
    }
}
