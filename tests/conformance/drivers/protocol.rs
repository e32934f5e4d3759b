//! Requests in, answers out: JSON objects, a line each.

use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

/// An operation.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Request {
    pub(crate) id: u64,
    #[serde(rename = "do")]
    pub(crate) op: String,
    pub(crate) name: Option<String>,
    pub(crate) policy: Option<Value>,
    pub(crate) capacity: Option<u64>,
    #[serde(default)]
    pub(crate) cost: BTreeMap<String, u64>,
    pub(crate) key: Option<String>,
    pub(crate) timeout_s: Option<f64>,
    pub(crate) max_waiters: Option<u32>,
    pub(crate) keep: Option<String>,
    pub(crate) of: Option<String>,
    pub(crate) for_s: Option<f64>,
    pub(crate) count: Option<usize>,
    pub(crate) rate: Option<String>,
}

impl Request {
    /// Whether it is kept under a name.
    pub(crate) fn of(&self) -> &str {
        self.of.as_deref().unwrap_or_default()
    }
}

/// An answer, without the number of the request.
pub(crate) type Answer = Map<String, Value>;

/// An answer with this outcome, and other fields.
pub(crate) fn answer(outcome: &str, fields: Value) -> Answer {
    let mut all = Map::from_iter([("outcome".to_owned(), json!(outcome))]);
    if let Value::Object(fields) = fields {
        all.extend(fields.into_iter().filter(|(_, value)| !value.is_null()));
    }
    all
}

pub(crate) fn done() -> Answer {
    answer("done", Value::Null)
}

/// An error of this kind.
pub(crate) fn refused(kind: &str, message: &str) -> Answer {
    answer("refused", json!({"kind": kind, "message": message}))
}

/// A way to use limiters.
pub(crate) trait Front: Send + Sync + 'static {
    /// Does it, and waits for as long as that takes.
    fn perform(&self, request: &Request) -> Answer;
}

/// Reads requests until there are no more. Requests that may wait are performed beside the others.
pub(crate) fn serve(front: impl Front) {
    let front = Arc::new(front);
    for line in std::io::stdin().lines() {
        let Ok(line) = line else { return };
        let request: Request = serde_json::from_str(&line).expect("a request");
        let front = Arc::clone(&front);
        let perform = move || {
            let mut answer = front.perform(&request);
            answer.insert("id".to_owned(), json!(request.id));
            let mut line = Value::Object(answer).to_string();
            line.push('\n');
            // In one piece: a driver that is killed leaves no half of a line before a whole one. Whoever reads may be gone.
            let _ = std::io::stdout().lock().write_all(line.as_bytes());
        };
        if line.contains(r#""do":"acquire""#) { drop(std::thread::spawn(perform)) } else { perform() }
    }
}
