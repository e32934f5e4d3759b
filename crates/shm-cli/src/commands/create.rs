//! `shm-limit create NAME`.

use crate::args::Create;
use crate::commands::{attach, builder, keyed_builder, on_mismatch, with_file, with_keyed_file};
use crate::exit::{DONE, Failure, USAGE};
use crate::{location, output, policy_file, sliding};
use shm_lib::{Directory, ErrorKind, PolicySpec, RateLimit};

/// Creates the limiter, or checks that the existing one has the given settings.
pub(crate) fn create(dir: &Directory, args: &Create) -> Result<u8, Failure> {
    let policy = match (&args.from, args.flags.policy()?) {
        (Some(file), _) => policy_file::read(file)?.into(),
        (None, Some(policy)) => policy,
        (None, None) => unreachable!("clap requires one of the two"),
    };
    if args.capacity.is_some() && policy.policy().keys().is_none() {
        let why = "--capacity is that of a table of keys, and the policy has no limits per key; add --keyed, or [keys] in the file";
        return Err(Failure::Other(USAGE, why.to_owned()));
    }
    let was_there = match attach(dir, &args.name) {
        Ok(_) => true,
        Err(e) if e.kind() == ErrorKind::NotFound => false,
        Err(e) => return Err(e.into()),
    };
    let limiter = open(dir, args, policy)?;
    if !args.keep {
        agrees(&limiter, args)?;
    }
    // The policy in force, which may have more settings than were given.
    let there = limiter.policy()?;
    let verb = match (was_there, policy.is_met_by(&there)) {
        (false, _) => "created",
        (true, _) if args.replace => "replaced",
        (true, true) => "already exists",
        (true, false) => "already exists with other settings, which are kept",
    };
    let seen = limiter.inspect()?;
    let room = seen.keys.map_or_else(String::new, |keys| {
        let most = output::size(keys.table.bytes);
        format!("; room for {} in up to {most}", output::count(keys.table.capacity, "key"))
    });
    output::print_line(&format!("{}: {verb}, {there}{room}", args.name))?;
    if !was_there {
        location::of_new(dir, &limiter, false).into_iter().for_each(output::report);
    }
    if !was_there || args.replace {
        sliding::notes(&there, None).into_iter().for_each(output::report);
    }
    Ok(DONE)
}

/// Opens the limiter, or creates it.
fn open(dir: &Directory, args: &Create, policy: PolicySpec) -> shm_lib::Result<RateLimit> {
    let on_mismatch = on_mismatch(args.keep);
    if policy.policy().keys().is_none() {
        let new = with_file(builder(dir, &args.name).on_mismatch(on_mismatch), args.mode, args.seats);
        return if args.replace { new.replace() } else { new }.open_policy(policy);
    }
    let new = keyed_builder(dir, &args.name).on_mismatch(on_mismatch);
    let new = with_keyed_file(new, args.mode, args.seats, args.capacity);
    let limiter = if args.replace { new.replace() } else { new }.open_policy(policy)?;
    Ok(limiter.all_keys().clone())
}

/// Checks mode, seats and capacity if they were given; opening has checked the policy.
fn agrees(limiter: &RateLimit, args: &Create) -> Result<(), Failure> {
    let there = limiter.inspect()?;
    if let Some(mode) = args.mode.filter(|&mode| mode != there.mode) {
        return Err(Failure::new(format!(
            "limiter {:?} exists with mode {:o}, but --mode {mode:o} is given; leave --mode out, or change the mode{} by \
             chmod(1): {}",
            args.name.as_str(),
            there.mode,
            who_can(there.owner),
            output::printable::path(limiter.path()),
        )));
    }
    if let Some(seats) = args.seats.filter(|&seats| seats != there.seats) {
        return Err(Failure::new(format!(
            "limiter {:?} exists with {}, but --seats {seats} is given; leave --seats out, or put a new one in its place \
             by --replace",
            args.name.as_str(),
            output::count(there.seats as u64, "seat"),
        )));
    }
    if let (Some(capacity), Some(keys)) = (args.capacity, &there.keys)
        && !keys.table.is_made_for(capacity)
    {
        return Err(Failure::new(format!(
            "limiter {:?} exists with room for {}, but --capacity {capacity} is given; leave --capacity out, or put a new one \
             in its place by --replace",
            args.name.as_str(),
            output::count(keys.table.capacity, "key"),
        )));
    }
    Ok(())
}

/// Which user can change the mode of a file, if this user cannot.
fn who_can(owner: u32) -> String {
    let me = nix::unistd::geteuid();
    if me.is_root() || me.as_raw() == owner {
        String::new()
    } else {
        format!(" as user {} or root", output::human::user(owner))
    }
}
