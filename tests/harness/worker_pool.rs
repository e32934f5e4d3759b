//! A pool of workers that start together, and never outlive the test, also when it fails.

use crate::{Job, PATIENCE};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader, PipeReader, PipeWriter};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Workers. They say `ready`, wait for the end of their input, and work.
///
/// Should the test process itself be killed, each worker gets SIGKILL (`PR_SET_PDEATHSIG`).
pub struct WorkerPool {
    exe: &'static str,
    children: Vec<Child>,
    size: usize,
    start: PipeReader,
    starter: Option<PipeWriter>,
    voice: Option<PipeWriter>,
    ears: Receiver<String>,
}

impl WorkerPool {
    /// No worker yet. `exe` is `env!("CARGO_BIN_EXE_worker")`.
    pub fn new(exe: &'static str) -> WorkerPool {
        let (start, starter) = std::io::pipe().expect("a pipe");
        let (heard, voice) = std::io::pipe().expect("a pipe");
        let (say, ears) = channel();
        // Ends when the last worker is dead and `voice` is dropped.
        std::thread::spawn(move || {
            for line in BufReader::new(heard).lines().map_while(Result::ok) {
                let _ = say.send(line);
            }
        });
        WorkerPool {
            exe,
            children: Vec::new(),
            size: 0,
            start,
            starter: Some(starter),
            voice: Some(voice),
            ears,
        }
    }

    /// One more process. Returns its index.
    #[allow(clippy::zombie_processes, reason = "reaped when the pool ends, at the latest when it is dropped")]
    pub fn spawn(&mut self, job: &Job) -> usize {
        let voice = self.voice.as_ref().expect("a pool that has not finished").try_clone().expect("a pipe");
        let child = Command::new(self.exe)
            .args(job.args())
            .stdin(Stdio::from(self.start.try_clone().expect("a pipe")))
            .stdout(Stdio::from(voice))
            .spawn()
            .expect("the worker binary");
        self.children.push(child);
        self.size += 1;
        self.children.len() - 1
    }

    /// `count` more processes.
    pub fn spawn_many(&mut self, job: &Job, count: usize) {
        for _ in 0..count {
            self.spawn(job);
        }
    }

    /// `count` more, forked by one process that opened the limiter before: they work with the handle that they inherit.
    pub fn spawn_forked(&mut self, job: &Job, count: usize) {
        self.spawn(&job.set_fork_pool(count));
        self.size += count - 1;
    }

    /// Waits until all are ready and lets them work. Workers that are started later begin when they are ready.
    pub fn start(&mut self) {
        for _ in 0..self.size {
            let line = self.ears.recv_timeout(PATIENCE).expect("a worker died or hangs before it was ready");
            assert_eq!(line, "ready");
        }
        self.starter = None;
    }

    /// The next line that a worker writes; `None` if all are gone, or silent for too long.
    pub fn next_line(&self, patience: Duration) -> Option<String> {
        self.ears.recv_timeout(patience).ok()
    }

    /// Sends a signal to the worker with this index.
    pub fn signal(&self, index: usize, signal: Signal) {
        // Not reaped yet, so the PID is still its own.
        kill(Pid::from_raw(self.children[index].id() as i32), signal).expect("a worker to signal");
    }

    /// Kills the worker with this index and reaps it.
    pub fn kill(&mut self, index: usize) {
        let child = &mut self.children[index];
        let _ = child.kill();
        let _ = child.wait();
    }

    /// Kills the worker with this index and puts another in its place.
    pub fn replace(&mut self, index: usize, job: &Job) {
        if let Some(status) = self.children[index].try_wait().expect("a child") {
            panic!("a worker ended with {status} before it was killed");
        }
        self.kill(index);
        let new = self.spawn(job);
        let _ = self.children.swap_remove(index).wait();
        self.size -= 1;
        debug_assert_eq!(self.children.len(), new);
        // swap_remove put the newest in its place.
    }

    /// The PID of the worker with this index.
    pub fn pid(&self, index: usize) -> u32 {
        self.children[index].id()
    }

    /// How many processes were exec'd.
    pub fn len(&self) -> usize {
        self.children.len()
    }

    /// Whether no worker was started.
    pub fn is_empty(&self) -> bool {
        self.children.is_empty()
    }

    /// Waits for all to end by themselves, and returns what they said since `go`.
    ///
    /// # Panics
    /// When one fails or doesn't end.
    pub fn join(mut self) -> Vec<String> {
        self.starter = None;
        self.voice = None;
        let give_up = Instant::now() + PATIENCE;
        for child in &mut self.children {
            loop {
                match child.try_wait().expect("a child") {
                    Some(status) => break assert!(status.success(), "a worker ended with {status}"),
                    None if Instant::now() > give_up => panic!("a worker hangs"),
                    None => std::thread::sleep(Duration::from_millis(2)),
                }
            }
        }
        self.ears.iter().collect()
    }

    /// Kills all and waits until they are gone.
    ///
    /// # Panics
    /// When one has failed before.
    pub fn kill_all(mut self) -> Vec<String> {
        for child in &mut self.children {
            if let Some(status) = child.try_wait().expect("a child") {
                use std::os::unix::process::ExitStatusExt;
                assert!(status.success() || status.signal() == Some(9), "a worker ended with {status}");
            }
        }
        self.end()
    }

    fn end(&mut self) -> Vec<String> {
        for child in &mut self.children {
            let _ = child.kill();
        }
        for child in &mut self.children {
            let _ = child.wait();
        }
        (self.voice, self.starter) = (None, None);
        // When no process can write any more, the grandchildren are dead.
        let mut said = Vec::new();
        while let Ok(line) = self.ears.recv_timeout(PATIENCE) {
            said.push(line);
        }
        said
    }
}

impl Drop for WorkerPool {
    fn drop(&mut self) {
        self.end();
    }
}

impl Job {
    fn set_fork_pool(&self, count: usize) -> Job {
        self.as_mode("fork_pool").set("children", count).set("work", self.mode())
    }
}
