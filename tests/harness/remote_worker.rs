//! One worker that executes orders, a line at a time. See `work/repl.rs` for the orders it knows.

use crate::{Job, PATIENCE};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

/// A worker that is told by its standard input what to do. Killed when dropped.
pub struct RemoteWorker {
    child: Child,
    strings: ChildStdin,
    ears: Receiver<String>,
}

impl RemoteWorker {
    /// Starts it; it opens nothing yet.
    pub fn new(exe: &str, job: &Job) -> RemoteWorker {
        RemoteWorker::from_command(Command::new(exe).args(job.args()))
    }

    /// Starts it as another user. Only for root.
    pub fn as_user(exe: &str, job: &Job, uid: u32) -> RemoteWorker {
        RemoteWorker::from_command(Command::new(exe).args(job.args()).uid(uid).gid(uid).current_dir("/"))
    }

    /// Starts it by a command that knows how.
    pub fn from_command(command: &mut Command) -> RemoteWorker {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the worker binary");
        let strings = child.stdin.take().expect("its input");
        let mouth = child.stdout.take().expect("its output");
        let (say, ears) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(mouth).lines().map_while(Result::ok) {
                let _ = say.send(line);
            }
        });
        RemoteWorker { child, strings, ears }
    }

    /// Gives it an order, without waiting for an answer.
    pub fn tell(&mut self, order: &str) {
        writeln!(self.strings, "{order}").expect("a living worker");
    }

    /// Its next answer.
    pub fn answer(&mut self) -> String {
        self.ears.recv_timeout(PATIENCE).expect("an answer; the worker died or hangs")
    }

    /// Gives it an order and waits for the answer.
    pub fn ask(&mut self, order: &str) -> String {
        self.tell(order);
        self.answer()
    }

    /// The same for an order that must work.
    pub fn expect_ok(&mut self, order: &str) {
        let answer = self.ask(order);
        assert_eq!(answer, "ok", "{order}");
    }

    /// The answer as numbers.
    pub fn numbers(&mut self, order: &str) -> Vec<u64> {
        let answer = self.ask(order);
        answer.split(' ').map(|n| n.parse().unwrap_or_else(|_| panic!("{order}: {answer}"))).collect()
    }

    /// Tries `n` times to take one call; how often it was admitted.
    pub fn admitted_of(&mut self, n: u64) -> u64 {
        self.numbers(&format!("take {n}"))[0]
    }

    /// Its PID.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).expect("a worker to signal");
    }

    /// Waits for its end; whether it succeeded.
    pub fn wait(&mut self) -> bool {
        self.child.wait().expect("a child").success()
    }
}

impl Drop for RemoteWorker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Its own children die with it. When they are dead, no answer can come any more.
        while self.ears.recv_timeout(PATIENCE).is_ok() {}
    }
}
