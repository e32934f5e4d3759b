//! The library `shm-lib`.

use crate::protocol::{Answer, Front, Request, answer, done, refused};
use serde_json::{Value, json};
use shm_lib::{
    Acquire, Admission, Cost, DeniedBy, Error, KeyedRateLimit, Nanos, Outcome, Policy, Rate, RateLimit,
    Reservation, Result, Unit,
};
use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

#[derive(Default)]
pub(crate) struct Library {
    limit: OnceLock<Handle>,
    kept: Mutex<BTreeMap<String, (Option<String>, Admission)>>,
    reserved: Mutex<BTreeMap<String, Reservation>>,
}

enum Handle {
    Whole(RateLimit),
    Keyed(KeyedRateLimit),
}

impl Handle {
    fn open(request: &Request) -> Result<Handle> {
        let (name, policy) =
            (request.name.as_deref().expect("a name"), request.policy.clone().expect("a policy"));
        let is_keyed = policy.get("keys").is_some();
        let policy: Policy = serde_json::from_value(policy).expect("a policy");
        Ok(match is_keyed {
            true => {
                let builder = KeyedRateLimit::builder(name);
                let builder = match request.capacity {
                    Some(capacity) => builder.capacity(capacity),
                    None => builder,
                };
                Handle::Keyed(builder.open_policy(policy)?)
            }
            false => Handle::Whole(RateLimit::builder(name).open_policy(policy)?),
        })
    }

    /// What is not about one key.
    fn all(&self) -> &RateLimit {
        match self {
            Handle::Whole(limit) => limit,
            Handle::Keyed(limit) => limit.all_keys(),
        }
    }

    fn keyed(&self) -> &KeyedRateLimit {
        match self {
            Handle::Keyed(limit) => limit,
            Handle::Whole(_) => panic!("no limits per key"),
        }
    }
}

impl Front for Library {
    fn perform(&self, request: &Request) -> Answer {
        self.try_perform(request).unwrap_or_else(|e: Error| refused(&e.kind().word(), &e.to_string()))
    }
}

impl Library {
    fn limit(&self) -> &Handle {
        self.limit.get().expect("an open limiter")
    }

    fn try_perform(&self, request: &Request) -> Result<Answer> {
        if request.op == "open" {
            let _ = self.limit.set(Handle::open(request)?);
            return Ok(done());
        }
        let limit = self.limit();
        let key = request.key.as_deref();
        match request.op.as_str() {
            "try" => {
                let outcome = match key {
                    None => limit.all().try_acquire(cost(request)),
                    Some(key) => limit.keyed().key(key).try_acquire(cost(request)),
                };
                Ok(self.decided(request, outcome?))
            }
            "acquire" => {
                let outcome = match key {
                    None => bounded(limit.all().acquire(cost(request)), request).wait(),
                    Some(key) => {
                        let of_key = limit.keyed().key(key);
                        let mut acquire = of_key.acquire(cost(request)).or_denied();
                        if let Some(time) = request.timeout_s {
                            acquire = acquire.timeout(Duration::from_secs_f64(time));
                        }
                        if let Some(most) = request.max_waiters {
                            acquire = acquire.max_waiters(most);
                        }
                        acquire.wait()
                    }
                };
                Ok(self.decided(request, outcome?))
            }
            "charge" => {
                match key {
                    None => limit.all().charge(cost(request))?,
                    Some(key) => limit.keyed().key(key).charge(cost(request))?,
                }
                Ok(done())
            }
            "settle" => {
                let mut kept = self.kept.lock().expect("no panic");
                let (key, admission) = kept.get_mut(request.of()).expect("kept");
                let settled = match key {
                    None => limit.all().settle(admission, cost(request))?,
                    Some(key) => limit.keyed().key(&*key).settle(admission, cost(request))?,
                };
                let given: BTreeMap<&String, f64> =
                    request.cost.keys().map(|name| (name, settled.given_back(unit(name)))).collect();
                Ok(answer("done", json!({"given_back": given})))
            }
            "release" => {
                drop(self.kept.lock().expect("no panic").remove(request.of()));
                Ok(done())
            }
            "reserve" => {
                let reservation = limit.all().reserve(cost(request))?;
                let turns = [reservation.at().as_nanos()];
                match &request.keep {
                    Some(name) => {
                        self.reserved.lock().expect("no panic").insert(name.clone(), reservation);
                    }
                    None => drop(reservation.commit()?),
                }
                Ok(answer("done", json!({"turns_at_ns": turns})))
            }
            "cancel" => {
                let reservation = self.reserved.lock().expect("no panic").remove(request.of());
                let was_returned = reservation.expect("kept").cancel();
                Ok(answer(if was_returned { "done" } else { "forfeited" }, Value::Null))
            }
            "schedule" => {
                let turns = limit.all().schedule(cost(request), request.count.expect("a count"))?;
                let turns: Vec<u64> = turns.into_iter().map(Nanos::as_nanos).collect();
                Ok(answer("done", json!({"turns_at_ns": turns})))
            }
            "status" => Ok(answer("done", json!({"status": self.status(key)?}))),
            _ => self.control(request),
        }
    }

