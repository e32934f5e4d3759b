//! `shm-limit set NAME`.

use crate::args::Set;
use crate::commands::attach;
use crate::exit::{DONE, Failure, USAGE};
use crate::output::{keys, report};
use crate::{output, policy_file, sliding};
use shm_lib::{Directory, Error, ErrorKind, KeyPolicy, Kind, Limit, Policy, Rate, RateLimit, Result};
use std::fmt::Display;

/// Changes the given settings, and keeps the others.
pub(crate) fn set(dir: &Directory, args: &Set) -> std::result::Result<u8, Failure> {
    let whole = args.from.as_deref().map(policy_file::read).transpose()?;
    let limiter = attach(dir, &args.name)?;
    refuse_capacity(&limiter, args)?;
    let mut before = None;
    limiter.update_policy(|there| {
        before = Some(there);
        whole.map_or_else(|| changed(there, args), Ok)
    })?;
    let after = limiter.policy()?;
    let was = before.map_or_else(String::new, |before| format!(" (was {before})"));
    output::print_line(&format!("{}: {after}{was}", args.name))?;
    sliding::notes(&after, before.as_ref()).into_iter().for_each(report);
    let of = if after.keys().is_some() { " of all keys" } else { "" };
    for (number, limit) in before.iter().flat_map(|before| removed(before, &after)) {
        report(format_args!("note: limit {number}{of} ({limit}) is removed, and its usage with it"));
    }
    Ok(DONE)
}

/// The capacity is that of the file.
fn refuse_capacity(limiter: &RateLimit, args: &Set) -> std::result::Result<(), Failure> {
    let Some(capacity) = args.capacity else { return Ok(()) };
    let seen = limiter.inspect()?;
    if seen.keys.is_none() {
        return Ok(());
    }
    let command = keys::command_for(capacity, &args.name, limiter.path(), &seen);
    let why = "the capacity of a limiter is fixed when it is created; put a new one in its place, whose keys start unused";
    Err(Failure::Other(USAGE, format!("limiter {:?}: {why}: {command}", args.name.as_str())))
}

/// The limits of `before`, numbered from 1, whose usage is lost. Usage is kept if the limit of the same number counts the
/// same unit. (A single bucket keeps its usage whatever it counts.)
fn removed(before: &Policy, after: &Policy) -> Vec<(usize, Limit)> {
    let is_bucket = |limit: Limit| matches!(limit.kind(), Kind::Bucket { .. });
    let single = before.limits().count() == 1 && before.limits().all(is_bucket) && !after.is_unlimited();
    let numbered = before.limits().enumerate().filter(|_| !single);
    numbered
        .filter(|&(index, limit)| after.limits().nth(index).is_none_or(|next| next.unit() != limit.unit()))
        .map(|(index, limit)| (index + 1, limit))
        .collect()
}

fn changed(there: Policy, args: &Set) -> Result<Policy> {
    let keys = there.keys().map(|keys| changed_keys(*keys, args)).transpose()?;
    let limits = changed_limits(&there, args)?;
    let permits = args.permits.or(there.permits()).filter(|_| !args.no_permits);
    let policy = match (permits, keys) {
        (None, Some(keys)) if limits.is_empty() => Policy::of_keys(keys),
        (Some(n), _) if limits.is_empty() => Policy::of_permits(n)?,
        (Some(n), _) => Policy::new(&limits)?.with_permits(n)?,
        (None, _) => Policy::new(&limits)?,
    };
    let policy = keys.map_or(policy, |keys| policy.with_keys(keys));
    let policy = match args.max_waiters.or(there.max_waiters()).filter(|_| !args.no_max_waiters) {
        Some(n) => policy.with_max_waiters(n),
        None => policy,
    };
    Ok(policy.in_shadow(args.shadow || there.is_shadow() && !args.no_shadow))
}

/// What the flags change of one of several limits.
#[derive(Clone, Copy)]
struct Change {
    rate: Option<Rate>,
    burst: Option<u64>,
    /// The number of the limit, from 1.
    number: u8,
    /// What the limit is called, and the flag that sets its rate.
    limit: &'static str,
    flag: &'static str,
    /// How to get another number of limits, if not by this command.
    to_add: &'static str,
}

