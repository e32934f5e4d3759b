//! Opening the limiter that a command names, and saying where a new one is.

use crate::args::{NamedKey, Target, WithoutKeys};
use crate::commands::{builder, if_missing, keyed_builder, on_mismatch, with_file, with_keyed_file};
use crate::location;
use crate::output::{human, report};
use crate::sliding;
use shm_lib::{
    Admission, Cost, Directory, Error, ErrorKind, Key, KeyedRateLimit, Lost, Name, Outcome, PolicySpec,
    RateLimit, Result, Settled,
};
use std::time::Duration;

/// What to report, besides errors.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reports {
    /// Nothing.
    Quiet,
    /// What may surprise.
    Usual,
    /// Everything.
    Verbose,
}

/// The budget from which a command takes.
pub(crate) enum Opened {
    /// A limiter without limits per key.
    Whole(RateLimit),
    /// A key, of a limiter with limits per key.
    OfKey(KeyedRateLimit, NamedKey),
}

impl Opened {
    /// The limiter.
    pub(crate) fn limiter(&self) -> &RateLimit {
        match self {
            Opened::Whole(limiter) => limiter,
            Opened::OfKey(limiter, _) => limiter.all_keys(),
        }
    }

    /// The key, in the words of a message.
    pub(crate) fn key(&self) -> Option<String> {
        match self {
            Opened::Whole(_) => None,
            Opened::OfKey(_, key) => Some(human::key(&key.parts)),
        }
    }

    /// Takes now, or not at all.
    pub(crate) fn try_acquire(&self, cost: Cost) -> Result<Outcome> {
        match self {
            Opened::Whole(limiter) => limiter.try_acquire(cost),
            Opened::OfKey(limiter, key) => limiter.key(Key::from(&key.key)).try_acquire(cost),
        }
    }

    /// Waits for at most this time, and until `stop` returns true.
    pub(crate) fn acquire(
        &self,
        cost: Cost,
        patience: Option<Duration>,
        stop: impl FnMut() -> bool,
    ) -> Result<Outcome> {
        match self {
            Opened::Whole(limiter) => {
                let acquire = limiter.acquire(cost).or_denied();
                let acquire = if let Some(time) = patience { acquire.timeout(time) } else { acquire };
                acquire.stop_when(stop).wait()
            }
            Opened::OfKey(limiter, key) => {
                let acquire = limiter.key(Key::from(&key.key)).acquire(cost).or_denied();
                let acquire = if let Some(time) = patience { acquire.timeout(time) } else { acquire };
                acquire.stop_when(stop).wait()
            }
        }
    }

    /// Charges without asking.
    pub(crate) fn charge(&self, cost: Cost) -> Result<()> {
        match self {
            Opened::Whole(limiter) => limiter.charge(cost),
            Opened::OfKey(limiter, key) => limiter.key(Key::from(&key.key)).charge(cost),
        }
    }

    /// Corrects the cost of an admission.
    pub(crate) fn settle(&self, admission: &mut Admission, actual: Cost) -> Result<Settled> {
        match self {
            Opened::Whole(limiter) => limiter.settle(admission, actual),
            Opened::OfKey(limiter, key) => limiter.key(Key::from(&key.key)).settle(admission, actual),
        }
    }
}

/// Opens the limiter, or creates it if the flags say how.
pub(crate) fn open(dir: &Directory, target: &Target, reports: Reports) -> Result<Opened> {
    let stated = target.flags.policy()?;
    let key = target.key.of_request().map_err(invalid)?;
    match (key, stated) {
        (None, Some(_)) if target.flags.keyed => {
            Err(invalid("--keyed limits each key, and the request names no key; name one by --key KEY".into()))
        }
        (Some(_), Some(_)) if !target.flags.keyed => Err(invalid(
            "--key names a key, but --rate and --permits without --keyed limit all requests together; add --keyed to limit \
             each key, or leave them out to use the limiter as it is"
                .into(),
        )),
        (None, stated) => open_whole(dir, target, stated, reports).map(Opened::Whole),
        (Some(key), stated) => {
            open_keyed(dir, target, stated, reports).map(|limiter| Opened::OfKey(limiter, key.clone()))
        }
    }
}

