//! The demo prints its verdict, and leaves nothing behind.

mod common;

use common::{Sandbox, until};
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;

#[test]
fn a_short_demo_prints_its_verdict() {
    let sandbox = Sandbox::new();
    let said = sandbox.ok(&["demo", "--seconds", "1", "--workers", "4"]);
    for word in ["killed", "stopped", "resumed", "limit kept in every window of every length: yes"] {
        assert!(said.contains(word), "{word}: {said}");
    }
    assert_eq!(std::fs::read_dir(sandbox.path()).unwrap().count(), 0);
}

#[test]
fn an_interrupted_demo_leaves_no_process_and_no_file() {
    let sandbox = Sandbox::new();
    let mut command = sandbox.interruptible(&["demo", "--seconds", "60"]);
    let mut demo = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    lines.find(|line| line.as_ref().unwrap().contains("admitted")).unwrap().unwrap();
    let of_demo = format!("/proc/{0}/task/{0}/children", demo.id());
    let children = std::fs::read_to_string(of_demo).unwrap_or_default();
    let id = demo.id();
    assert_eq!(directories(id), 1);
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(demo.id() as i32), nix::sys::signal::SIGINT).unwrap();
    assert_eq!(demo.wait().unwrap().signal(), Some(2));
    until(|| children.split_whitespace().all(|pid| !std::path::Path::new(&format!("/proc/{pid}")).exists()));
    assert_eq!(directories(id), 0);
}

/// The number of directories of that demo.
fn directories(id: u32) -> usize {
    let prefix = format!("shm-limit-demo-{id}-");
    let places = [std::path::PathBuf::from("/dev/shm"), std::env::temp_dir()];
    let entries =
        places.iter().flat_map(|sandbox| std::fs::read_dir(sandbox).into_iter().flatten().flatten());
    entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix)).count()
}