/// The limits per key.
fn changed_keys(there: KeyPolicy, args: &Set) -> Result<KeyPolicy> {
    if args.no_rate {
        return Err(invalid(format!(
            "its limits per key ({there}) cannot be removed; --no-all-rate removes those of all keys, and `shm-limit create \
             --replace` puts a limiter without limits per key in its place"
        )));
    }
    let change = Change {
        limit: "limit per key",
        to_add: "; to add one, put a new limiter in its place: `shm-limit create --replace --keyed`, with all its settings",
        ..Change::of_rate(args)
    };
    let mut limits: Vec<Limit> = there.limits().collect();
    change.apply(&mut limits, &there)?;
    let refuses = args.refuse_new_keys || there.refuses_new_keys() && !args.no_refuse_new_keys;
    let hides = args.hide_names || there.hides_names() && !args.no_hide_names;
    Ok(KeyPolicy::new(&limits)?.refusing_new_keys(refuses).hiding_names(hides))
}

/// The limits of all requests: with limits per key, those of all keys together.
fn changed_limits(there: &Policy, args: &Set) -> Result<Vec<Limit>> {
    let mut limits: Vec<Limit> = there.limits().collect();
    let change = if there.keys().is_some() {
        let (rate, burst, number) = (args.all_rate, args.all_burst, args.all_limit);
        Change { rate, burst, number, limit: "limit of all keys", flag: "--all-rate", to_add: "" }
    } else {
        refuse_flags_of_keys(there, args)?;
        Change::of_rate(args)
    };
    if args.no_rate || args.no_all_rate {
        return Ok(Vec::new());
    }
    if let Some(zone) = args.zone {
        if there.zone().is_none() {
            return Err(invalid(format!(
                "it has no calendar windows that could follow a time zone: {there}"
            )));
        }
        for limit in &mut limits {
            if let Kind::CalendarWindow { period, .. } = limit.kind() {
                *limit = Limit::calendar_window(limit.rate().max(), period, zone)?.counting(limit.unit());
            }
        }
    }
    match change.rate {
        Some(rate) if limits.is_empty() && change.number == 1 => {
            limits.push(Limit::with_burst(rate, change.burst.unwrap_or(1))?);
        }
        _ => change.apply(&mut limits, there)?,
    }
    Ok(limits)
}

/// Without limits per key, all limits are those of all requests, and have the plain flags.
fn refuse_flags_of_keys(there: &Policy, args: &Set) -> Result<()> {
    let flags = [
        ("--all-rate", args.all_rate.is_some()),
        ("--all-burst", args.all_burst.is_some()),
        ("--no-all-rate", args.no_all_rate),
        ("--refuse-new-keys", args.refuse_new_keys),
        ("--no-refuse-new-keys", args.no_refuse_new_keys),
        ("--hide-names", args.hide_names),
        ("--no-hide-names", args.no_hide_names),
        ("--capacity", args.capacity.is_some()),
    ];
    match flags.iter().find(|(_, is_given)| *is_given) {
        Some((flag, _)) => Err(invalid(format!(
            "it has no limits per key ({there}), so {flag} has no meaning; its limits are changed by --rate and --burst, and \
             `shm-limit create --replace --keyed` puts a limiter with limits per key in its place"
        ))),
        None => Ok(()),
    }
}

impl Change {
    fn of_rate(args: &Set) -> Change {
        Change {
            rate: args.rate,
            burst: args.burst,
            number: args.limit,
            limit: "limit",
            flag: "--rate",
            to_add: "",
        }
    }

    /// Changes the limit, which must exist.
    fn apply(self, limits: &mut [Limit], there: &impl Display) -> Result<()> {
        if self.rate.is_none() && self.burst.is_none() {
            return Ok(());
        }
        let how_many = limits.len();
        match limits.get_mut(usize::from(self.number) - 1) {
            Some(limit) => *limit = self.changed(*limit)?,
            None if how_many == 0 && self.rate.is_none() => {
                return Err(invalid(format!(
                    "it has no {} that could have a burst ({there}); give {} as well",
                    self.limit, self.flag
                )));
            }
            None => {
                let Change { limit, number, to_add, .. } = self;
                return Err(invalid(format!(
                    "{limit} {number} does not exist; the number of limits is {how_many}: {there}{to_add}"
                )));
            }
        }
        Ok(())
    }

    fn changed(self, limit: Limit) -> Result<Limit> {
        let rate = self.rate.unwrap_or(limit.rate());
        match (self.burst, limit.kind()) {
            (None, _) => limit.at_rate(rate),
            (Some(burst), Kind::Bucket { .. }) => Ok(Limit::with_burst(rate, burst)?.counting(limit.unit())),
            (Some(_), _) => Err(invalid(format!(
                "only a bucket has a burst, and {} {} is {limit}; set its {}",
                self.limit, self.number, self.flag
            ))),
        }
    }
}

fn invalid(why: String) -> Error {
    Error::new(ErrorKind::InvalidInput, why)
}
