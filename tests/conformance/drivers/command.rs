//! The command `shm-limit`: a process for each operation.
//!
//! An admission that is kept is one of `shm-limit run`, of a program that reads what to do from its standard input: [`hold`].

use crate::protocol::{Answer, Front, Request, answer, done, refused};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{self, Child, ChildStdin, Stdio};
use std::sync::{Mutex, OnceLock};

/// Denied.
const DENIED: i32 = 75;
/// The request is not valid.
const USAGE: i32 = 2;
/// What the program that is run says when it begins.
const ADMITTED: &str = "admitted";

pub(crate) struct Command {
    path: String,
    name: OnceLock<String>,
    kept: Mutex<BTreeMap<String, (Child, Option<ChildStdin>)>>,
}

/// What a process printed, and how it ended.
struct Ended {
    status: i32,
    json: Value,
    problem: String,
}

impl Command {
    pub(crate) fn new(path: String) -> Command {
        Command { path, name: OnceLock::new(), kept: Mutex::default() }
    }

    /// `shm-limit VERB NAME`, with the key.
    fn command(&self, verb: &str, request: &Request) -> process::Command {
        let mut command = process::Command::new(&self.path);
        command.arg(verb).arg(self.name.get().expect("an open limiter"));
        command.args(request.key.iter().map(|key| format!("--key={key}")));
        command
    }

    fn run(&self, verb: &str, request: &Request, args: &[String]) -> Ended {
        let mut command = self.command(verb, request);
        let ended = command.args(args).stdin(Stdio::null()).output().expect("shm-limit");
        Ended {
            status: ended.status.code().unwrap_or(-1),
            json: serde_json::from_slice(&ended.stdout).unwrap_or_default(),
            problem: String::from_utf8_lossy(&ended.stderr).into_owned(),
        }
    }

    /// What is done, or not.
    fn control(&self, verb: &str, request: &Request, args: &[String]) -> Answer {
        let ended = self.run(verb, request, args);
        if ended.status == 0 { done() } else { ended.refused() }
    }

    fn open(&self, request: &Request) -> Answer {
        let _ = self.name.set(request.name.clone().expect("a name"));
        let capacity = request.capacity.map(|n| format!("--capacity={n}"));
        self.with_policy("create", request, capacity)
    }

    /// With the policy in a file.
    fn with_policy(&self, verb: &str, request: &Request, more: Option<String>) -> Answer {
        let mut file = tempfile::Builder::new().suffix(".json").tempfile().expect("a file");
        file.write_all(request.policy.as_ref().expect("a policy").to_string().as_bytes()).expect("a policy");
        let mut args = vec!["--from".to_owned(), file.path().display().to_string()];
        args.extend(more);
        self.control(verb, request, &args)
    }

    fn decide(&self, request: &Request, bounds: &[String]) -> Answer {
        if request.max_waiters.is_some() {
            return answer("unsupported", Value::Null);
        }
        let args = [cost(request), bounds.to_vec()].concat();
        if request.keep.is_some() {
            return self.decide_and_keep(request, &args);
        }
        let ended = self.run("acquire", request, &[args, vec!["--json".to_owned()]].concat());
        match ended.json["outcome"].as_str() {
            Some("admitted") => {
                answer("admitted", json!({"at_ns": ended.json["at_ns"], "shadowed": ended.json["shadowed"]}))
            }
            Some("denied") if ended.status == DENIED => answer(
                "denied",
                json!({
                    "denied_by": ended.json["denied_by"],
                    "denied_limit": ended.json["denied_limit"],
                    "retry_after_s": ended.json["retry_after_s"],
                }),
            ),
            _ => ended.refused(),
        }
    }

    fn decide_and_keep(&self, request: &Request, args: &[String]) -> Answer {
        let mut command = self.command("run", request);
        command
            .args(args)
            .arg("--settle")
            .arg("--")
            .arg(std::env::current_exe().expect("this program"))
            .arg("hold");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("shm-limit");
        let mut said = String::new();
        let _ = BufReader::new(child.stdout.take().expect("its output")).read_line(&mut said);
        if said.trim_end() == ADMITTED {
            let input = child.stdin.take();
            let name = request.keep.clone().expect("kept");
            self.kept.lock().expect("no panic").insert(name, (child, input));
            return answer("admitted", Value::Null);
        }
        let mut problem = String::new();
        let _ = child.stderr.take().expect("its errors").read_to_string(&mut problem);
        let status = child.wait().expect("a child").code().unwrap_or(-1);
        if status == DENIED {
            return answer("denied", json!({"message": problem}));
        }
        Ended { status, json: Value::Null, problem }.refused()
    }

