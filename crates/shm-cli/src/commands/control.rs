//! What changes a limiter for everybody and is small: reset, pause, resume, remove.

use crate::args::{Named, Pause, Remove};
use crate::commands::{attach, builder};
use crate::exit::{DONE, Failure};
use crate::output::{self, duration, printable};
use shm_lib::{Directory, ErrorKind};

/// `reset NAME`.
pub(crate) fn reset(dir: &Directory, args: &Named) -> Result<u8, Failure> {
    attach(dir, &args.name)?.reset()?;
    done(&format!("{}: as if new", args.name))
}

/// `pause NAME TIME`.
pub(crate) fn pause(dir: &Directory, args: &Pause) -> Result<u8, Failure> {
    let limiter = attach(dir, &args.name)?;
    limiter.pause_for(args.time)?;
    // An earlier pause may be the longer one.
    let seen = limiter.inspect()?;
    done(&match seen.paused_until {
        Some(until) => format!("{}: paused for {}", args.name, duration::short(until.since(seen.now))),
        None => format!("{}: not paused", args.name),
    })
}

/// `resume NAME`.
pub(crate) fn resume(dir: &Directory, args: &Named) -> Result<u8, Failure> {
    let limiter = attach(dir, &args.name)?;
    let was_paused = limiter.inspect()?.paused_until.is_some();
    limiter.resume()?;
    done(&format!("{}: {}", args.name, if was_paused { "resumed" } else { "was not paused" }))
}

/// `remove NAME [--force]`.
pub(crate) fn remove(dir: &Directory, args: &Remove) -> Result<u8, Failure> {
    if args.force {
        builder(dir, &args.name).remove_by_force()?;
    } else {
        attach(dir, &args.name).map_err(|e| nothing_to_remove(dir, args, e))?.retire()?;
    }
    done(&format!("{}: removed", args.name))
}

fn done(what: &str) -> Result<u8, Failure> {
    output::print_line(what)?;
    Ok(DONE)
}

/// The library's advice for a limiter that does not exist is to create it.
fn nothing_to_remove(dir: &Directory, args: &Remove, error: shm_lib::Error) -> Failure {
    if error.kind() != ErrorKind::NotFound {
        return error.into();
    }
    let path = printable::path(dir.file(&args.name));
    Failure::new(format!(
        "limiter {:?} ({path}): it does not exist, so there is nothing to remove",
        args.name.as_str()
    ))
}