    fn control(&self, request: &Request) -> Result<Answer> {
        let limit = self.limit();
        match request.op.as_str() {
            "pause" => limit.all().pause_for(Duration::from_secs_f64(request.for_s.expect("a time")))?,
            "resume" => limit.all().resume()?,
            "reset" => match &request.key {
                None => limit.all().reset()?,
                Some(key) => drop(limit.keyed().key(key).reset()?),
            },
            "change" => {
                let rate: Rate = request.rate.as_ref().expect("a rate").parse()?;
                match limit {
                    Handle::Whole(limit) => limit.change(rate.max(), rate.per())?,
                    Handle::Keyed(limit) => limit.change(rate.max(), rate.per())?,
                }
            }
            "change_policy" => {
                let policy = request.policy.clone().expect("a policy");
                limit.all().change_policy(serde_json::from_value::<Policy>(policy).expect("a policy"))?;
            }
            _ => return Ok(answer("unsupported", Value::Null)),
        }
        Ok(done())
    }

    fn status(&self, key: Option<&str>) -> Result<Value> {
        Ok(match key {
            None => {
                let seen = self.limit().all().status()?;
                json!({"available": seen.available, "used": seen.used, "queued": seen.queued})
            }
            Some(key) => {
                let seen = self.limit().keyed().key(key).status()?;
                json!({"available": seen[0].available, "used": seen[0].used})
            }
        })
    }

    fn decided(&self, request: &Request, outcome: Outcome) -> Answer {
        match outcome {
            Outcome::Admitted(admission) => {
                let fields = json!({
                    "at_ns": admission.at().as_nanos(),
                    "shadowed": admission.shadowed().is_some(),
                });
                if let Some(name) = &request.keep {
                    let kept = (request.key.clone(), admission);
                    self.kept.lock().expect("no panic").insert(name.clone(), kept);
                }
                answer("admitted", fields)
            }
            Outcome::Denied(denied) => {
                let limit = match denied.by() {
                    DeniedBy::Limit { index, .. } | DeniedBy::KeyLimit { index, .. } => Some(index + 1),
                    _ => None,
                };
                answer(
                    "denied",
                    json!({
                        "denied_by": denied.by().word(),
                        "denied_limit": limit,
                        "retry_after_s": denied.retry_after().map(|time| time.as_secs_f64()),
                    }),
                )
            }
        }
    }
}

fn bounded<'a>(acquire: Acquire<'a, Admission>, request: &Request) -> Acquire<'a, Outcome> {
    let mut acquire = acquire.or_denied();
    if let Some(time) = request.timeout_s {
        acquire = acquire.timeout(Duration::from_secs_f64(time));
    }
    if let Some(most) = request.max_waiters {
        acquire = acquire.max_waiters(most);
    }
    acquire
}

fn unit(name: &str) -> Unit {
    if name == "calls" { Unit::CALLS } else { Unit::named(name).expect("a unit") }
}

fn cost(request: &Request) -> Cost {
    let mut units = request.cost.iter().map(|(name, &n)| (unit(name), n));
    let (first, n) = units.next().expect("a cost");
    units.fold(Cost::of(first, n), |cost, (unit, n)| cost.and(unit, n))
}
