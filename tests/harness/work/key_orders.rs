//! The orders about keys, of a worker that executes orders.

use harness::Job;
use shm_lib::{Error, ErrorKind, KeyedRateLimit, Outcome};
use std::time::Duration;

/// The keyed limiter that it has open.
#[derive(Clone, Default)]
pub(crate) struct KeyOrders(Option<KeyedRateLimit>);

impl KeyOrders {
    /// Obeys the order, if it is one of these.
    pub(crate) fn act(&mut self, job: &Job, order: &str, words: &[&str]) -> Option<Result<String, Error>> {
        Some(match order {
            "keys-open" => {
                let job = words.iter().fold(job.clone(), |job, word| job.with_word(word));
                job.open_keys().map(|limit| {
                    self.0 = Some(limit);
                    "ok".to_owned()
                })
            }
            // In the child of a fork before its end, the handle is its parent's, too.
            "keys-drop" => {
                self.0 = None;
                Ok("ok".to_owned())
            }
            _ if order.starts_with("key") => self.use_keys(order, words),
            _ => return None,
        })
    }

    fn use_keys(&self, order: &str, words: &[&str]) -> Result<String, Error> {
        let limit = self.0.as_ref().expect("an open keyed limiter");
        let number = |i: usize| words[i].parse::<u64>().expect("a number");
        let done = |result: Result<(), Error>| result.map(|()| "ok".to_owned());
        match order {
            // How often the key is admitted.
            "key-take" => {
                let admitted =
                    |got: u64| Ok(got + u64::from(limit.key(words[0]).try_acquire(1)?.is_admitted()));
                (0..number(1)).try_fold(0, |got, _| admitted(got)).map(|got| got.to_string())
            }
            // One try for each of so many keys: admitted, denied, and without space.
            "key-many" => {
                let mut came = [0; 3];
                for key in number(0)..number(0) + number(1) {
                    match limit.key(key).try_acquire(1) {
                        Ok(Outcome::Admitted(_)) => came[0] += 1,
                        Ok(Outcome::Denied(_)) => came[1] += 1,
                        Err(e) if e.kind() == ErrorKind::NoSpace => came[2] += 1,
                        Err(e) => return Err(e),
                    }
                }
                Ok(format!("{} {} {}", came[0], came[1], came[2]))
            }
            "key-wait-ms" => {
                let time = Duration::from_millis(number(1));
                let outcome = limit.key(words[0]).acquire(1).timeout(time).wait()?;
                Ok(if outcome.is_admitted() { "admitted" } else { "denied" }.to_owned())
            }
            "key-reset" => limit.key(words[0]).reset().map(|known| known.to_string()),
            "keys-reset" => done(limit.all_keys().reset()),
            "keys-change" => done(limit.change(number(0), Duration::from_nanos(number(1)))),
            "keys-retire" => done(limit.all_keys().retire()),
            // The bytes of its tables, and of those that have memory.
            "keys-table" => limit.table_status().map(|table| format!("{} {}", table.bytes, table.allocated)),
            other => panic!("no such order: {other}"),
        }
    }
}
