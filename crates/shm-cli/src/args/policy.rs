//! A policy on the command line: whole in flags or in a file for `create`, in parts for `set`.

use super::limits::Limits;
use super::{limiter_names, octal};
use clap::{ArgGroup, Args as Group, ValueHint};
use shm_lib::limit::MAX_LIMITS;
use shm_lib::{Name, PolicySpec, Rate};
use std::path::PathBuf;

/// A policy in flags.
#[derive(Group)]
#[command(group = ArgGroup::new("policy").args(["rate", "permits"]).multiple(true))]
pub(crate) struct Flags {
    #[command(flatten)]
    limits: Limits,
    /// At most so many at once: each admission holds a permit until it ends. With --rate, or alone
    #[arg(long, value_name = "N")]
    permits: Option<u32>,
    /// A setting of the limiter: at most so many callers wait, in all processes together; a further one is refused at once
    /// [default: any number may wait]
    #[arg(long, value_name = "N", requires = "policy")]
    max_waiters: Option<u32>,
    /// Decide and count, but deny nobody: to see what it would do
    #[arg(long, requires = "policy")]
    shadow: bool,
}

impl Flags {
    /// The policy, as far as it was stated; `None` if there is neither `--rate` nor `--permits`.
    pub(crate) fn policy(&self) -> shm_lib::Result<Option<PolicySpec>> {
        let limits = &self.limits.0;
        let policy = match self.permits {
            None if limits.is_empty() => return Ok(None),
            None => PolicySpec::new(limits)?,
            Some(n) if limits.is_empty() => PolicySpec::of_permits(n)?,
            Some(n) => PolicySpec::new(limits)?.with_permits(n)?,
        };
        let policy = self.max_waiters.map_or(policy, |n| policy.with_max_waiters(n));
        Ok(Some(if self.shadow { policy.in_shadow(true) } else { policy }))
    }
}

#[derive(Group)]
#[command(group = ArgGroup::new("what").args(["rate", "permits", "from"]).required(true).multiple(true))]
pub(crate) struct Create {
    /// The limiter's name
    #[arg(value_parser = Name::new, add = limiter_names())]
    pub(crate) name: Name,
    #[command(flatten)]
    pub(crate) flags: Flags,
    /// Read the policy from a file: TOML, or JSON if it ends in .json; - for TOML from standard input
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath,
        conflicts_with_all = ["rate", "burst", "greedy", "window", "unit", "guard", "permits", "max_waiters", "shadow"])]
    pub(crate) from: Option<PathBuf>,
    /// If the limiter exists with other settings, succeed and leave it as it is
    #[arg(long)]
    pub(crate) keep: bool,
    /// If the limiter exists, put a new one in its place, for example with more seats: its usage starts anew, and
    /// processes that have it open go over to the new one
    #[arg(long, conflicts_with = "keep")]
    pub(crate) replace: bool,
    /// Who may use it: 600 (you), 660 (the file's group) or 666 (every user) [default: 600; 660 in a setgid directory
    /// that its group can write to]
    #[arg(short, long, value_name = "MODE", value_parser = octal)]
    pub(crate) mode: Option<u32>,
    /// For how many processes at once: so many can be shown and counted each for itself, and so many can use several
    /// limits or permits [default: 128]
    #[arg(long, value_name = "N")]
    pub(crate) seats: Option<usize>,
}

#[derive(Group)]
#[command(group = ArgGroup::new("what")
    .args([
        "rate", "no_rate", "burst", "permits", "no_permits", "max_waiters", "no_max_waiters", "shadow",
        "no_shadow", "from",
    ])
    .required(true)
    .multiple(true))]
#[command(group = ArgGroup::new("pace").args(["rate", "burst"]).multiple(true))]
pub(crate) struct Set {
    /// The limiter's name
    #[arg(value_parser = Name::new, add = limiter_names())]
    pub(crate) name: Name,
    /// The new rate, for example 5/s. A limiter with permits only gets a limit
    #[arg(short, long, value_name = "MAX/PER")]
    pub(crate) rate: Option<Rate>,
    /// Remove all limits and keep the permits
    #[arg(long, conflicts_with = "pace")]
    pub(crate) no_rate: bool,
    /// The new burst
    #[arg(short, long, value_name = "N")]
    pub(crate) burst: Option<u64>,
    /// Of which limit, as `inspect` numbers them
    #[arg(short, long, value_name = "K", default_value_t = 1, requires = "pace", value_parser = clap::value_parser!(u8).range(1..=MAX_LIMITS as i64))]
    pub(crate) limit: u8,
    /// At most so many at once
    #[arg(long, value_name = "N", conflicts_with = "no_permits")]
    pub(crate) permits: Option<u32>,
    /// Any number at once
    #[arg(long)]
    pub(crate) no_permits: bool,
    /// At most so many callers wait, in all processes together; a further one is refused at once
    #[arg(long, value_name = "N", conflicts_with = "no_max_waiters")]
    pub(crate) max_waiters: Option<u32>,
    /// Any number of callers may wait
    #[arg(long)]
    pub(crate) no_max_waiters: bool,
    /// Deny nobody from now on
    #[arg(long, conflicts_with = "no_shadow")]
    pub(crate) shadow: bool,
    /// Deny again
    #[arg(long)]
    pub(crate) no_shadow: bool,
    /// Replace all of it by what this file says; see create
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath,
        conflicts_with_all = ["rate", "no_rate", "burst", "limit", "permits", "no_permits", "max_waiters",
            "no_max_waiters", "shadow", "no_shadow"])]
    pub(crate) from: Option<PathBuf>,
}
