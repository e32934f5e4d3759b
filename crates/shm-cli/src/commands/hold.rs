//! `shm-limit hold NAME --pid PID`: a permit for several commands of a script.
//!
//! A permit belongs to a process, so a second process holds it: a child that takes the permit and stays in the background
//! until the script ends or a signal ends the child. Until the script has learned that it has the permit, no process is left
//! behind if either of the two is killed:
//!
//! - before the child has the permit, the kernel kills it when the parent dies;
//! - afterwards the child waits for the parent to confirm that it has printed the child's PID, and ends if the parent is gone.

use crate::args::Hold;
use crate::commands::attach;
use crate::commands::take::{Taken, take};
use crate::exit::{self, DONE, Failure, USAGE};
use crate::fork;
use crate::output::{self, denial};
use crate::process::{self, Process};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Pid, chdir, dup2_stderr, dup2_stdin, dup2_stdout, setsid};
use shm_lib::{Directory, ErrorKind, Outcome};
use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

/// Takes a permit in a process of its own, and prints the PID of that process.
pub(crate) fn hold(dir: &Directory, args: &Hold) -> Result<u8, Failure> {
    let script = Process::of(args.pid)
        .map_err(|e| Failure::new(format!("cannot wait for the process {}: {e}", args.pid)))?;
    check_permits(dir, args)?;
    let cannot_start = |e| Failure::new(format!("cannot start the process that holds the permit: {e}"));
    let (mut parent, child) = UnixStream::pair().map_err(cannot_start)?;
    let me = Pid::this();
    // In the parent, the closure is dropped, and with it the child's end of the stream.
    let holder = fork::forked(move || {
        fork::end_with_parent();
        if Pid::parent() != me {
            // The parent died before the kernel was asked to kill this process with it.
            return exit::FAILED;
        }
        exit::status(hold_here(dir, args, &script, child))
    });
    let holder = holder.map_err(|e| cannot_start(e.into()))?;
    if parent.read_exact(&mut [0]).is_err() {
        return Ok(status_of(holder));
    }
    output::print_line(&holder.to_string())?;
    // Without this confirmation the child ends, and the permit is free.
    parent
        .write_all(&[0])
        .map_err(|e| Failure::new(format!("the process that holds the permit has ended: {e}")))?;
    Ok(DONE)
}

/// Without permits there is nothing to hold, and nothing must be taken.
fn check_permits(dir: &Directory, args: &Hold) -> Result<(), Failure> {
    let name = args.take.target.name.as_str();
    let stated = args.take.target.flags.policy()?;
    let (permits, remedy) = match (attach(dir, &args.take.target.name), stated) {
        (Ok(limiter), _) => {
            let name = args.take.target.name.shell_word();
            (limiter.policy()?.permits(), format!("add permits by `shm-limit set {name} --permits N`"))
        }
        (Err(e), Some(stated)) if e.kind() == ErrorKind::NotFound => {
            (stated.policy().permits(), "give --permits N as well".to_owned())
        }
        // Taking reports the error, or goes on without a limit.
        (Err(_), _) => return Ok(()),
    };
    if permits.is_none() {
        let why = "has no permits, so there is nothing to hold; use `shm-limit acquire`, or";
        return Err(Failure::Other(USAGE, format!("limiter {name:?} {why} {remedy}")));
    }
    Ok(())
}

/// In the child: takes the permit, and holds it until the script ends.
fn hold_here(dir: &Directory, args: &Hold, script: &Process, mut parent: UnixStream) -> Result<u8, Failure> {
    let cannot = |what: &str, e: io::Error| Failure::new(format!("cannot {what}: {e}"));
    // What the script has open must not stay open here: a lock, or a pipe whose reader waits for its end.
    process::close_all_but(&[script.as_fd(), parent.as_fd()])
        .map_err(|e| cannot("close the script's descriptors (is /proc mounted?)", e))?;
    // A signal of the terminal, such as Ctrl-C, is for the script, which may go on.
    setsid().map_err(|e| cannot("create a session", e.into()))?;
    let Taken { limiter, outcome, signals, .. } = take(dir, &args.take)?;
    let admission = match outcome {
        Outcome::Admitted(admission) => admission,
        Outcome::Denied(denied) => {
            if !args.take.quiet {
                denial::tell(&args.take.target, &denied, "no permit is held");
            }
            return Ok(args.take.denied_status);
        }
    };
    fork::outlive_parent().and_then(|()| detach()).map_err(|e| cannot("go to the background", e))?;
    // If the parent is gone, the script does not know that it has the permit.
    if parent.write_all(&[0]).and_then(|()| parent.read_exact(&mut [0])).is_ok() {
        drop(parent);
        signals.wait_for(script.as_fd()).map_err(|e| cannot("wait for the script", e))?;
    }
    // The permit is free now, not only when the kernel notices.
    drop((admission, limiter));
    signals.end();
    Ok(DONE)
}

/// Closes the script's streams and leaves its working directory.
fn detach() -> io::Result<()> {
    let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    dup2_stderr(&null)?;
    Ok(chdir("/")?)
}

/// The exit status of a child that ended without a permit.
fn status_of(holder: Pid) -> u8 {
    loop {
        match waitpid(holder, None) {
            Ok(WaitStatus::Exited(_, status)) => return status as u8,
            Ok(WaitStatus::Signaled(_, signal, _)) => return 128 + signal as u8,
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(_) => return exit::FAILED,
        }
    }
}
