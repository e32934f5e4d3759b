//! `shm-limit set NAME`.

use crate::args::Set;
use crate::commands::attach;
use crate::exit::{DONE, Failure};
use crate::output::report;
use crate::{output, policy_file, sliding};
use shm_lib::{Directory, Error, ErrorKind, Kind, Limit, Policy, Result};

/// Changes the given settings, and keeps the others.
pub(crate) fn set(dir: &Directory, args: &Set) -> std::result::Result<u8, Failure> {
    let whole = args.from.as_deref().map(policy_file::read).transpose()?;
    let limiter = attach(dir, &args.name)?;
    let mut before = None;
    limiter.update_policy(|there| {
        before = Some(there);
        whole.map_or_else(|| changed(there, args), Ok)
    })?;
    let after = limiter.policy()?;
    let was = before.map_or_else(String::new, |before| format!(" (was {before})"));
    output::print_line(&format!("{}: {after}{was}", args.name))?;
    sliding::notes(&after, before.as_ref()).into_iter().for_each(report);
    for (number, limit) in before.iter().flat_map(|before| removed(before, &after)) {
        report(format_args!("note: limit {number} ({limit}) is removed, and its usage with it"));
    }
    Ok(DONE)
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
    let limits = changed_limits(&there, args)?;
    let policy = match args.permits.or(there.permits()).filter(|_| !args.no_permits) {
        Some(n) if limits.is_empty() => Policy::of_permits(n)?,
        Some(n) => Policy::new(&limits)?.with_permits(n)?,
        None => Policy::new(&limits)?,
    };
    let policy = match args.max_waiters.or(there.max_waiters()).filter(|_| !args.no_max_waiters) {
        Some(n) => policy.with_max_waiters(n),
        None => policy,
    };
    Ok(policy.in_shadow(args.shadow || there.is_shadow() && !args.no_shadow))
}

fn changed_limits(there: &Policy, args: &Set) -> Result<Vec<Limit>> {
    let mut limits: Vec<Limit> = there.limits().collect();
    if args.no_rate {
        return Ok(Vec::new());
    }
    if let Some(zone) = args.zone {
        if there.zone().is_none() {
            let why = format!("it has no calendar windows that could follow a time zone: {there}");
            return Err(Error::new(ErrorKind::InvalidInput, why));
        }
        for limit in &mut limits {
            if let Kind::CalendarWindow { period, .. } = limit.kind() {
                *limit = Limit::calendar_window(limit.rate().max(), period, zone)?.counting(limit.unit());
            }
        }
    }
    if args.rate.is_none() && args.burst.is_none() {
        return Ok(limits);
    }
    let how_many = limits.len();
    match (limits.get_mut(usize::from(args.limit) - 1), args.rate) {
        (Some(limit), _) => *limit = with_new_rate(*limit, args)?,
        (None, Some(rate)) if how_many == 0 && args.limit == 1 => {
            limits.push(Limit::with_burst(rate, args.burst.unwrap_or(1))?);
        }
        (None, None) if how_many == 0 => {
            let why = format!("it has no limit that could have a burst ({there}); give --rate as well");
            return Err(Error::new(ErrorKind::InvalidInput, why));
        }
        (None, _) => {
            let why =
                format!("limit {} does not exist; the number of limits is {how_many}: {there}", args.limit);
            return Err(Error::new(ErrorKind::InvalidInput, why));
        }
    }
    Ok(limits)
}

fn with_new_rate(limit: Limit, args: &Set) -> Result<Limit> {
    let rate = args.rate.unwrap_or(limit.rate());
    match (args.burst, limit.kind()) {
        (None, _) => limit.at_rate(rate),
        (Some(burst), Kind::Bucket { .. }) => Ok(Limit::with_burst(rate, burst)?.counting(limit.unit())),
        (Some(_), _) => Err(Error::new(
            ErrorKind::InvalidInput,
            format!("only a bucket has a burst, and limit {} is {limit}; set its --rate", args.limit),
        )),
    }
}
