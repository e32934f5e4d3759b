//! Executes orders, a line at a time, and answers each with one line.

use super::constrained;
use super::hammer::named;
use super::holding::Holding;
use super::key_orders::KeyOrders;
use harness::file::{CHUNK, Parts, Patch};
use harness::{Job, raw};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use shm_lib::{Error, Outcome, RateLimit};
use std::io::{BufRead, BufReader, PipeReader, PipeWriter, Write};
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

/// Runs on standard input and output.
pub(crate) fn run(job: &Job) {
    if job.number_or("anew", 0) == 1 {
        // The answer to `exec`.
        println!("ok");
    }
    Interpreter {
        job: job.clone(),
        limit: None,
        child: None,
        holding: Holding::default(),
        keys: KeyOrders::default(),
    }
    .obey(std::io::stdin().lock(), std::io::stdout());
}

/// The same as the first process of a new PID namespace, and of others if the job says so. Reports `contained`, or why that is
/// impossible.
pub(crate) fn contained(job: &Job) {
    if let Err(why) = constrained::leave(job) {
        println!("{why}");
        return;
    }
    match raw::fork().expect("the first process of the namespace") {
        Some(first) => {
            let _ = waitpid(first, None);
        }
        None => {
            set_pdeathsig(Signal::SIGKILL).expect("to die with the test");
            println!("contained");
            run(job);
        }
    }
}

struct Interpreter {
    job: Job,
    limit: Option<RateLimit>,
    child: Option<Child>,
    holding: Holding,
    keys: KeyOrders,
}

/// A worker forked by this one, with the same handle.
struct Child {
    pid: Pid,
    strings: PipeWriter,
    mouth: BufReader<PipeReader>,
}

type Answer = Result<String, Error>;

impl Interpreter {
    fn obey(mut self, input: impl BufRead, mut output: impl Write) {
        for line in input.lines().map_while(Result::ok) {
            let answer = match self.act(&line) {
                Ok(answer) => answer,
                Err(e) => format!("error {} {:?}", named(e.kind()), e.to_string()),
            };
            if writeln!(output, "{answer}").and_then(|()| output.flush()).is_err() {
                return;
            }
        }
    }

    fn act(&mut self, line: &str) -> Answer {
        let (order, rest) = line.split_once(' ').unwrap_or((line, ""));
        let words: Vec<&str> = rest.split(' ').filter(|w| !w.is_empty()).collect();
        let number = |i: usize| words[i].parse::<u64>().expect("a number");
        if let Some(answer) = self.holding.act(self.limit.as_ref(), order, number) {
            return answer;
        }
        if let Some(answer) = self.keys.act(&self.job, order, &words) {
            return answer;
        }
        if let Some(answer) = constrained::act(order, &words) {
            return Ok(answer);
        }
        match order {
            "open" => {
                let job = words.iter().fold(self.job.clone(), |job, word| job.with_word(word));
                self.limit = Some(job.open()?);
            }
            "attach" => {
                let limit = self.job.attach()?;
                harness::job::claim_seat(&limit);
                self.limit = Some(limit);
            }
            // Takes no seat yet.
            "join" => self.limit = Some(self.job.attach()?),
            "drop" => self.limit = None,
            "child" => return Ok(self.child.as_mut().expect("a child").ask(rest)),
            "fork" => return Ok(self.fork()),
            "orphan" => return Ok(orphan()),
            "reap" => return Ok(self.reap(None)),
            "kill-child" => return Ok(self.reap(Some(Signal::SIGKILL))),
            "exit" => std::process::exit(0),
            "_exit" => raw::exit_now(0),
            "closefrom" => raw::close_from(3).expect("to close them"),
            "limit-file-size" => raw::limit_file_size(number(0)).expect("a limit"),
            // In the default directory of this user.
            "open-default" => self.limit = Some(RateLimit::open("x", 10, Duration::from_secs(1))?),
            "where" => return Ok(shm_lib::Directory::from_env().path().display().to_string()),
            // From here on its children are in other namespaces.
            "leave" => {
                let job = words.iter().fold(self.job.clone(), |job, word| job.with_word(word));
                return Ok(constrained::leave(&job).err().unwrap_or_else(|| "ok".to_owned()));
            }
            "fill" => fill(words[0]),
            // As a process does that can write to the file.
            "set-chunk-bits" => set_chunk_bits(words[0]),
            "rm" => std::fs::remove_file(words[0]).expect("to remove it"),
            "ls" => return Ok(list(words[0])),
            "now" => return Ok(shm_lib::now().as_nanos().to_string()),
            "pid" => return Ok(std::process::id().to_string()),
            _ => return self.use_limit(order, number),
        }
        Ok("ok".to_owned())
    }

