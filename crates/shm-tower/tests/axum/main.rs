//! The axum examples as a user runs them: four processes behind one port, and plain connections to them.

mod per_client;
mod workers;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const WORKERS: usize = 4;

/// An example and its workers, ended when this is dropped.
struct Example {
    supervisor: Child,
    workers: Vec<u32>,
    address: SocketAddr,
}

impl Example {
    fn start(name: &str, directory: &Path) -> Example {
        let mut command = Command::new(program(name));
        command.args(["0", &WORKERS.to_string()]).env("SHM_LIMIT_DIR", directory);
        let supervisor = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("the example");
        let mut example =
            Example { supervisor, workers: Vec::new(), address: SocketAddr::from(([127, 0, 0, 1], 0)) };
        let mut line = String::new();
        BufReader::new(example.supervisor.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let (address, workers) = line.trim().split_once(" served by ").expect("its address and its workers");
        let workers = workers.trim_matches(['[', ']']).split(", ");
        example.workers = workers.map(|pid| pid.parse().expect("a process")).collect();
        example.address = address.strip_prefix("http://").unwrap().parse().unwrap();
        assert_eq!(example.workers.len(), WORKERS);
        example.await_listening(WORKERS);
        example
    }

    /// How many workers listen.
    fn listening(&self) -> usize {
        let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let port = format!(":{:04X}", self.address.port());
        // Number, local and remote address, state; 0A is LISTEN.
        let is_listening = |line: &&str| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            fields[1].ends_with(&port) && fields[3] == "0A"
        };
        sockets.lines().skip(1).filter(is_listening).count()
    }

    /// Kills a worker, and returns when its socket is closed: no later connection is lost.
    fn kill_worker(&mut self) {
        let pid = self.workers.pop().expect("a worker");
        assert!(Command::new("kill").args(["-KILL", &pid.to_string()]).status().unwrap().success());
        self.await_listening(self.workers.len());
    }

    /// Waits until so many workers listen.
    fn await_listening(&self, workers: usize) {
        let soon = Instant::now() + Duration::from_secs(20);
        while self.listening() != workers {
            assert!(Instant::now() < soon, "{} workers listen, not {workers}", self.listening());
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Sends a request on a new connection, so that the kernel chooses a worker. `fields` are lines of the head.
    fn get(&self, fields: &str) -> Answer {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let request = format!("GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{fields}\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").expect("an answer");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        Answer { status, head: head.to_owned(), body: body.to_owned() }
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        // The supervisor has not reaped its workers, so these PIDs are still theirs. It ends after the last worker.
        let pids = self.workers.iter().map(u32::to_string);
        if self.workers.is_empty() || !Command::new("kill").args(pids).status().is_ok_and(|s| s.success()) {
            // Each worker ends when the supervisor's end of its stdin closes.
            let _ = self.supervisor.kill();
        }
        let _ = self.supervisor.wait();
    }
}

#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn field(&self, name: &str) -> Option<&str> {
        let is_it = |line: &&str| line.split(':').next().is_some_and(|n| n.eq_ignore_ascii_case(name));
        self.head.lines().find(is_it)?.split_once(": ").map(|(_, value)| value)
    }

    /// The words of an admitted request's body: `worker PID admitted you at NANOSECONDS`.
    fn words(&self) -> Vec<&str> {
        self.body.split_whitespace().collect()
    }
}

/// The path of an example. `cargo test` builds examples, but not if it runs only this test; then this builds it.
fn program(example: &str) -> PathBuf {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    let target = path.parent().expect("the target directory").to_owned();
    path.push("examples");
    path.push(example);
    if !path.exists() {
        let release: &[&str] = if cfg!(debug_assertions) { &[] } else { &["--release"] };
        let built = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "-p", "shm-tower", "--example", example])
            .args(release)
            // This test's own, which is not the usual one where coverage is measured.
            .arg("--target-dir")
            .arg(target)
            .status()
            .expect("cargo");
        assert!(built.success(), "the example does not build");
    }
    path
}
