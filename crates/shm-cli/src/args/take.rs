//! What `acquire` and `run` take.

use super::octal;
use super::policy::Flags;
use crate::exit::DENIED;
use clap::{Args as Group, ValueHint};
use shm_lib::limit::parse_span;
use shm_lib::{Name, Unit};
use std::ffi::OsString;
use std::time::Duration;

/// What to take from which limiter, and how patiently.
#[derive(Group)]
pub(crate) struct Take {
    /// The limiter's name
    #[arg(value_parser = Name::new)]
    pub(crate) name: Name,
    #[command(flatten)]
    pub(crate) flags: Flags,
    /// If the limiter exists with other settings, use it as it is
    #[arg(long, requires = "policy")]
    pub(crate) keep: bool,
    /// The permissions if it is created here: 600, 660 or 666 [default: 600; 660 in a setgid directory that its group
    /// can write to]
    #[arg(short, long, value_name = "MODE", value_parser = octal, requires = "policy")]
    pub(crate) mode: Option<u32>,
    /// How many processes it is for, if it is created here [default: 128]
    #[arg(long, value_name = "N", requires = "policy")]
    pub(crate) seats: Option<usize>,
    /// For how many calls; 0 only together with --take
    #[arg(short = 'n', long, alias = "tokens", value_name = "N", default_value_t = 1)]
    pub(crate) calls: u64,
    /// How much of a unit that it counts, for example tokens=500; once for each of its units
    #[arg(long = "take", value_name = "UNIT=AMOUNT", value_parser = amount)]
    pub(crate) amounts: Vec<(Unit, u64)>,
    /// Don't wait: take it now or exit with 75
    #[arg(long = "try", conflicts_with = "timeout")]
    pub(crate) try_only: bool,
    /// Wait at most this long. A turn that would come later is not taken: exits with 75 at once
    #[arg(short, long, value_name = "TIME", value_parser = parse_span)]
    pub(crate) timeout: Option<Duration>,
    /// Say nothing when denied: only the exit status tells
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Exit with this status when denied, for example 0 for cron jobs and systemd units
    #[arg(long, value_name = "N", default_value_t = DENIED)]
    pub(crate) denied_status: u8,
    /// After a second of waiting, say so on standard error, with the position in the line
    #[arg(short, long, conflicts_with_all = ["try_only", "quiet"])]
    pub(crate) verbose: bool,
}

#[derive(Group)]
pub(crate) struct Acquire {
    #[command(flatten)]
    pub(crate) take: Take,
    /// Print a JSON object, for programs
    #[arg(long, conflicts_with = "quiet")]
    pub(crate) json: bool,
}

#[derive(Group)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) take: Take,
    /// Kill the command when this process is killed (KILL): else it goes on, without the permit
    #[arg(long)]
    pub(crate) kill_with_me: bool,
    /// The command and its arguments
    #[arg(value_name = "COMMAND", required = true, trailing_var_arg = true, value_hint = ValueHint::CommandWithArguments)]
    pub(crate) command: Vec<OsString>,
}

fn amount(text: &str) -> Result<(Unit, u64), String> {
    let bad = || format!("{text:?} is no amount; write UNIT=AMOUNT, for example tokens=500");
    let (unit, amount) = text.split_once('=').ok_or_else(bad)?;
    let unit = Unit::named(unit).map_err(|e| e.to_string())?;
    Ok((unit, amount.parse().map_err(|_| bad())?))
}