    fn use_limit(&self, order: &str, number: impl Fn(usize) -> u64) -> Answer {
        let limit = self.limit.as_ref().expect("an open limiter");
        let told = |outcome: Outcome| match outcome {
            Outcome::Admitted(admission) => format!("admitted {}", admission.at().as_nanos()),
            Outcome::Denied(denied) => {
                format!("denied {}", denied.retry_after().unwrap_or_default().as_nanos())
            }
        };
        match order {
            "try" => return limit.try_acquire(1).map(told),
            "wait-ms" => return limit.acquire(1).timeout(Duration::from_millis(number(0))).wait().map(told),
            "take" => {
                let mut got = 0;
                for _ in 0..number(0) {
                    got += u64::from(limit.try_acquire(1)?.is_admitted());
                }
                return Ok(got.to_string());
            }
            "stats" => {
                let s = limit.stats();
                return Ok(format!("{} {} {}", s.admitted, s.calls, s.denied));
            }
            // PIDs and what each did: `seat:pid:tokens`.
            "attached" => {
                let all = limit.inspect()?.attached;
                let one = |a: &shm_lib::Attached| format!("{}:{}:{}", a.seat, a.pid, a.counts.calls);
                return Ok(all.iter().map(one).collect::<Vec<_>>().join(" "));
            }
            "change" => limit.change(number(0), Duration::from_nanos(number(1)))?,
            "pause-ms" => limit.pause_for(Duration::from_millis(number(0)))?,
            "reset" => limit.reset()?,
            "resume" => drop(limit.resume()?),
            "retire" => limit.retire()?,
            "status" => drop(limit.status()?),
            "inspect" => drop(limit.inspect()?),
            "inode" => return Ok(std::fs::metadata(limit.path()).expect("its file").ino().to_string()),
            other => panic!("no such order: {other}"),
        }
        Ok("ok".to_owned())
    }

    fn fork(&mut self) -> String {
        let (input, strings) = std::io::pipe().expect("a pipe");
        let (mouth, output) = std::io::pipe().expect("a pipe");
        match raw::fork().expect("a child") {
            Some(pid) => {
                self.child = Some(Child { pid, strings, mouth: BufReader::new(mouth) });
                pid.to_string()
            }
            None => {
                set_pdeathsig(Signal::SIGKILL).expect("to die with the test");
                drop((strings, mouth));
                let me = Interpreter {
                    job: self.job.clone(),
                    limit: self.limit.take(),
                    child: None,
                    holding: std::mem::take(&mut self.holding),
                    keys: self.keys.clone(),
                };
                me.obey(BufReader::new(input), output);
                std::process::exit(0)
            }
        }
    }

    fn reap(&mut self, signal: Option<Signal>) -> String {
        let child = self.child.take().expect("a child");
        if let Some(signal) = signal {
            kill(child.pid, signal).expect("to signal the child");
        }
        drop(child.strings);
        match waitpid(child.pid, None).expect("the child's end") {
            WaitStatus::Exited(_, code) => format!("exited {code}"),
            WaitStatus::Signaled(_, signal, _) => format!("killed {signal}"),
            other => format!("{other:?}"),
        }
    }
}

impl Child {
    /// Passes an order on. The answer is `gone` if the child ends without one.
    fn ask(&mut self, order: &str) -> String {
        writeln!(self.strings, "{order}").expect("a living child");
        let mut answer = String::new();
        match self.mouth.read_line(&mut answer) {
            Ok(1..) => answer.trim_end().to_owned(),
            _ => "gone".to_owned(),
        }
    }
}

/// Forks a child that outlives this process, for ten seconds at most, and uses nothing.
fn orphan() -> String {
    match raw::fork().expect("a child") {
        Some(pid) => pid.to_string(),
        None => {
            std::thread::sleep(Duration::from_secs(10));
            raw::exit_now(0);
        }
    }
}

/// Writes a file `ballast` until nothing fits any more.
fn fill(dir: &str) {
    let mut file = std::fs::File::create(format!("{dir}/ballast")).expect("ballast");
    while file.write_all(&[1; 4096]).is_ok() {}
}

fn set_chunk_bits(file: &str) {
    let file = Patch::of(std::path::Path::new(file));
    let parts = Parts::of(|at| file.get(at));
    let words = (parts.size - parts.tables).div_ceil(CHUNK).div_ceil(64);
    for word in 0..words {
        file.set(parts.chunks + 8 * word, u64::MAX);
    }
}

fn list(dir: &str) -> String {
    let entries = std::fs::read_dir(dir).expect("the directory");
    let mut names: Vec<String> =
        entries.map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names.join(" ")
}
