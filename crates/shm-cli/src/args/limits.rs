//! `--rate`, once for each limit, and the options of a limit: an option belongs to the `--rate` before it.

use clap::builder::EnumValueParser;
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, ValueEnum, value_parser};
use shm_lib::limit::{LimitKind, LimitSpec, parse_span};
use shm_lib::{Limit, Rate, Start, Unit};
use std::time::Duration;

/// The limits that the command line gives, each with the settings that it states; none without a `--rate`.
#[derive(Clone, Default)]
pub(crate) struct Limits(pub(crate) Vec<LimitSpec>);

/// The values of `--window`.
#[derive(Clone, Copy, ValueEnum)]
enum Window {
    /// One window after the other since 1970: windows of 1m begin with the minute
    Fixed,
    /// A window begins with the first call after the last window ended
    FirstUse,
    /// An estimate over a sliding window, from two counters
    Sliding,
}

/// A setting of a limit, besides its rate.
#[derive(Clone, Copy)]
enum Setting {
    Burst(u64),
    Greedy,
    Window(Window),
    Unit(Unit),
    Guard(Duration),
}

impl Args for Limits {
    fn augment_args(command: Command) -> Command {
        let of_rate = |id: &'static str| Arg::new(id).long(id).action(ArgAction::Append).requires("rate");
        command.args([
            Arg::new("rate")
                .short('r')
                .long("rate")
                .value_name("MAX/PER")
                .value_parser(value_parser!(Rate))
                .action(ArgAction::Append)
                .help("At most MAX per PER, for example 5/s, 100/10s or 30/1m30s")
                .long_help(
                    "At most MAX per PER, for example 5/s, 100/10s or 30/1m30s. Up to four times: one more \
                     limit each, taken all or none. --burst, --greedy, --window, --unit and --guard belong to the --rate \
                     before them (or to the only one)",
                ),
            of_rate("burst")
                .short('b')
                .value_name("N")
                .value_parser(value_parser!(u64))
                .help("The most that may pass at one instant after a quiet time [default: 1, evenly spaced; of a unit: MAX]"),
            of_rate("greedy")
                .num_args(0)
                .default_missing_value("true")
                .value_parser(value_parser!(bool))
                .help("At most MAX in any window of PER, as fast as possible (an exact sliding log)"),
            of_rate("window")
                .value_name("KIND")
                .value_parser(EnumValueParser::<Window>::new())
                .help("At most MAX per window of PER"),
            of_rate("unit")
                .value_name("UNIT")
                .value_parser(Unit::named)
                .help("Count this unit, for example tokens, instead of calls; a request gives its amount by --take"),
            of_rate("guard")
                .value_name("TIME")
                .value_parser(parse_span)
                .help("With --greedy: the limit is also kept if callers are late by up to TIME, for example 50ms"),
        ])
    }

    fn augment_args_for_update(command: Command) -> Command {
        Limits::augment_args(command)
    }
}

impl FromArgMatches for Limits {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Limits, clap::Error> {
        resolve(matches).map(Limits).map_err(|why| clap::Error::raw(ErrorKind::ValueValidation, why))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Limits::from_arg_matches(matches)?;
        Ok(())
    }
}

/// All values of one option, and where each stood on the command line.
fn all<T: Clone + Send + Sync + 'static>(
    matches: &ArgMatches,
    id: &'static str,
    setting: fn(T) -> Setting,
) -> Vec<(usize, &'static str, Setting)> {
    let values = matches.get_many::<T>(id).into_iter().flatten();
    let places = matches.indices_of(id).into_iter().flatten();
    values.zip(places).map(|(value, place)| (place, id, setting(value.clone()))).collect()
}

fn resolve(matches: &ArgMatches) -> Result<Vec<LimitSpec>, String> {
    let rates = matches.get_many::<Rate>("rate").into_iter().flatten();
    let places: Vec<usize> = matches.indices_of("rate").into_iter().flatten().collect();
    let mut limits: Vec<(LimitSpec, Vec<&str>)> =
        rates.map(|&rate| (LimitSpec::of(rate), Vec::new())).collect();
    let settings = [
        all(matches, "burst", Setting::Burst),
        all(matches, "greedy", |_: bool| Setting::Greedy),
        all(matches, "window", Setting::Window),
        all(matches, "unit", Setting::Unit),
        all(matches, "guard", Setting::Guard),
    ];
    for (place, flag, setting) in settings.into_iter().flatten() {
        let before = places.iter().take_while(|&&rate| rate < place).count();
        let index = if limits.len() == 1 { Some(0) } else { before.checked_sub(1) };
        let Some((limit, given)) = index.and_then(|index| limits.get_mut(index)) else {
            return Err(format!("--{flag} must follow a --rate; put it after the --rate it belongs to"));
        };
        if given.contains(&flag) {
            return Err(format!(
                "--{flag} is given twice for {}; give it once, after its --rate",
                limit.rate
            ));
        }
        given.push(flag);
        limit.apply(setting)?;
    }
    let checked = |limit: LimitSpec| Limit::try_from(limit).map(|_| limit).map_err(|e| e.to_string());
    limits.into_iter().map(|(limit, _)| checked(limit)).collect()
}

/// Applies a setting to a limit.
trait Apply {
    fn apply(&mut self, setting: Setting) -> Result<(), String>;
}

impl Apply for LimitSpec {
    fn apply(&mut self, setting: Setting) -> Result<(), String> {
        match setting {
            Setting::Burst(burst) => self.burst = Some(burst),
            Setting::Greedy => self.kind = LimitKind::Greedy,
            Setting::Window(_) if self.kind == LimitKind::Greedy => {
                return Err(format!("{} cannot be both --greedy and in a --window; choose one", self.rate));
            }
            Setting::Window(Window::Sliding) => self.kind = LimitKind::SlidingCounter,
            Setting::Window(window) => {
                self.kind = LimitKind::FixedWindow;
                let first_use = matches!(window, Window::FirstUse);
                self.start = Some(if first_use { Start::FirstUse } else { Start::Epoch });
            }
            Setting::Unit(unit) => self.unit = unit,
            Setting::Guard(guard) => self.guard = Some(guard),
        }
        Ok(())
    }
}
