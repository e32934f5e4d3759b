//! Forking, which Rust can't make safe in general and which is safe here.

use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{ForkResult, Pid, fork};
use std::io;
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;

/// Runs `child` in a forked process, which ends with it. Only while this process has a single thread.
#[allow(unsafe_code)]
pub(crate) fn forked(child: impl FnOnce() -> u8) -> nix::Result<Pid> {
    debug_assert!(is_alone());
    // SAFETY: fork asks that the child of a process with several threads calls only what is async-signal-safe. This
    // process has one thread: the demo and `run` fork before any other is started.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            let code = catch_unwind(AssertUnwindSafe(child)).unwrap_or(101);
            // SAFETY: _exit has no preconditions. The parent's destructors and buffers are not this process's to run.
            unsafe { libc::_exit(code.into()) }
        }
    }
}

/// Makes this process end with its parent, even if it is stopped.
pub(crate) fn end_with_parent() {
    let _ = prctl::set_pdeathsig(Signal::SIGKILL);
}

/// Makes this process outlive its parent.
pub(crate) fn outlive_parent() -> io::Result<()> {
    Ok(prctl::set_pdeathsig(None)?)
}

/// Makes the command's process end with this one, which must start it from its first thread: the kernel means threads.
#[allow(unsafe_code)]
pub(crate) fn command_ends_with_me(command: &mut Command) {
    let me = Pid::this();
    let ask = move || {
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        let parent = Pid::parent();
        // This process may have died before the kernel was asked. (Its PID is 0 where the child has a PID namespace of its
        // own.)
        if parent != me && parent.as_raw() != 0 { Err(nix::Error::ESRCH.into()) } else { Ok(()) }
    };
    // SAFETY: between fork and exec only async-signal-safe calls are allowed: this calls prctl and getppid.
    unsafe { command.pre_exec(ask) };
}

fn is_alone() -> bool {
    std::fs::read_dir("/proc/self/task").map_or(true, |tasks| tasks.count() == 1)
}
