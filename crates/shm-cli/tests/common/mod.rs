//! Shared by the black-box tests: the command with a directory of its own.
#![allow(dead_code, missing_docs, unreachable_pub)]

use assert_cmd::Command;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A directory of limiters for one test.
pub struct Sandbox(pub TempDir);

/// How a command ended.
pub struct Ended {
    pub status: i32,
    pub out: String,
    pub err: String,
}

impl Sandbox {
    pub fn new() -> Sandbox {
        Sandbox(tempfile::tempdir().unwrap())
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Runs `shm-limit` with these arguments, to its end.
    pub fn run(&self, args: &[&str]) -> Ended {
        let mut command = Command::cargo_bin("shm-limit").unwrap();
        let output = command
            .env("SHM_LIMIT_DIR", self.path())
            .args(args)
            .timeout(Duration::from_secs(60))
            .output()
            .unwrap();
        Ended {
            status: output.status.code().expect("ended by a signal"),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Runs it, expects status 0, and returns its standard output.
    pub fn ok(&self, args: &[&str]) -> String {
        let ended = self.run(args);
        assert_eq!(ended.status, 0, "{args:?}: {}", ended.err);
        ended.out
    }

    /// Runs it and reads its JSON.
    pub fn json(&self, args: &[&str]) -> serde_json::Value {
        serde_json::from_str(&self.run(args).out).unwrap()
    }

    /// The command, not yet started.
    pub fn command(&self, args: &[&str]) -> std::process::Command {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_shm-limit"));
        command.env("SHM_LIMIT_DIR", self.path()).args(args).stdin(Stdio::null());
        command
    }

    /// The same, so that SIGINT ends it. (A job in a shell's background inherits that it is ignored, which `shm-limit` keeps.)
    pub fn interruptible(&self, args: &[&str]) -> std::process::Command {
        let action = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
        let mut command = self.command(args);
        // SAFETY: sigaction(2) and sigprocmask(2) are async-signal-safe, and nothing else runs in the child.
        unsafe {
            command.pre_exec(move || {
                sigaction(Signal::SIGINT, &action)?;
                Ok(SigSet::from(Signal::SIGINT).thread_unblock()?)
            });
        }
        command
    }

    /// Starts it in the background.
    pub fn start(&self, args: &[&str]) -> Child {
        self.command(args).stdout(Stdio::null()).spawn().unwrap()
    }

    /// Waits until this number of callers wait.
    pub fn until_queue_is(&self, name: &str, callers: u64) {
        until(|| self.json(&["inspect", name, "--json"])["callers_waiting"] == callers);
    }
}

/// How a command ends that was started with its standard error piped.
pub fn end_of(child: Child) -> Ended {
    let output = child.wait_with_output().unwrap();
    Ended {
        status: output.status.code().expect("ended by a signal"),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Waits until the condition holds, however busy the machine is.
pub fn until(mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "the condition never held");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Runs a shell script with a `/dev/shm` and a `/run` of its own, in a mount namespace, without `SHM_LIMIT_DIR`; its
/// standard error. `None` if this is not root.
pub fn isolated(script: &str) -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: only root has mount namespaces here");
        return None;
    }
    let setup = "set -e
        mount -t tmpfs -o mode=1777 tmpfs /dev/shm
        mount -t tmpfs -o mode=755 tmpfs /run
        cp \"$PROGRAM\" /run/shm-limit
        chmod 755 /run/shm-limit
        PATH=/run:$PATH
        as() { uid=$1; shift; setpriv --reuid=$uid --regid=$uid --clear-groups \"$@\"; }";
    let mut command = std::process::Command::new("unshare");
    command.args(["--mount", "sh", "-c", &format!("{setup}\n{script}")]);
    command.env("PROGRAM", env!("CARGO_BIN_EXE_shm-limit")).env_remove("SHM_LIMIT_DIR");
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    Some(said)
}