/// Opens the limiter for turns ahead of time, which a key does not have.
pub(crate) fn open_ahead(dir: &Directory, target: &WithoutKeys) -> Result<RateLimit> {
    let WithoutKeys(target) = target;
    if target.key.named().is_some() || target.flags.keyed {
        return Err(invalid(no_turns_of_keys(&target.name)));
    }
    let limiter = open_unchecked(dir, target, target.flags.policy()?, Reports::Usual)?;
    match limiter.policy()?.keys() {
        Some(keys) => Err(about(
            &limiter,
            format!("it has limits per key ({keys}), and {}", no_turns_of_keys(&target.name)),
        )),
        None => Ok(limiter),
    }
}

fn no_turns_of_keys(name: &Name) -> String {
    format!(
        "the turns of a key cannot be taken ahead of time, because the table of keys can give nothing back; wait for a turn \
         instead: shm-limit acquire {} --key KEY",
        name.shell_word()
    )
}

fn open_whole(
    dir: &Directory,
    target: &Target,
    stated: Option<PolicySpec>,
    reports: Reports,
) -> Result<RateLimit> {
    let limiter = open_unchecked(dir, target, stated, reports)?;
    match limiter.policy()?.keys() {
        Some(keys) => Err(about(
            &limiter,
            format!("it has limits per key ({keys}), and the request names no key; name one by --key KEY"),
        )),
        None => Ok(limiter),
    }
}

fn open_unchecked(
    dir: &Directory,
    target: &Target,
    stated: Option<PolicySpec>,
    reports: Reports,
) -> Result<RateLimit> {
    let builder = builder(dir, &target.name).when_lost(reporter(reports));
    let Some(policy) = stated else {
        let remedy = "give --rate or --permits to create it, or look for it by `shm-limit list`";
        return builder.attach().map_err(|e| if_missing(dir, &target.name, e, remedy));
    };
    let builder = builder.on_mismatch(on_mismatch(target.keep));
    let builder = with_file(builder, target.mode, target.seats);
    let was_there = is_there(dir, target);
    let limiter = builder.open_policy(policy)?;
    report_new(dir, &limiter, was_there, reports)?;
    Ok(limiter)
}

fn open_keyed(
    dir: &Directory,
    target: &Target,
    stated: Option<PolicySpec>,
    reports: Reports,
) -> Result<KeyedRateLimit> {
    let builder = keyed_builder(dir, &target.name).when_lost(reporter(reports));
    let Some(policy) = stated else {
        let remedy = "give --rate and --keyed to create it, or look for it by `shm-limit list`";
        return builder.attach().map_err(|e| if_missing(dir, &target.name, e, remedy));
    };
    let builder = builder.on_mismatch(on_mismatch(target.keep));
    let builder = with_keyed_file(builder, target.mode, target.seats, target.capacity);
    let was_there = is_there(dir, target);
    let limiter = builder.open_policy(policy)?;
    report_new(dir, limiter.all_keys(), was_there, reports)?;
    Ok(limiter)
}

fn is_there(dir: &Directory, target: &Target) -> bool {
    dir.file(&target.name).symlink_metadata().is_ok()
}

/// What is reported of a limiter that was just created.
fn report_new(dir: &Directory, limiter: &RateLimit, was_there: bool, reports: Reports) -> Result<()> {
    if !was_there && reports != Reports::Quiet {
        location::of_new(dir, limiter, reports == Reports::Verbose).into_iter().for_each(report);
        sliding::notes(&limiter.policy()?, None).into_iter().for_each(report);
    }
    Ok(())
}

/// Reports that the limiter was lost. If the name cannot be opened, the request fails and the command reports that.
fn reporter(reports: Reports) -> impl Fn(&Lost<'_>) + Send + Sync + 'static {
    move |lost| {
        if reports != Reports::Quiet && lost.found().is_ok() {
            report(lost);
        }
    }
}

fn invalid(why: String) -> Error {
    Error::new(ErrorKind::InvalidInput, why)
}

fn about(limiter: &RateLimit, why: String) -> Error {
    invalid(why).at(limiter.name(), limiter.path())
}
