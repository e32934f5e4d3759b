//! Forking, which is not safe in general, and why it is safe here.

use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{ForkResult, Pid, fork};
use std::io;
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;

/// Runs `child` in a forked process, which ends when `child` returns. This process must have a single thread.
#[allow(unsafe_code)]
pub(crate) fn forked(child: impl FnOnce() -> u8) -> nix::Result<Pid> {
    debug_assert!(has_one_thread());
    // SAFETY: fork asks that the child of a process with several threads calls only what is async-signal-safe. This
    // process has one thread: the demo, `run` and `hold` fork before any other thread is started.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            let code = catch_unwind(AssertUnwindSafe(child)).unwrap_or(101);
            // SAFETY: _exit has no preconditions. The parent's destructors and buffers must not run in this process.
            unsafe { libc::_exit(code.into()) }
        }
    }
}

/// Lets the kernel kill this process when its parent dies, even if this process is stopped.
pub(crate) fn end_with_parent() {
    let _ = prctl::set_pdeathsig(Signal::SIGKILL);
}

/// Lets this process outlive its parent again.
pub(crate) fn outlive_parent() -> io::Result<()> {
    Ok(prctl::set_pdeathsig(None)?)
}

/// Lets the kernel kill the command's process when this one dies. The first thread must start the command, because the kernel
/// means the thread that started it.
#[allow(unsafe_code)]
pub(crate) fn command_ends_with_me(command: &mut Command) {
    let me = Pid::this();
    let ask = move || {
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        let parent = Pid::parent();
        // The parent may have died before that call. (Its PID is 0 if the child has a PID namespace of its own.)
        if parent != me && parent.as_raw() != 0 { Err(nix::Error::ESRCH.into()) } else { Ok(()) }
    };
    // SAFETY: between fork and exec only async-signal-safe calls are allowed: this calls prctl and getppid.
    unsafe { command.pre_exec(ask) };
}

fn has_one_thread() -> bool {
    std::fs::read_dir("/proc/self/task").map_or(true, |tasks| tasks.count() == 1)
}
