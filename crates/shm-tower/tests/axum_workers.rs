//! The axum example as a user runs it: four processes behind one port, under load from plain connections.

use shm_lib::limit::audit;
use shm_lib::{Limit, Nanos, Rate};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// The example's rate and burst.
const MAX: u64 = 100;
const BURST: u64 = 20;
const WORKERS: usize = 4;
const TIME: Duration = Duration::from_secs(2);

/// The example and its workers, ended when this is dropped.
struct Example {
    supervisor: Child,
    workers: Vec<u32>,
}

impl Example {
    fn start(directory: &Path) -> (Example, SocketAddr) {
        let mut command = Command::new(program());
        command.args(["0", &WORKERS.to_string()]).env("SHM_LIMIT_DIR", directory);
        let supervisor = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("the example");
        let mut example = Example { supervisor, workers: Vec::new() };
        let mut line = String::new();
        BufReader::new(example.supervisor.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let (address, workers) = line.trim().split_once(" served by ").expect("its address and its workers");
        let workers = workers.trim_matches(['[', ']']).split(", ");
        example.workers = workers.map(|pid| pid.parse().expect("a process")).collect();
        (example, address.strip_prefix("http://").unwrap().parse().unwrap())
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
}

#[test]
fn workers_share_one_limit() {
    let dir = tempfile::tempdir().unwrap();
    let (example, address) = Example::start(dir.path());
    assert_eq!(example.workers.len(), WORKERS);
    let soon = Instant::now() + Duration::from_secs(20);
    while TcpStream::connect(address).is_err() {
        assert!(Instant::now() < soon, "no worker listens");
        thread::sleep(Duration::from_millis(10));
    }

    let begun = Instant::now();
    let answers: Vec<Answer> = thread::scope(|scope| {
        let clients: Vec<_> = (0..8).map(|_| scope.spawn(|| send_requests(address, begun))).collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    let took = begun.elapsed();

    let (passed, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
    assert!(refused.iter().all(|answer| answer.status == 429), "{:?}", refused.first());
    println!("{} passed and {} refused in {took:?}", passed.len(), refused.len());
    let most = BURST as f64 + MAX as f64 * took.as_secs_f64() + 1.0;
    assert!(passed.len() as f64 <= most, "{} passed in {took:?}", passed.len());

    let limit = Limit::with_burst(Rate::new(MAX, Duration::from_secs(1)).unwrap(), BURST).unwrap();
    let (mut workers, mut admissions) = (BTreeSet::new(), Vec::new());
    for answer in &passed {
        let words: Vec<&str> = answer.body.split_whitespace().collect();
        workers.insert(words[1]);
        admissions.push(audit::Admission { at: Nanos::from_nanos(words[5].parse().unwrap()), calls: 1 });
    }
    audit::check(limit, &mut admissions).unwrap();
    assert!(workers.len() > 1, "a single worker served all requests, so the test proves nothing");
    assert!(passed.len() as u64 >= BURST, "a burst must be admitted at the start");
    assert!(!refused.is_empty(), "no request was over the limit, so the test proves nothing");

    for answer in &answers {
        assert_eq!(answer.field("ratelimit-policy"), Some(r#""default";q=100;w=1"#));
        assert!(answer.field("ratelimit").unwrap().starts_with(r#""default";r="#));
    }
    assert!(refused.iter().all(|answer| answer.field("retry-after") == Some("1")));
}

/// Sends requests one after the other, each on a new connection, so that the kernel chooses a worker for each.
fn send_requests(address: SocketAddr, begun: Instant) -> Vec<Answer> {
    let mut answers = Vec::new();
    while begun.elapsed() < TIME {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").expect("an answer");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        answers.push(Answer { status, head: head.to_owned(), body: body.to_owned() });
        thread::sleep(Duration::from_millis(5));
    }
    answers
}

/// The example's path. `cargo test` builds examples, but not if it runs only this test; then this builds it.
fn program() -> PathBuf {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    let target = path.parent().expect("the target directory").to_owned();
    path.push("examples/axum_workers");
    if !path.exists() {
        let release: &[&str] = if cfg!(debug_assertions) { &[] } else { &["--release"] };
        let built = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "-p", "shm-tower", "--example", "axum_workers"])
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
