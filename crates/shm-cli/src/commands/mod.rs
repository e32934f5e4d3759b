//! One file per command, or per handful of small ones.

mod acquire;
mod ahead;
mod completions;
mod control;
mod create;
mod help;
mod hold;
mod inspect;
mod list;
mod man;
mod open;
mod run;
mod set;
mod take;

pub(crate) use open::Opened;

use crate::args::{Args, Command};
use crate::demo;
use crate::exit::Failure;
use crate::location;
use shm_lib::{
    Builder, Directory, Error, ErrorKind, KeyedBuilder, KeyedRateLimit, Name, OnMismatch, RateLimit,
};

/// Carries out the command line, and returns the exit status.
pub(crate) fn run(args: Args) -> Result<u8, Failure> {
    let dir = args.dir.map_or_else(Directory::from_env, Directory::at);
    match args.command {
        Command::Create(args) => create::create(&dir, &args),
        Command::List(args) => list::list(&dir, &args),
        Command::Inspect(args) => inspect::inspect(&dir, &args),
        Command::Set(args) => set::set(&dir, &args),
        Command::Reset(args) => control::reset(&dir, &args),
        Command::Pause(args) => control::pause(&dir, &args),
        Command::Resume(args) => control::resume(&dir, &args),
        Command::Remove(args) => control::remove(&dir, &args),
        Command::Acquire(args) => acquire::acquire(&dir, &args),
        Command::Run(args) => run::run(&dir, &args),
        Command::Hold(args) => hold::hold(&dir, &args),
        Command::Charge(args) => ahead::charge(&dir, &args),
        Command::Reserve(args) => ahead::reserve(&dir, &args),
        Command::Schedule(args) => ahead::schedule(&dir, &args),
        Command::Demo(args) => demo::demo(&args),
        Command::Completions { shell } => completions::completions(shell),
        Command::Man { to } => man::man(&to),
        Command::Help { of } => help::help(of.as_deref()),
        Command::DemoWorker(args) => demo::executed_worker(&dir, &args),
    }
}

/// The limiter of this name in this directory, to be opened.
fn builder(dir: &Directory, name: &Name) -> Builder {
    RateLimit::builder(name.as_str()).in_directory(dir.clone())
}

/// The same, with limits per key.
fn keyed_builder(dir: &Directory, name: &Name) -> KeyedBuilder {
    KeyedRateLimit::builder(name.as_str()).in_directory(dir.clone())
}

/// With what is stated of the file of a new limiter.
fn with_file(mut builder: Builder, mode: Option<u32>, seats: Option<usize>) -> Builder {
    if let Some(mode) = mode {
        builder = builder.mode(mode);
    }
    if let Some(seats) = seats {
        builder = builder.seats(seats);
    }
    builder
}

/// The same, with limits per key.
fn with_keyed_file(
    mut builder: KeyedBuilder,
    mode: Option<u32>,
    seats: Option<usize>,
    capacity: Option<u64>,
) -> KeyedBuilder {
    if let Some(mode) = mode {
        builder = builder.mode(mode);
    }
    if let Some(seats) = seats {
        builder = builder.seats(seats);
    }
    if let Some(capacity) = capacity {
        builder = builder.capacity(capacity);
    }
    builder
}

/// The existing limiter of this name, with limits per key.
fn attach_keyed(dir: &Directory, name: &Name) -> shm_lib::Result<KeyedRateLimit> {
    let seen = "`shm-limit list` shows those that exist";
    keyed_builder(dir, name).attach().map_err(|e| if_missing(dir, name, e, seen))
}

/// The existing limiter of this name, with its settings.
fn attach(dir: &Directory, name: &Name) -> shm_lib::Result<RateLimit> {
    let seen = "`shm-limit list` shows those that exist";
    builder(dir, name).attach().map_err(|e| if_missing(dir, name, e, seen))
}

/// The same error, with this remedy if it is that the limiter does not exist. The library's own is to create it, which
/// helps neither against a misspelt name nor a command that has no `--rate`. (If the directory does not exist either, the
/// library says so.)
fn if_missing(dir: &Directory, name: &Name, error: Error, remedy: &str) -> Error {
    let is_default = location::is_default(dir);
    if error.kind() != ErrorKind::NotFound || !(is_default || dir.path().is_dir()) {
        return error;
    }
    Error::new(ErrorKind::NotFound, format!("it does not exist; {remedy}")).at(name.as_str(), &dir.file(name))
}

/// What `--keep` means.
fn on_mismatch(keep: bool) -> OnMismatch {
    if keep { OnMismatch::Keep } else { OnMismatch::Error }
}
