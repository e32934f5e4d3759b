//! An overloaded limiter: how much of the limit it delivers while clients arrive, wait and leave, and what they leave behind.

mod measurements;
mod requests;

use harness::load::api::NextCall;
use harness::load::heartbeat::DISTURBED;
use harness::load::overload::{Figures, PATIENCE};
use measurements::{Measurement, choose, columns};
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

/// Prints the table of the measurements that the filters select: `--quick`, and names of ways to leave, limiters and loads.
pub(crate) fn print(filters: &[&str]) {
    let mut chosen = choose(filters);
    let command = command();
    if command.is_none() && chosen.iter().any(Measurement::needs_the_command) {
        println!(
            "\n`shm-limit acquire` was not measured: `cargo build --release -p shm-cli` builds the command."
        );
        chosen.retain(|measurement| !measurement.needs_the_command());
    }
    let Some(first) = chosen.first() else {
        return println!(
            "\nNo measurement has all of these properties. The command is only measured with a load of 2x and without permits, \
             and the limiter `fast` only with dropped futures."
        );
    };
    println!(
        "\n## Overload\n\nClients arrive at random instants for {:?}, at a multiple of the limit (the load), and leave after \
         {PATIENCE:?}. The table shows the delivered part of the limit in per cent: the mean, and the worst second after the \
         first. For permits, that is the time for which they were held.\n",
        first.what.time
    );
    println!(
        "| clients leave by | limiter | load | clients | mean % | worst second % | queued afterwards | next call after |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for batch in measurements::batches(chosen) {
        for (measurement, figures) in measure(batch, command.clone()) {
            println!("{}", row(&measurement, &figures));
        }
    }
}

/// Runs the measurements of a batch at the same time, each on a limiter of its own.
fn measure(batch: Vec<Measurement>, command: Option<PathBuf>) -> Vec<(Measurement, Figures)> {
    let exe: &'static str = this_program();
    let done = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for (index, measurement) in batch.into_iter().enumerate() {
            let (done, command) = (&done, command.as_deref());
            scope.spawn(move || {
                let figures = measurement.what.run(exe, command);
                done.lock().expect("no panic").push((index, measurement, figures));
            });
        }
    });
    let mut done = done.into_inner().expect("no panic");
    done.sort_by_key(|(index, ..)| *index);
    done.into_iter().map(|(_, measurement, figures)| (measurement, figures)).collect()
}

fn row(measurement: &Measurement, figures: &Figures) -> String {
    let [way, limiter, load] = columns(measurement);
    let errors = match figures.failed {
        0 => String::new(),
        failed => format!(" ({failed} errors)"),
    };
    let stall = match figures.stall {
        stall if stall > DISTURBED => format!(" (the machine stalled for {})", milliseconds(stall)),
        _ => String::new(),
    };
    let (mean, worst) = (figures.mean(), figures.worst());
    let next_call = match figures.next_call {
        NextCall::Admitted(time) => milliseconds(time),
        NextCall::Denied(time) => format!("{} (according to the denial)", milliseconds(time)),
    };
    format!(
        "| {way} | {limiter} | {load} | {}{errors} | {mean:.0} | {worst:.0} | {} | {next_call}{stall} |",
        figures.clients, figures.queued
    )
}

fn milliseconds(time: Duration) -> String {
    match time.as_secs_f64() {
        seconds if seconds >= 1.0 => format!("{seconds:.1} s"),
        seconds => format!("{:.0} ms", seconds * 1e3),
    }
}

/// Runs this process's part of a measurement.
pub(crate) fn serve(filters: &[&str]) {
    let job = harness::load::serve(filters.iter().map(|word| (*word).to_owned()));
    match job.text("work") {
        "requests" => requests::run(&job),
        _ => harness::load::client::run(&job),
    }
}

/// The command, which `cargo xtask bench` builds.
fn command() -> Option<PathBuf> {
    let built = std::env::current_exe().expect("this program").with_file_name("shm-limit");
    built.exists().then_some(built)
}

/// The path of this program, which measurements start for each of their processes.
pub(crate) fn this_program() -> &'static str {
    let path = std::env::current_exe().expect("this program");
    Box::leak(path.into_os_string().into_string().expect("a path in UTF-8").into_boxed_str())
}
