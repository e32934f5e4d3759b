//! A policy on the command line: whole in flags or in a file for `create`, in parts for `set`.

use super::limits::Limits;
use super::{limiter_names, octal};
use clap::{ArgGroup, Args as Group, ValueHint};
use shm_lib::limit::{KeySpec, LimitSpec, MAX_LIMITS};
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
    /// At most N callers wait, in all processes together (for a key: in each process); further ones are denied at once. A setting of the limiter
    /// [default: any number may wait]
    #[arg(long, value_name = "N", requires = "policy")]
    max_waiters: Option<u32>,
    /// Shadow mode: decide and count, but deny no request
    #[arg(long, requires = "policy")]
    shadow: bool,
    /// Every --rate is a limit per key: each key, for example each user, has it for itself
    #[arg(long, requires = "rate")]
    pub(crate) keyed: bool,
    /// With --keyed: at most MAX per PER for all keys together
    #[arg(long, value_name = "MAX/PER", requires = "keyed")]
    all_rate: Option<Rate>,
    /// The burst of --all-rate [default: 1, evenly spaced]
    #[arg(long, value_name = "N", requires = "all_rate")]
    all_burst: Option<u64>,
    /// With --keyed: if the table is full for a new key, deny it. Without this, the key that recovers first is forgotten, and
    /// the new key inherits what that one owes
    #[arg(long, requires = "keyed")]
    refuse_new_keys: bool,
    /// With --keyed: keep no names of denied keys in the file
    #[arg(long, requires = "keyed")]
    hide_names: bool,
}

impl Flags {
    /// The policy that the flags state; `None` if there is neither `--rate` nor `--permits`.
    pub(crate) fn policy(&self) -> shm_lib::Result<Option<PolicySpec>> {
        let limits = &self.limits.0;
        if self.keyed {
            return self.keyed_policy().map(Some);
        }
        let policy = match self.permits {
            None if limits.is_empty() => return Ok(None),
            None => PolicySpec::new(limits)?,
            Some(n) if limits.is_empty() => PolicySpec::of_permits(n)?,
            Some(n) => PolicySpec::new(limits)?.with_permits(n)?,
        };
        Ok(Some(self.with_the_rest(policy)))
    }

    /// The policy where each --rate is a limit per key.
    fn keyed_policy(&self) -> shm_lib::Result<PolicySpec> {
        let keys = KeySpec::new(&self.limits.0)?;
        let keys = if self.refuse_new_keys { keys.refusing_new_keys(true) } else { keys };
        let keys = if self.hide_names { keys.hiding_names(true) } else { keys };
        let policy = match self.all_rate {
            Some(rate) => PolicySpec::new(&[LimitSpec { burst: self.all_burst, ..LimitSpec::of(rate) }])?
                .with_keys(keys),
            None => PolicySpec::of_keys(keys),
        };
        let policy = self.permits.map_or(Ok(policy), |n| policy.with_permits(n))?;
        Ok(self.with_the_rest(policy))
    }

    fn with_the_rest(&self, policy: PolicySpec) -> PolicySpec {
        let policy = self.max_waiters.map_or(policy, |n| policy.with_max_waiters(n));
        if self.shadow { policy.in_shadow(true) } else { policy }
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
        conflicts_with_all = ["rate", "burst", "greedy", "window", "zone", "unit", "guard", "permits", "max_waiters", "shadow",
            "keyed", "all_rate", "all_burst", "refuse_new_keys", "hide_names"])]
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
    /// With --keyed: how many keys can owe something at a time. With more, new keys begin to be denied for what others owe. The
    /// table takes 40 bytes for each of them and each limit per key, as they come, and has room for 102 at least [default: 100000]
    #[arg(long, value_name = "KEYS")]
    pub(crate) capacity: Option<u64>,
}

#[derive(Group)]
#[command(group = ArgGroup::new("what")
    .args([
        "rate", "no_rate", "burst", "zone", "permits", "no_permits", "max_waiters", "no_max_waiters", "shadow",
        "no_shadow", "from", "all_rate", "all_burst", "no_all_rate", "refuse_new_keys", "no_refuse_new_keys", "hide_names",
        "no_hide_names", "capacity",
    ])
    .required(true)
    .multiple(true))]
#[command(group = ArgGroup::new("pace").args(["rate", "burst"]).multiple(true))]
#[command(group = ArgGroup::new("all_pace").args(["all_rate", "all_burst"]).multiple(true))]
pub(crate) struct Set {
    /// The limiter's name
    #[arg(value_parser = Name::new, add = limiter_names())]
    pub(crate) name: Name,
    /// The new rate, for example 5/s. Adds a limit to a limiter with permits only. If the limiter has limits per key, the
    /// rate of one of those
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
    /// At most N callers wait, in all processes together (for a key: in each process); further ones are denied at once
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
    /// The new rate for all keys together, of a limiter with limits per key. Adds a limit if it has none of all keys
    #[arg(long, value_name = "MAX/PER")]
    pub(crate) all_rate: Option<Rate>,
    /// The new burst of that limit
    #[arg(long, value_name = "N")]
    pub(crate) all_burst: Option<u64>,
    /// Number of the limit of all keys to change, as `inspect` shows it
    #[arg(long, value_name = "K", default_value_t = 1, requires = "all_pace", value_parser = clap::value_parser!(u8).range(1..=MAX_LIMITS as i64))]
    pub(crate) all_limit: u8,
    /// Remove all limits of all keys together, and keep those per key
    #[arg(long, conflicts_with = "all_pace")]
    pub(crate) no_all_rate: bool,
    /// Deny new keys when the table is full for them
    #[arg(long, conflicts_with = "no_refuse_new_keys")]
    pub(crate) refuse_new_keys: bool,
    /// Forget a key when the table is full for a new one
    #[arg(long)]
    pub(crate) no_refuse_new_keys: bool,
    /// Show no names of denied keys, and keep none from now on
    #[arg(long, conflicts_with = "no_hide_names")]
    pub(crate) hide_names: bool,
    /// Keep names of denied keys again
    #[arg(long)]
    pub(crate) no_hide_names: bool,
    /// Refused with the command that does it
    #[arg(long, value_name = "KEYS", hide = true)]
    pub(crate) capacity: Option<u64>,
    /// Replace the whole policy by the one in this file; see `shm-limit create --help`
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath,
        conflicts_with_all = ["rate", "no_rate", "burst", "zone", "limit", "permits", "no_permits", "max_waiters",
            "no_max_waiters", "shadow", "no_shadow", "all_rate", "all_burst", "all_limit", "no_all_rate", "refuse_new_keys",
            "no_refuse_new_keys", "hide_names", "no_hide_names", "capacity"])]
    pub(crate) from: Option<PathBuf>,
}
