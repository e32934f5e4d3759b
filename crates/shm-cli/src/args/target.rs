//! Which limiter a command uses, and how it is created if it does not exist.

use super::policy::Flags;
use super::{limiter_names, octal};
use clap::Args as Group;
use shm_lib::Name;

/// A limiter, which must exist unless the flags say how to create it.
#[derive(Group)]
pub(crate) struct Target {
    /// The limiter's name
    #[arg(value_parser = Name::new, add = limiter_names())]
    pub(crate) name: Name,
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
}
