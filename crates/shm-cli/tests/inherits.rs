//! A command inherits the signal dispositions and the mask that `shm-limit` was started with.

mod common;

use common::Sandbox;
use nix::sys::signal::{SigSet, Signal};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

const LOOK: &str = "grep -E 'Sig(Ign|Blk|Cgt)|Shd' /proc/self/status";

/// The signal state that grep reports of itself, started by a shell that first runs `setup`, with these signals blocked.
fn signal_state(sandbox: &Sandbox, setup: &str, blocked: &[Signal], run: &str) -> String {
    let mut mask = SigSet::empty();
    for &signal in blocked {
        mask.add(signal);
    }
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &format!("{setup}exec {run} {LOOK}")])
        .env("SHM_LIMIT_DIR", sandbox.path())
        .stdin(Stdio::null());
    // SAFETY: the closure only sets the signal mask, which is async-signal-safe.
    unsafe { shell.pre_exec(move || mask.thread_set_mask().map_err(Into::into)) };
    let output = shell.output().unwrap();
    assert!(output.status.success(), "{setup}{run}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().map(|line| {
        let (what, bits) = line.split_once(":\t").unwrap();
        // glibc's posix_spawn ignores its two internal signals in the child; an application sees neither.
        let bits = u64::from_str_radix(bits, 16).unwrap() & !(0b11 << 31);
        format!("{what} {bits:x}\n")
    });
    lines.collect()
}

#[test]
fn dispositions_and_the_mask_are_passed_on_unchanged() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["create", "plain", "--rate", "1000/s"]);
    sandbox.ok(&["create", "held", "--rate", "1000/s", "--permits", "1"]);
    let program = env!("CARGO_BIN_EXE_shm-limit");
    for (setup, blocked) in [
        ("", &[][..]),
        ("trap '' PIPE; ", &[]),
        ("trap '' HUP INT; ", &[]),
        ("trap '' TERM QUIT USR1 PIPE; ", &[]),
        ("trap '' CHLD; ", &[]),
        ("", &[Signal::SIGTERM, Signal::SIGUSR1, Signal::SIGCHLD, Signal::SIGPIPE]),
        ("trap '' PIPE USR2; ", &[Signal::SIGINT, Signal::SIGUSR2]),
    ] {
        let alone = signal_state(&sandbox, setup, blocked, "");
        for name in ["plain", "held"] {
            let through = signal_state(&sandbox, setup, blocked, &format!("{program} run {name} --"));
            assert_eq!(through, alone, "run {name}, {setup:?}, blocked {blocked:?}");
        }
    }
}
