//! `reset`, `pause`, `resume` and `remove`: small changes that affect every process.

use crate::args::{Named, Pause, Remove, Reset};
use crate::commands::{attach, attach_keyed, builder, if_missing};
use crate::exit::{DONE, Failure};
use crate::output::{self, duration, human, keys};
use shm_lib::{Directory, Key};

/// `reset NAME [--key KEY]`.
pub(crate) fn reset(dir: &Directory, args: &Reset) -> Result<u8, Failure> {
    let Some(named) = args.key.named() else {
        let limiter = attach(dir, &args.name)?;
        limiter.reset()?;
        let all = if limiter.policy()?.keys().is_some() { ", with all its keys" } else { "" };
        return done(&format!("{}: reset{all}", args.name));
    };
    let limiter = attach_keyed(dir, &args.name)?;
    let key = limiter.key(Key::from(&named.key));
    let what = if key.reset()? { "reset" } else { "had used nothing" };
    // Else the operator thinks that it is served now.
    let but = if keys::inherits(&key.status()?) {
        "; the table is too full for it, so it counts what another key owes (`shm-limit inspect` tells which capacity would do)"
    } else {
        ""
    };
    done(&format!("{}: key {} {what}{but}", args.name, human::key(&named.parts)))
}

/// `pause NAME TIME`.
pub(crate) fn pause(dir: &Directory, args: &Pause) -> Result<u8, Failure> {
    let limiter = attach(dir, &args.name)?;
    limiter.pause_for(args.time)?;
    // An earlier pause may end later.
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
        let remedy = "so there is nothing to remove";
        let limiter = builder(dir, &args.name).attach();
        limiter.map_err(|e| if_missing(dir, &args.name, e, remedy))?.retire()?;
    }
    done(&format!("{}: removed", args.name))
}

fn done(what: &str) -> Result<u8, Failure> {
    output::print_line(what)?;
    Ok(DONE)
}
