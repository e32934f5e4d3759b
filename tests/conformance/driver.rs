//! A process of a front's driver: requests in, answers out.

use crate::front::Front;
use crate::scenario::{Answer, Outcome, Status};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// How long anything may take that does not wait for a turn.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A driver, and its children. Killed when dropped.
pub(crate) struct Driver {
    child: Child,
    input: ChildStdin,
    requests: u64,
    /// The leader of its process group, to which its children belong.
    group: Pid,
}

/// A line that a driver wrote, and when it was read.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) id: u64,
    /// The driver of this number wrote it.
    pub(crate) driver: usize,
    pub(crate) read_ns: u64,
    pub(crate) text: String,
}

/// An answer, as a driver writes it.
#[derive(Debug, Deserialize)]
struct Written {
    outcome: Outcome,
    at_ns: Option<i64>,
    retry_after_s: Option<f64>,
    denied_by: Option<String>,
    denied_limit: Option<usize>,
    shadowed: Option<bool>,
    turns_at_ns: Option<Vec<i64>>,
    turns_s: Option<Vec<f64>>,
    status: Option<Status>,
    given_back: Option<BTreeMap<String, f64>>,
    kind: Option<String>,
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
struct Numbered {
    id: u64,
}

impl Driver {
    /// Starts it. Its answers go to `to`, with this number.
    pub(crate) fn start(front: &Front, dir: &Path, number: usize, to: Sender<Line>) -> Driver {
        let mut command = front.driver(dir);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        let mut child = command.spawn().expect("a driver");
        let (input, output) =
            (child.stdin.take().expect("its input"), child.stdout.take().expect("its output"));
        std::thread::spawn(move || {
            for text in BufReader::new(output).lines().map_while(Result::ok) {
                let read_ns = shm_lib::now().as_nanos();
                // The last line of a driver that was killed may be cut off.
                let Ok(Numbered { id }) = serde_json::from_str(&text) else { continue };
                if to.send(Line { id, driver: number, read_ns, text }).is_err() {
                    return;
                }
            }
        });
        let group = Pid::from_raw(child.id() as i32);
        Driver { child, input, requests: 0, group }
    }

    /// Asks for something; returns the number of the request, and when it was asked.
    pub(crate) fn ask(&mut self, op: &str, fields: Value) -> (u64, u64) {
        self.requests += 1;
        let mut request = json!({"id": self.requests, "do": op});
        let all = request.as_object_mut().expect("an object");
        if let Value::Object(fields) = fields {
            all.extend(fields.into_iter().filter(|(_, value)| !value.is_null()));
        }
        let asked_ns = shm_lib::now().as_nanos();
        // A driver that has been killed reads nothing.
        let _ = self.input.write_all(format!("{request}\n").as_bytes());
        (self.requests, asked_ns)
    }

    /// Sends a signal to it and its children.
    pub(crate) fn signal(&self, signal: Signal) {
        // It is not reaped yet, so the group is its own.
        let _ = killpg(self.group, signal);
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

impl Line {
    /// The answer, with instants after `start`. The request was sent at `asked_ns`.
    pub(crate) fn answer(&self, start_ns: u64, asked_ns: u64) -> Result<Answer, String> {
        let written: Written = serde_json::from_str(&self.text).map_err(|e| format!("{}: {e}", self.text))?;
        let since = |ns: i64| ns - start_ns as i64;
        let (sent, answered) = (since(asked_ns as i64), since(self.read_ns as i64));
        let seconds = |time: f64| (time * 1e9).round() as i64;
        let relative = |time: f64| (sent + seconds(time), answered + seconds(time));
        let relative = written.turns_s.map(|turns| turns.into_iter().map(relative).collect());
        let exact = |at: i64| (since(at), since(at));
        Ok(Answer {
            outcome: written.outcome,
            sent,
            answered,
            at: written.at_ns.map(since),
            retry_after: written.retry_after_s.map(seconds),
            denied_by: written.denied_by,
            denied_limit: written.denied_limit,
            shadowed: written.shadowed,
            turns: written.turns_at_ns.map(|turns| turns.into_iter().map(exact).collect()).or(relative),
            status: written.status,
            given_back: written.given_back,
            kind: written.kind,
            message: written.message,
        })
    }
}

/// A driver whose answers nobody else reads.
pub(crate) struct Dialogue {
    pub(crate) driver: Driver,
    answers: Receiver<Line>,
    early: BTreeMap<u64, Line>,
}

impl Dialogue {
    pub(crate) fn start(front: &Front, dir: &Path) -> Dialogue {
        let (to, answers) = channel();
        Dialogue { driver: Driver::start(front, dir, 0, to), answers, early: BTreeMap::new() }
    }

    /// The answer to this request, if it comes within this time; or that the driver has ended.
    pub(crate) fn answer_to(&mut self, id: u64, patience: Duration) -> Result<Option<Line>, String> {
        let end = shm_lib::now() + patience;
        loop {
            if let Some(line) = self.early.remove(&id) {
                return Ok(Some(line));
            }
            match self.answers.recv_timeout(end.since(shm_lib::now())) {
                Ok(line) => drop(self.early.insert(line.id, line)),
                Err(RecvTimeoutError::Timeout) => return Ok(None),
                Err(RecvTimeoutError::Disconnected) => return Err("the driver has ended".to_owned()),
            }
        }
    }
}
