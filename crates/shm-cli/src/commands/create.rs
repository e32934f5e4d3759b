//! `shm-limit create NAME`.

use crate::args::Create;
use crate::exit::{DONE, Failure};
use crate::{output, policy_file};
use shm_core::{DEFAULT_MODE, DEFAULT_SEATS, Limiter, Settings};
use shm_lib::{Directory, ErrorKind};

/// Creates the limiter, or makes sure that the one there is what was asked for.
pub(crate) fn create(dir: &Directory, args: &Create) -> Result<u8, Failure> {
    let policy = match (&args.from, args.flags.policy()?) {
        (Some(file), _) => policy_file::read(file)?,
        (None, Some(policy)) => policy,
        (None, None) => unreachable!("clap requires one of the two"),
    };
    let settings = Settings {
        mode: args.mode.unwrap_or(DEFAULT_MODE),
        seats: args.seats.unwrap_or(DEFAULT_SEATS),
        ..Settings::new(policy)
    };
    let was_there = match Limiter::attach(dir, &args.name) {
        Ok(_) => true,
        Err(e) if e.kind() == ErrorKind::NotFound => false,
        Err(e) => return Err(e.into()),
    };
    let limiter = Limiter::open(dir, &args.name, &settings)?;
    agrees(&limiter, args)?;
    let verb = if was_there { "is already there" } else { "created" };
    output::print_line(&format!("{}: {verb}, {policy}", args.name))?;
    Ok(DONE)
}

/// Opening checks the policy; mode and seats count if they were asked for.
fn agrees(limiter: &Limiter, args: &Create) -> Result<(), Failure> {
    let there = limiter.inspect()?;
    if let Some(mode) = args.mode.filter(|&mode| mode != there.mode) {
        return Err(Failure::new(format!(
            "limiter {:?} exists with mode {:o}, but {mode:o} was asked for; change it: chmod {mode:o} {}",
            args.name.as_str(),
            there.mode,
            output::printable::path(limiter.path()),
        )));
    }
    if let Some(seats) = args.seats.filter(|&seats| seats != there.seats) {
        return Err(Failure::new(format!(
            "limiter {:?} exists with {} seats, but {seats} were asked for; leave --seats out, or remove it and create \
             it anew",
            args.name.as_str(),
            there.seats,
        )));
    }
    Ok(())
}
