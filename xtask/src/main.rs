//! `cargo xtask test`: everything that must hold, on a machine with only the Rust toolchain.

mod checks;
mod long;
mod python;

use checks::check;
use long::{MANY_PROCESSES, TEN_MILLION, bench, faults, fuzz, interleave, storm, storm_of_keys};
use std::env;
use std::fs;
use std::process::{Command, ExitCode};
use std::time::Instant;

const HELP: &str = "\
cargo xtask test [PART...]   run every test, or only these parts:
  unit        properties, doctests, README, futures, the tower layer, black-box tests of the command
  processes   real processes, by promise: fork, kill, stop, namespaces, a minute of storm, a sample of faults (optimised build)
  fuzz        hostile bytes in limiters' files (with overflow checks)
  loom        every interleaving of the protocols in small scenarios; random ones of long scenarios (shuttle)
  examples    the examples, run as a user would
  python      the wheel in an environment of its own: pytest, and mypy and stubtest for its types
  conformance the same scenarios for Rust, the command and Python, and all of them at once on one limiter under kills; Python
              with the wheel of the part `python`
cargo xtask interleave [N]   N random interleavings of each long scenario (100000)
cargo xtask storm [SECONDS [DIR]]
                             64 processes that do everything at once, killed and stopped at random (600), with the limiters
                             in this directory (/dev/shm)
cargo xtask storm keys [SECONDS]
                             the same with a million keys, on limiters that are changed and reset, or have too little room (600)
cargo xtask storm ten-million [SECONDS]
                             ten million keys, asked for by 8 processes that are killed: never over, and memory stays flat (600)
cargo xtask faults [--op NAME] [--end killed|stopped|forked|retired] [--every N]
                             every public operation interrupted at each of its instructions: by a kill, by a stop, by a fork
                             in a signal handler, by the retirement of its limiter
cargo xtask fuzz [SECONDS] [--seed N] [--case N] [--release]
                             hostile bytes for longer, from a seed, or one case again and again
cargo xtask check [PART...]  that the crates can be published and built elsewhere: package (each is complete by itself), sdist
                             (so is Python's package of sources), musl (a static command), deny (licences, sources, advisories), api (the public interface is the one in
                             docs/api; --bless writes it), vectors (those of the file format are in docs/format-vectors.json;
                             --bless writes them), msrv, minimal (oldest dependencies), miri (pure code), aarch64 (by an
                             emulator), coverage. What needs a tool that is missing is skipped, and says so
cargo xtask bench [PART...]  the benchmark, each figure next to its baseline or a peer, in one run; --svg FILE also draws the plot
cargo xtask bench python [PART...]
                             the same of the Python package, beside its peers";

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match args.as_slice() {
        ["test", parts @ ..] => test(parts),
        ["faults", options @ ..] => faults(options),
        ["storm", "keys"] => storm_of_keys("600", MANY_PROCESSES),
        ["storm", "keys", seconds] if seconds.parse::<u64>().is_ok() => {
            storm_of_keys(seconds, MANY_PROCESSES)
        }
        ["storm", "ten-million"] => storm_of_keys("600", TEN_MILLION),
        ["storm", "ten-million", seconds] if seconds.parse::<u64>().is_ok() => {
            storm_of_keys(seconds, TEN_MILLION)
        }
        ["storm"] => storm("600", "/dev/shm"),
        ["storm", seconds] if seconds.parse::<u64>().is_ok() => storm(seconds, "/dev/shm"),
        ["storm", seconds, dir] if seconds.parse::<u64>().is_ok() => storm(seconds, dir),
        ["interleave"] => interleave("100000"),
        ["interleave", n] if n.parse::<u64>().is_ok() => interleave(n),
        ["fuzz", more @ ..] => fuzz(more),
        ["check", parts @ ..] => check(parts),
        ["bench", "python", parts @ ..] => python::bench(parts),
        ["bench", more @ ..] => bench(more),
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
    let all = ["unit", "processes", "fuzz", "loom", "examples", "python", "conformance"];
    if let Some(unknown) = parts.iter().find(|part| !all.contains(part)) {
        return Err(format!("there is no part {unknown:?}\n{HELP}"));
    }
    for part in all.into_iter().filter(|part| parts.is_empty() || parts.contains(part)) {
        match part {
            "unit" => run(part, &[("SHM_LIMIT_DIR", &scratch()?)], &[&["test"][..], &UNIT].concat())?,
            "processes" => run(
                part,
                &[("SHM_FUZZ_SECONDS", "20")],
                &["test", "--profile", "suite", "-p", "shm-limit-suite", "--tests"],
            )?,
            "fuzz" => fuzz(&["25"])?,
            "loom" => {
                let tests = ["--target-dir", "target/loom", "loom_tests"];
                run(part, &[("RUSTFLAGS", "--cfg model -D warnings")], &[&CORE[..], &tests].concat())?;
                interleave("2000")?;
            }
            "examples" => examples()?,
            "python" => python::test()?,
            _ => conformance()?,
        }
    }
    Ok(())
}

/// The packages that are tested without other processes than their own.
const UNIT: [&str; 4] = ["--workspace", "--all-features", "--exclude", "shm-limit-suite"];

/// The tests inside the core alone: models compile nothing else.
const CORE: [&str; 5] = ["test", "--release", "-p", "shm-core", "--lib"];

/// Where programs in the documentation put their limiters, instead of the user's own directory. Those of an earlier run, whose
/// layout may be another, are gone.
fn scratch() -> Result<String, String> {
    let dir = env::current_dir().map_err(|why| why.to_string())?.join("target/limiters");
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).map_err(|why| format!("can't make {}: {why}", dir.display()))?;
    Ok(dir.display().to_string())
}

/// The shell example needs curl and the built command; the others are programs.
fn examples() -> Result<(), String> {
    run("examples", &[], &["build", "--release", "--examples", "--bins"])?;
    for example in ["forked_workers", "two_programs", "model_api"] {
        run("examples", &[], &["run", "--release", "--example", example])?;
    }
    if Command::new("curl").arg("--version").output().is_err() {
        println!("SKIPPED examples/requests.sh: there is no curl here");
        return Ok(());
    }
    finish("examples/requests.sh", Command::new("sh").arg("examples/requests.sh"))
}

/// The command is built beside the tests, which start it.
fn conformance() -> Result<(), String> {
    run("conformance", &[], &["build", "--profile", "suite", "-p", "shm-cli"])?;
    let test = ["test", "--profile", "suite", "-p", "shm-limit-suite", "--test", "conformance"];
    run("conformance", &[], &[&test[..], &["--", "--include-ignored"]].concat())
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
