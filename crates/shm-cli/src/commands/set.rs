//! `shm-limit set NAME`.

use crate::args::Set;
use crate::commands::attach;
use crate::exit::{DONE, Failure, complain};
use crate::{output, policy_file};
use shm_lib::{Directory, Error, ErrorKind, Kind, Limit, Policy, Result};

/// Changes what is asked for, and keeps the rest.
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
    for (number, limit) in before.iter().flat_map(|before| forgotten(before, &after)) {
        complain(format_args!("note: limit {number} ({limit}) is gone; what was used of it is forgotten"));
    }
    Ok(DONE)
}

/// The limits of `before`, numbered from 1, whose usage does not go on. It does in the limit at the same place, if that
/// counts the same unit. (A single bucket passes its usage on whatever it counts.)
fn forgotten(before: &Policy, after: &Policy) -> Vec<(usize, Limit)> {
    let single = before.limits().count() == 1 && matches!(before.first().kind(), Kind::Bucket { .. });
    let numbered = before.limits().enumerate().filter(|_| !single);
    numbered
        .filter(|&(index, limit)| after.limits().nth(index).is_none_or(|next| next.unit() != limit.unit()))
        .map(|(index, limit)| (index + 1, limit))
        .collect()
}

fn changed(there: Policy, args: &Set) -> Result<Policy> {
    let mut limits: Vec<Limit> = there.limits().collect();
    let how_many = limits.len();
    let Some(limit) = limits.get_mut(usize::from(args.limit) - 1) else {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            format!("there is no limit {}, it has {how_many}: {there}", args.limit),
        ));
    };
    *limit = at_pace(*limit, args)?;
    let shadow = args.shadow || there.is_shadow() && !args.no_shadow;
    let policy = Policy::new(&limits)?.in_shadow(shadow);
    match args.permits.or(there.permits()) {
        Some(n) if !args.no_permits => policy.with_permits(n),
        _ => Ok(policy),
    }
}

fn at_pace(limit: Limit, args: &Set) -> Result<Limit> {
    let rate = args.rate.unwrap_or(limit.rate());
    match (args.burst, limit.kind()) {
        (None, _) => limit.at_rate(rate),
        (Some(burst), Kind::Bucket { .. }) => Ok(Limit::with_burst(rate, burst)?.counting(limit.unit())),
        (Some(_), _) => Err(Error::new(
            ErrorKind::InvalidInput,
            format!("only a bucket has a burst, and limit {} is: {limit}; set its --rate", args.limit),
        )),
    }
}
