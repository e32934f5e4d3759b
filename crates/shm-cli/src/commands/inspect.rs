//! `shm-limit inspect NAME`.

use crate::args::{Inspect, NamedKey};
use crate::commands::{attach, attach_keyed};
use crate::exit::{DONE, FAILED, Failure};
use crate::output::{self, Snapshot, human, json};
use shm_lib::{Directory, Inspection, Key, KeyStatus};

/// Shows everything about one limiter, or about one key of it.
pub(crate) fn inspect(dir: &Directory, args: &Inspect) -> Result<u8, Failure> {
    if let Some(key) = args.key.named() {
        return inspect_key(dir, args, key);
    }
    let seen = Snapshot::new(dir, &args.name, attach(dir, &args.name));
    if args.json {
        output::print_json(&json::Limiter::in_full(&seen, args.top))?;
        return Ok(if seen.inspection.is_ok() { DONE } else { FAILED });
    }
    let inspection = seen.inspection?;
    output::print(&human::describe(&seen.name, &seen.path, &inspection, args.top))?;
    Ok(DONE)
}

fn inspect_key(dir: &Directory, args: &Inspect, key: &NamedKey) -> Result<u8, Failure> {
    let name = &args.name;
    let seen = status(dir, args, key).map_err(Failure::from);
    if args.json {
        let found = match &seen {
            Ok((inspection, status)) => json::OneKey::of(dir, name, key, inspection, status),
            Err(failure) => json::OneKey::failed(dir, name, key, failure),
        };
        output::print_json(&found)?;
        return Ok(seen.map_or_else(|failure| failure.status(), |_| DONE));
    }
    let (inspection, status) = seen?;
    output::print(&human::describe_key(name, &dir.file(name), &key.parts, &inspection, &status))?;
    Ok(DONE)
}

fn status(dir: &Directory, args: &Inspect, key: &NamedKey) -> shm_lib::Result<(Inspection, Vec<KeyStatus>)> {
    let limiter = attach_keyed(dir, &args.name)?;
    let status = limiter.key(Key::from(&key.key)).status()?;
    Ok((limiter.all_keys().inspect()?, status))
}
