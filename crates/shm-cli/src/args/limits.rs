//! `--rate`, as often as there are limits, and what is said of each: a flag belongs to the `--rate` before it.

use clap::builder::EnumValueParser;
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, ValueEnum, value_parser};
use shm_lib::limit::{Description, KindName, parse_span};
use shm_lib::{Limit, Rate, Start, Unit};
use std::time::Duration;

/// The limits that were asked for, each as it was stated; none without a `--rate`.
#[derive(Clone, Default)]
pub(crate) struct Limits(pub(crate) Vec<Description>);

/// What `--window` can say.
#[derive(Clone, Copy, ValueEnum)]
enum Window {
    /// One after the other, by the wall clock: a minute's window begins with the minute
    Fixed,
    /// Begins with the first call after the last window ended
    FirstUse,
    /// A sliding window by estimate, from two counters
    Sliding,
}

/// What can be said of a limit, besides its rate.
#[derive(Clone, Copy)]
enum Word {
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
                .help("At most this many per this long, for example 5/s, 100/10s or 30/1m30s")
                .long_help(
                    "At most this many per this long, for example 5/s, 100/10s or 30/1m30s. Up to four times: one more \
                     limit each, taken all or none. --burst, --greedy, --window, --unit and --guard belong to the --rate \
                     before them (or to the only one)",
                ),
            of_rate("burst")
                .short('b')
                .value_name("N")
                .value_parser(value_parser!(u64))
                .help("How many may pass at one instant after a quiet time [default: 1, evenly spaced; of a unit: MAX]"),
            of_rate("greedy")
                .num_args(0)
                .default_missing_value("true")
                .value_parser(value_parser!(bool))
                .help("At most MAX in any window of PER, as fast as possible: an exact sliding log"),
            of_rate("window")
                .value_name("KIND")
                .value_parser(EnumValueParser::<Window>::new())
                .help("At most MAX per window of PER"),
            of_rate("unit")
                .value_name("UNIT")
                .value_parser(Unit::named)
                .help("Counts these and not calls, for example tokens; see --take of acquire and run"),
            of_rate("guard")
                .value_name("TIME")
                .value_parser(parse_span)
                .help("Lengthens the window of --greedy by the time that callers may be late, for example 50ms"),
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

/// Everything of one flag, and where it stood.
fn all<T: Clone + Send + Sync + 'static>(
    matches: &ArgMatches,
    id: &'static str,
    word: fn(T) -> Word,
) -> Vec<(usize, &'static str, Word)> {
    let values = matches.get_many::<T>(id).into_iter().flatten();
    let places = matches.indices_of(id).into_iter().flatten();
    values.zip(places).map(|(value, place)| (place, id, word(value.clone()))).collect()
}

fn resolve(matches: &ArgMatches) -> Result<Vec<Description>, String> {
    let rates = matches.get_many::<Rate>("rate").into_iter().flatten();
    let places: Vec<usize> = matches.indices_of("rate").into_iter().flatten().collect();
    let mut limits: Vec<(Description, Vec<&str>)> =
        rates.map(|&rate| (Description::of(rate), Vec::new())).collect();
    let words = [
        all(matches, "burst", Word::Burst),
        all(matches, "greedy", |_: bool| Word::Greedy),
        all(matches, "window", Word::Window),
        all(matches, "unit", Word::Unit),
        all(matches, "guard", Word::Guard),
    ];
    for (place, flag, word) in words.into_iter().flatten() {
        let before = places.iter().take_while(|&&rate| rate < place).count();
        let whose = if limits.len() == 1 { Some(0) } else { before.checked_sub(1) };
        let Some((limit, said)) = whose.and_then(|index| limits.get_mut(index)) else {
            return Err(format!("--{flag} must follow a --rate; put it after the --rate it belongs to"));
        };
        if said.contains(&flag) {
            return Err(format!(
                "--{flag} is given twice for {}; give it once, after its --rate",
                limit.rate
            ));
        }
        said.push(flag);
        limit.apply(word)?;
    }
    let checked = |limit: Description| Limit::try_from(limit).map(|_| limit).map_err(|e| e.to_string());
    limits.into_iter().map(|(limit, _)| checked(limit)).collect()
}

/// Taking in what is said.
trait Apply {
    fn apply(&mut self, word: Word) -> Result<(), String>;
}

impl Apply for Description {
    fn apply(&mut self, word: Word) -> Result<(), String> {
        match word {
            Word::Burst(burst) => self.burst = Some(burst),
            Word::Greedy => self.kind = KindName::Greedy,
            Word::Window(_) if self.kind == KindName::Greedy => {
                return Err(format!("{} can't be both --greedy and in a --window; choose one", self.rate));
            }
            Word::Window(Window::Sliding) => self.kind = KindName::SlidingCounter,
            Word::Window(window) => {
                self.kind = KindName::FixedWindow;
                let first_use = matches!(window, Window::FirstUse);
                self.start = Some(if first_use { Start::FirstUse } else { Start::Epoch });
            }
            Word::Unit(unit) => self.unit = unit,
            Word::Guard(guard) => self.guard = Some(guard),
        }
        Ok(())
    }
}
