//! A policy on the command line: whole in flags or in a file for `create`, in parts for `set`.

use super::limits::Limits;
use super::octal;
use clap::{ArgGroup, Args as Group, ValueHint};
use shm_lib::limit::MAX_LIMITS;
use shm_lib::{Name, PolicySpec, Rate};
use std::path::PathBuf;

/// A policy in flags.
#[derive(Group)]
pub(crate) struct Flags {
    #[command(flatten)]
    limits: Limits,
    /// At most so many at once: whoever is admitted holds a permit until it ends
    #[arg(long, value_name = "N", requires = "rate")]
    permits: Option<u32>,
    /// Decide and count, but deny nobody: to see what it would do
    #[arg(long, requires = "rate")]
    shadow: bool,
}

impl Flags {
    /// The policy, as far as it was stated; `None` if there is no `--rate`.
    pub(crate) fn policy(&self) -> shm_lib::Result<Option<PolicySpec>> {
        if self.limits.0.is_empty() {
            return Ok(None);
        }
        let mut policy = PolicySpec::new(&self.limits.0)?;
        if let Some(n) = self.permits {
            policy = policy.with_permits(n)?;
        }
        if self.shadow {
            policy = policy.in_shadow(true);
        }
        Ok(Some(policy))
    }
}

#[derive(Group)]
#[command(group = ArgGroup::new("what").args(["rate", "from"]).required(true))]
pub(crate) struct Create {
    /// The limiter's name
    #[arg(value_parser = Name::new)]
    pub(crate) name: Name,
    #[command(flatten)]
    pub(crate) flags: Flags,
    /// Read limits, permits and shadow from a file: TOML, or JSON if it ends in .json; - for TOML from standard input
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath,
        conflicts_with_all = ["burst", "greedy", "window", "unit", "guard", "permits", "shadow"])]
    pub(crate) from: Option<PathBuf>,
    /// If the limiter exists with other settings, succeed and leave it as it is
    #[arg(long)]
    pub(crate) keep: bool,
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
    .args(["rate", "burst", "permits", "no_permits", "shadow", "no_shadow", "from"])
    .required(true)
    .multiple(true))]
#[command(group = ArgGroup::new("pace").args(["rate", "burst"]).multiple(true))]
pub(crate) struct Set {
    /// The limiter's name
    #[arg(value_parser = Name::new)]
    pub(crate) name: Name,
    /// The new rate, for example 5/s
    #[arg(short, long, value_name = "MAX/PER")]
    pub(crate) rate: Option<Rate>,
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
    /// Deny nobody from now on
    #[arg(long, conflicts_with = "no_shadow")]
    pub(crate) shadow: bool,
    /// Deny again
    #[arg(long)]
    pub(crate) no_shadow: bool,
    /// Replace all of it by what this file says; see create
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath,
        conflicts_with_all = ["rate", "burst", "limit", "permits", "no_permits", "shadow", "no_shadow"])]
    pub(crate) from: Option<PathBuf>,
}
