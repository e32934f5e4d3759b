//! `cargo xtask test`: everything that must hold, on a machine with only the Rust toolchain.

use std::env;
use std::fs;
use std::process::{Command, ExitCode};
use std::time::Instant;

const HELP: &str = "\
cargo xtask test [PART...]   run every test, or only these parts:
  unit        properties, doctests, README, futures, the tower layer, black-box tests of the command
  processes   real processes: fork, kill, stop, namespaces (release build)
  loom        every interleaving of the commit protocols
  examples    the examples, run as a user would
cargo xtask autopsy          every public operation cut off at each of its instructions, by death and by a stop
  --op NAME                  only operations with this in their names
  --every N                  only every N-th instruction
cargo xtask bench            the benchmark, each figure beside its floor";

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match args.as_slice() {
        ["test", parts @ ..] => test(parts),
        ["autopsy", options @ ..] => autopsy(options),
        ["bench", more @ ..] => run("bench", &[], &[&["bench", "-p", "shm-limit-benches"], more].concat()),
        _ => {
            eprintln!("{HELP}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => {
            eprintln!("xtask: {what}");
            ExitCode::FAILURE
        }
    }
}

fn test(parts: &[&str]) -> Result<(), String> {
    let all = ["unit", "processes", "loom", "examples"];
    if let Some(unknown) = parts.iter().find(|part| !all.contains(part)) {
        return Err(format!("there is no part {unknown:?}\n{HELP}"));
    }
    for part in all.into_iter().filter(|part| parts.is_empty() || parts.contains(part)) {
        match part {
            "unit" => run(
                part,
                &[("SHM_LIMIT_DIR", &scratch()?)],
                &[
                    "test",
                    "--workspace",
                    "--all-features",
                    "--exclude",
                    "shm-limit-suite",
                    "--exclude",
                    "shm-limit-benches",
                ],
            )?,
            "processes" => run(part, &[], &["test", "--release", "-p", "shm-limit-suite", "--tests"])?,
            "loom" => run(
                part,
                &[("RUSTFLAGS", "--cfg loom")],
                &[
                    "test",
                    "--release",
                    "-p",
                    "shm-core",
                    "--lib",
                    "--target-dir",
                    "target/loom",
                    "loom_tests",
                ],
            )?,
            _ => examples()?,
        }
    }
    Ok(())
}

/// Of `tests/autopsy`, of which a sample is a part of `processes`.
fn autopsy(options: &[&str]) -> Result<(), String> {
    let mut environment = Vec::new();
    for option in options.chunks(2) {
        match option {
            ["--op", name] => environment.push(("AUTOPSY_OP", *name)),
            ["--every", n] if n.parse::<usize>().is_ok_and(|n| n > 0) => {
                environment.push(("AUTOPSY_EVERY", *n));
            }
            _ => return Err(format!("autopsy knows no {option:?}\n{HELP}")),
        }
    }
    let test = ["test", "--release", "-p", "shm-limit-suite", "--test", "autopsy"];
    run("autopsy", &environment, &[&test[..], &["--", "--ignored", "--nocapture"]].concat())
}

/// Where programs in the documentation put their limiters, instead of the user's own directory.
fn scratch() -> Result<String, String> {
    let dir = env::current_dir().map_err(|why| why.to_string())?.join("target/limiters");
    fs::create_dir_all(&dir).map_err(|why| format!("can't make {}: {why}", dir.display()))?;
    Ok(dir.display().to_string())
}

/// The shell example needs curl and the built command; the others are programs.
fn examples() -> Result<(), String> {
    run(
        "examples",
        &[],
        &["build", "--release", "-p", "shm-cli", "-p", "shm-limit-suite", "--examples", "--bins"],
    )?;
    for example in ["forked_workers", "two_programs", "model_api"] {
        run("examples", &[], &["run", "--release", "-p", "shm-limit-suite", "--example", example])?;
    }
    if Command::new("curl").arg("--version").output().is_err() {
        println!("SKIPPED examples/requests.sh: there is no curl here");
        return Ok(());
    }
    finish("examples/requests.sh", Command::new("sh").arg("examples/requests.sh"))
}

fn run(part: &str, environment: &[(&str, &str)], args: &[&str]) -> Result<(), String> {
    let cargo = env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    println!("== {part}: cargo {}", args.join(" "));
    let begun = Instant::now();
    finish(part, Command::new(cargo).args(args).envs(environment.iter().copied()))?;
    println!("== {part}: done in {} s", begun.elapsed().as_secs());
    Ok(())
}

fn finish(what: &str, command: &mut Command) -> Result<(), String> {
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{what} failed: {status}")),
        Err(why) => Err(format!("{what} can't be started: {why}")),
    }
}
