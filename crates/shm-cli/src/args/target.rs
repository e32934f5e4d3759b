//! Which limiter a command uses, and how it is created if it does not exist.

use super::key::KeyFlags;
use super::policy::Flags;
use super::{limiter_names, octal};
use clap::{ArgMatches, Args as Group, Command, FromArgMatches};
use shm_lib::Name;

/// A limiter, which must exist unless the flags say how to create it.
#[derive(Group)]
pub(crate) struct Target {
    /// The limiter's name
    #[arg(value_parser = Name::new, add = limiter_names())]
    pub(crate) name: Name,
    #[command(flatten)]
    pub(crate) key: KeyFlags,
    #[command(flatten)]
    pub(crate) flags: Flags,
    /// If the limiter exists with other settings, use it as it is
    #[arg(long, requires = "policy")]
    pub(crate) keep: bool,
    /// Permissions of a limiter that this command creates: 600, 660 or 666 [default: 600; 660 in a setgid directory that
    /// its group can write to]
    #[arg(short, long, value_name = "MODE", value_parser = octal, requires = "policy")]
    pub(crate) mode: Option<u32>,
    /// Number of seats of a limiter that this command creates [default: 128]
    #[arg(long, value_name = "N", requires = "policy")]
    pub(crate) seats: Option<usize>,
    /// Capacity of a limiter that this command creates: how many keys can owe something at a time [default: 100000]
    #[arg(long, value_name = "KEYS", requires = "keyed")]
    pub(crate) capacity: Option<u64>,
}

/// The flags that only limiters with limits per key use.
const OF_KEYS: [&str; 8] =
    ["key", "key_ip", "keyed", "all_rate", "all_burst", "refuse_new_keys", "hide_names", "capacity"];

/// A limiter without limits per key. The flags for those are not shown, and are refused with the reason.
pub(crate) struct WithoutKeys(pub(crate) Target);

impl Group for WithoutKeys {
    fn augment_args(command: Command) -> Command {
        let hide = |command: Command, id| command.mut_arg(id, |arg| arg.hide(true));
        OF_KEYS.into_iter().fold(Target::augment_args(command), hide)
    }

    fn augment_args_for_update(command: Command) -> Command {
        WithoutKeys::augment_args(command)
    }
}

impl FromArgMatches for WithoutKeys {
    fn from_arg_matches(matches: &ArgMatches) -> Result<WithoutKeys, clap::Error> {
        Target::from_arg_matches(matches).map(WithoutKeys)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0.update_from_arg_matches(matches)
    }
}
