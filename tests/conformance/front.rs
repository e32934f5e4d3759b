//! The fronts, and what each of them cannot do: everything else is expected of it.

use harness::log_uncaptured;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

/// The drivers that are programs in Rust.
const DRIVER: &str = env!("CARGO_BIN_EXE_conformance-driver");
const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A way to use limiters.
#[derive(Clone, Debug)]
pub(crate) struct Front {
    pub(crate) name: &'static str,
    /// Its driver, and the arguments of that.
    command: Vec<PathBuf>,
    /// Scenarios with an operation that it does not have, and why.
    pub(crate) skips: &'static [(&'static str, &'static str)],
    /// Fields of answers that it does not have: the operation, the field, and why.
    pub(crate) silent: &'static [(&'static str, &'static str, &'static str)],
}

impl Front {
    /// A process of its driver, in this directory.
    pub(crate) fn driver(&self, dir: &Path) -> Command {
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]).env(shm_lib::DIR_VARIABLE, dir);
        command
    }

    /// Whether a kept admission tells its instant.
    pub(crate) fn tells_kept_instants(&self) -> bool {
        !self.silent.iter().any(|&(_, field, _)| field == "at")
    }

    /// The library with a mistake.
    pub(crate) fn wrong(mistake: &'static str) -> Front {
        Front { name: mistake, command: vec![DRIVER.into(), mistake.into()], skips: &[], silent: &[] }
    }
}

fn rust() -> Front {
    Front { name: "rust", command: vec![DRIVER.into(), "rust".into()], skips: &[], silent: &[] }
}

/// The command is built beside the driver: `cargo build -p shm-cli` with the same profile.
fn command() -> Option<Front> {
    let path = Path::new(DRIVER).with_file_name("shm-limit");
    path.exists().then(|| Front {
        name: "command",
        command: vec![DRIVER.into(), "command".into(), path],
        skips: &[
            ("cancel", "a reservation is taken for good, because its process ends"),
            ("max-waiters-of-a-request", "the command has no such bound"),
        ],
        silent: &[
            ("acquire", "at", "what is kept is a program of `run`, which tells nothing about itself"),
            ("acquire", "shadowed", "the same"),
            ("settle", "given_back", "the same"),
            ("try", "at", "the same"),
            ("try", "shadowed", "the same"),
        ],
    })
}

/// The interpreter into which `cargo xtask test python` installed the wheel, unless that is older than its sources.
fn python() -> Option<Front> {
    let root = Path::new(ROOT);
    let interpreter = root.join("target/python/clean/bin/python");
    let found =
        Command::new(&interpreter).args(["-c", "import shm_limit._native as n; print(n.__file__)"]).output();
    let file = found.ok().filter(|found| found.status.success())?;
    let installed = modified(Path::new(String::from_utf8_lossy(&file.stdout).trim()));
    let sources = ["crates/shm-core/src", "crates/shm-lib/src", "crates/shm-py/src", "crates/shm-py/python"];
    let is_newer = |folder: &str| newest(&root.join(folder)) > installed;
    (!sources.into_iter().any(is_newer)).then(|| Front {
        name: "python",
        command: vec![interpreter, root.join("tests/conformance/drivers/python.py")],
        skips: &[],
        silent: &[],
    })
}

/// Starts a process that does nothing, and waits for its end.
pub(crate) fn start_and_end_a_process() {
    let mut command = Command::new(DRIVER);
    let done = command.arg("hold").stdin(Stdio::null()).stdout(Stdio::null()).status();
    assert!(done.is_ok_and(|status| status.success()));
}

fn modified(file: &Path) -> SystemTime {
    file.metadata().and_then(|file| file.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// When a file in this folder was changed last.
fn newest(folder: &Path) -> SystemTime {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let of = |path: PathBuf| if path.is_dir() { newest(&path) } else { modified(&path) };
    entries.map(|entry| of(entry.path())).max().unwrap_or(SystemTime::UNIX_EPOCH)
}

/// All that are there.
pub(crate) fn all() -> Vec<Front> {
    let mut fronts = vec![rust()];
    match command() {
        Some(front) => fronts.push(front),
        None => log_uncaptured(
            "SKIPPED command: shm-limit is not built; `cargo xtask test conformance` does that",
        ),
    }
    match python() {
        Some(front) => fronts.push(front),
        None => log_uncaptured(
            "SKIPPED python: no wheel is installed, or an old one; `cargo xtask test python` installs it",
        ),
    }
    fronts
}