    /// Ends the program, which writes down what it took.
    fn end(&self, request: &Request, actual: &str) -> Answer {
        let kept = self.kept.lock().expect("no panic").remove(request.of());
        // After a settlement it has ended already.
        let Some((mut child, input)) = kept else { return done() };
        let _ = input.expect("its input").write_all(format!("{actual}\n").as_bytes());
        match child.wait() {
            Ok(status) if status.success() => done(),
            ended => refused("failed", &format!("run ended with {ended:?}")),
        }
    }

    fn status(&self, request: &Request) -> Answer {
        let ended = self.run("inspect", request, &["--json".to_owned()]);
        if ended.status != 0 {
            return ended.refused();
        }
        let seen = &ended.json["limits"][0];
        let queued = &seen["charged_ahead"];
        answer(
            "done",
            json!({"status": {"available": seen["available"], "used": seen["used"], "queued": queued}}),
        )
    }
}

impl Ended {
    fn refused(&self) -> Answer {
        let kind = match self.json["error"].as_str() {
            Some(kind) if kind != "failed" => kind,
            // By the command line, before it is one of the library.
            _ if self.status == USAGE => "invalid_input",
            _ => "failed",
        };
        refused(kind, &self.problem)
    }
}

impl Front for Command {
    fn perform(&self, request: &Request) -> Answer {
        let json = || vec!["--json".to_owned()];
        match request.op.as_str() {
            "open" => self.open(request),
            "try" => self.decide(request, &["--try".to_owned()]),
            "acquire" => {
                let bounds: Vec<String> =
                    request.timeout_s.iter().map(|time| format!("--timeout={}", span(*time))).collect();
                self.decide(request, &bounds)
            }
            "charge" => self.control("charge", request, &cost(request)),
            "settle" => {
                let amounts: Vec<String> =
                    request.cost.iter().map(|(unit, n)| format!("{unit}={n}")).collect();
                self.end(request, &amounts.join(" "))
            }
            "release" => self.end(request, ""),
            // A reservation ends with its process.
            "reserve" if request.keep.is_some() => answer("unsupported", Value::Null),
            "reserve" => match self.run("reserve", request, &[cost(request), json()].concat()) {
                ended if ended.status == 0 => answer("done", json!({"turns_at_ns": [ended.json["at_ns"]]})),
                ended => ended.refused(),
            },
            "schedule" => {
                let count = vec![format!("--requests={}", request.count.expect("a count"))];
                let ended = self.run("schedule", request, &[cost(request), count, json()].concat());
                match ended.json["turns"].as_array().filter(|_| ended.status == 0) {
                    Some(turns) => {
                        let turns: Vec<&Value> = turns.iter().map(|turn| &turn["at_ns"]).collect();
                        answer("done", json!({"turns_at_ns": turns}))
                    }
                    None => ended.refused(),
                }
            }
            "pause" => self.control("pause", request, &[span(request.for_s.expect("a time"))]),
            "resume" => self.control("resume", request, &[]),
            "reset" => self.control("reset", request, &[]),
            "change" => {
                self.control("set", request, &["--rate".to_owned(), request.rate.clone().expect("a rate")])
            }
            "change_policy" => self.with_policy("set", request, None),
            "status" => self.status(request),
            _ => answer("unsupported", Value::Null),
        }
    }
}

fn span(seconds: f64) -> String {
    format!("{}ms", (seconds * 1_000.0).round())
}

fn cost(request: &Request) -> Vec<String> {
    let of = |(unit, n): (&String, &u64)| match unit.as_str() {
        "calls" => format!("--calls={n}"),
        unit => format!("--take={unit}={n}"),
    };
    request.cost.iter().map(of).collect()
}

/// Says that it was admitted, waits for a line, and writes the amounts in it where `run --settle` reads them.
pub(crate) fn hold() {
    println!("{ADMITTED}");
    let mut actual = String::new();
    let _ = std::io::stdin().read_line(&mut actual);
    let amounts: Vec<&str> = actual.split_whitespace().collect();
    if !amounts.is_empty() {
        let file = std::env::var_os("SHM_LIMIT_ACTUAL").expect("where to write");
        std::fs::write(file, amounts.join("\n") + "\n").expect("to write");
    }
}
