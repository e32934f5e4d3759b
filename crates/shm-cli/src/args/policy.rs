//! A policy on the command line: whole in flags or in a file for `create`, in parts for `set`.

use super::limits::Limits;
use super::{limiter_names, octal};
use clap::{ArgGroup, Args as Group, ValueHint};
use shm_lib::limit::MAX_LIMITS;
use shm_lib::{Name, PolicySpec, Rate, Zone};
use std::path::PathBuf;

/// A policy in flags.
#[derive(Group)]
#[command(group = ArgGroup::new("policy").args(["rate", "permits"]).multiple(true))]
pub(crate) struct Flags {
    #[command(flatten)]
    limits: Limits,
    /// At most N at once: each admission holds a permit until it ends. With --rate, or alone
    #[arg(long, value_name = "N")]
    permits: Option<u32>,
    /// At most N callers wait, in all processes together; further ones are denied at once. A setting of the limiter
    /// [default: any number may wait]
    #[arg(long, value_name = "N", requires = "policy")]
    max_waiters: Option<u32>,
    /// Shadow mode: decide and count, but deny no request
    #[arg(long, requires = "policy")]
    shadow: bool,
}

impl Flags {
    /// The policy that the flags state; `None` if there is neither `--rate` nor `--permits`.
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
    /// Read the policy from a file: JSON if its name ends in .json, otherwise TOML; - is TOML on standard input
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath,
        conflicts_with_all = ["rate", "burst", "greedy", "window", "zone", "unit", "guard", "permits", "max_waiters", "shadow"])]
    pub(crate) from: Option<PathBuf>,
    /// If the limiter exists with other settings, succeed and do not change it
    #[arg(long)]
    pub(crate) keep: bool,
    /// If the limiter exists, put a new one in its place, for example with more seats. Usage starts at zero, and processes
    /// that have the old one open go over to the new one
    #[arg(long, conflicts_with = "keep")]
    pub(crate) replace: bool,
    /// Permissions of the file: 600 (its owner), 660 (its group) or 666 (every user) [default: 600; 660 in a setgid
    /// directory that its group can write to]
    #[arg(short, long, value_name = "MODE", value_parser = octal)]
    pub(crate) mode: Option<u32>,
    /// Number of processes that can have a seat at a time. Without a seat, a process can use only a single bucket of calls
    /// without permits [default: 128]
    #[arg(long, value_name = "N")]
    pub(crate) seats: Option<usize>,
}

#[derive(Group)]
#[command(group = ArgGroup::new("what")
    .args([
        "rate", "no_rate", "burst", "zone", "permits", "no_permits", "max_waiters", "no_max_waiters", "shadow",
        "no_shadow", "from",
    ])
    .required(true)
    .multiple(true))]
#[command(group = ArgGroup::new("pace").args(["rate", "burst"]).multiple(true))]
pub(crate) struct Set {
    /// The limiter's name
    #[arg(value_parser = Name::new, add = limiter_names())]
    pub(crate) name: Name,
    /// The new rate, for example 5/s. Adds a limit to a limiter with permits only
    #[arg(short, long, value_name = "MAX/PER")]
    pub(crate) rate: Option<Rate>,
    /// Remove all limits and keep the permits
    #[arg(long, conflicts_with = "pace")]
    pub(crate) no_rate: bool,
    /// The new burst
    #[arg(short, long, value_name = "N")]
    pub(crate) burst: Option<u64>,
    /// The new time zone of calendar windows, for example Europe/Berlin, or local for this machine's
    #[arg(long, value_name = "NAME", conflicts_with = "no_rate", value_parser = super::limits::zone)]
    pub(crate) zone: Option<Zone>,
    /// Number of the limit to change, as `inspect` shows it
    #[arg(short, long, value_name = "K", default_value_t = 1, requires = "pace", value_parser = clap::value_parser!(u8).range(1..=MAX_LIMITS as i64))]
    pub(crate) limit: u8,
    /// At most N at once
    #[arg(long, value_name = "N", conflicts_with = "no_permits")]
    pub(crate) permits: Option<u32>,
    /// No permits: any number at once
    #[arg(long)]
    pub(crate) no_permits: bool,
    /// At most N callers wait, in all processes together; further ones are denied at once
    #[arg(long, value_name = "N", conflicts_with = "no_max_waiters")]
    pub(crate) max_waiters: Option<u32>,
    /// Any number of callers may wait
    #[arg(long)]
    pub(crate) no_max_waiters: bool,
    /// Deny no request from now on (shadow mode)
    #[arg(long, conflicts_with = "no_shadow")]
    pub(crate) shadow: bool,
    /// Deny requests again
    #[arg(long)]
    pub(crate) no_shadow: bool,
    /// Replace the whole policy by the one in this file; see `shm-limit create --help`
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath,
        conflicts_with_all = ["rate", "no_rate", "burst", "zone", "limit", "permits", "no_permits", "max_waiters",
            "no_max_waiters", "shadow", "no_shadow"])]
    pub(crate) from: Option<PathBuf>,
}
