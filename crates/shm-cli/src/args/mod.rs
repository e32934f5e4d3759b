//! The command line.

mod ahead;
mod cost;
mod key;
mod limits;
mod policy;
mod take;
mod target;

pub(crate) use ahead::{Charge, Reserve, Schedule};
pub(crate) use cost::amount;
pub(crate) use key::{KeyFlags, NamedKey};
pub(crate) use policy::{Create, Set};
pub(crate) use take::{Acquire, Hold, Run, Take};
pub(crate) use target::{Target, WithoutKeys};

use crate::{complete, help};
use clap::{Args as Group, Parser, Subcommand, ValueHint};
use clap_complete::ArgValueCandidates;
use shm_lib::limit::parse_span;
use shm_lib::{Name, Rate};
use std::path::PathBuf;
use std::time::Duration;

/// One rate limit for every process on the host: create, use, inspect and change limiters by name.
#[derive(Parser)]
#[command(name = "shm-limit", version, after_help = help::TOP, max_term_width = 80, disable_help_subcommand = true)]
pub(crate) struct Args {
    /// Directory of the limiters; the same name in the same directory is the same budget
    /// [default: $SHM_LIMIT_DIR, else /dev/shm/shm-limit-UID]
    #[arg(long, global = true, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) dir: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Create a limiter, or check that it exists with these settings
    #[command(after_help = help::CREATE, override_usage = "shm-limit create [OPTIONS] <NAME>")]
    Create(Create),
    /// Show all limiters in a table
    #[command(visible_alias = "ls", after_help = help::LIST)]
    List(List),
    /// Show everything about one limiter: its limits, the callers that wait, the processes that use it
    #[command(visible_alias = "show", after_help = help::INSPECT)]
    Inspect(Inspect),
    /// Change limits, permits or shadow mode at once, for every process and every waiting caller
    #[command(after_help = help::SET, override_usage = "shm-limit set [OPTIONS] <NAME>")]
    Set(Set),
    /// Reset usage to zero, of all requests or of one key; also repairs damage, as far as possible
    #[command(after_help = help::RESET)]
    Reset(Reset),
    /// Deny all requests for a while, in every process
    #[command(after_help = help::PAUSE)]
    Pause(Pause),
    /// End a pause
    #[command(after_help = help::RESUME)]
    Resume(Named),
    /// Retire a limiter for every process and free its name
    #[command(visible_alias = "rm", after_help = help::REMOVE)]
    Remove(Remove),
    /// Wait for a turn and take it; for scripts
    #[command(visible_alias = "take", after_help = help::ACQUIRE)]
    Acquire(Acquire),
    /// Wait for a turn, then run a command (like flock(1), but for a rate)
    #[command(after_help = help::RUN)]
    Run(Run),
    /// Hold a permit until a process ends, for several commands of a script
    #[command(after_help = help::HOLD)]
    Hold(Hold),
    /// Charge without asking: a penalty, or a cost that is known only afterwards
    #[command(after_help = help::CHARGE)]
    Charge(Charge),
    /// Take the next turn ahead of its time, and print when it is
    #[command(after_help = help::RESERVE)]
    Reserve(Reserve),
    /// Take the next turns for several requests, and print when they are
    #[command(after_help = help::SCHEDULE)]
    Schedule(Schedule),
    /// Let processes compete for one limiter, kill one, stop another, and check every admission
    #[command(after_help = help::DEMO)]
    Demo(Demo),
    /// Print a completion script for a shell
    #[command(after_help = help::COMPLETIONS)]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write manual pages into a directory
    #[command(after_help = help::MAN)]
    Man {
        /// The directory, which must exist
        #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
        to: PathBuf,
    },
    /// Print the help of this program, of a command, or of limits per key (keys)
    #[command(after_help = help::HELP)]
    Help {
        /// The command, or keys
        #[arg(value_name = "COMMAND", add = ArgValueCandidates::new(complete::commands))]
        of: Option<String>,
    },
    /// A worker process of the demo
    #[command(hide = true)]
    DemoWorker(DemoWorker),
}

#[derive(Group)]
pub(crate) struct Named {
    /// The limiter's name
    #[arg(value_parser = Name::new, add = limiter_names())]
    pub(crate) name: Name,
}

#[derive(Group)]
pub(crate) struct List {
    /// Print a JSON array, for programs
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Group)]
pub(crate) struct Inspect {
    /// The limiter's name
    #[arg(value_parser = Name::new, add = limiter_names())]
    pub(crate) name: Name,
    #[command(flatten)]
    pub(crate) key: KeyFlags,
    /// Show the N keys that were denied most in the last minute, of a limiter with limits per key: at most 64 are known
    #[arg(long, value_name = "N", default_value_t = 5, conflicts_with_all = ["key", "key_ip"])]
    pub(crate) top: usize,
    /// Print a JSON object, for programs
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Group)]
pub(crate) struct Reset {
    /// The limiter's name
    #[arg(value_parser = Name::new, add = limiter_names())]
    pub(crate) name: Name,
    #[command(flatten)]
    pub(crate) key: KeyFlags,
}

#[derive(Group)]
pub(crate) struct Pause {
    /// The limiter's name
    #[arg(value_parser = Name::new, add = limiter_names())]
    pub(crate) name: Name,
    /// Length of the pause, for example 30s or 5m
    #[arg(value_name = "TIME", value_parser = parse_span)]
    pub(crate) time: Duration,
}

#[derive(Group)]
pub(crate) struct Remove {
    /// The limiter's name
    #[arg(value_parser = Name::new, add = limiter_names())]
    pub(crate) name: Name,
    /// Also remove a file that is damaged, of another version, or older than the last boot
    #[arg(short, long)]
    pub(crate) force: bool,
}

#[derive(Group)]
pub(crate) struct Demo {
    /// Length of the demo in seconds
    #[arg(short, long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=60))]
    pub(crate) seconds: u64,
    /// The limiter's rate
    #[arg(short, long, value_name = "MAX/PER", default_value = "200/s")]
    pub(crate) rate: Rate,
    /// The limiter's burst
    #[arg(short, long, value_name = "N", default_value_t = 10)]
    pub(crate) burst: u64,
    /// Number of processes; half of them are forked, half started as programs
    #[arg(short, long, value_name = "N", default_value_t = 6, value_parser = clap::value_parser!(u64).range(4..=64))]
    pub(crate) workers: u64,
}

#[derive(Group)]
pub(crate) struct DemoWorker {
    #[arg(value_parser = Name::new)]
    pub(crate) name: Name,
    #[arg(long)]
    pub(crate) start_ns: u64,
    #[arg(long)]
    pub(crate) end_ns: u64,
    #[arg(long)]
    pub(crate) work_ns: Option<u64>,
}

/// Shell completion offers the names of the limiters there are.
fn limiter_names() -> ArgValueCandidates {
    ArgValueCandidates::new(complete::names)
}

fn octal(text: &str) -> Result<u32, String> {
    u32::from_str_radix(text, 8)
        .map_err(|_| format!("{text:?} is not a valid mode; write it in octal, for example 660"))
}
