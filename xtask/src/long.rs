//! What runs for longer than a test: for a release, or to look for what is rare.

use crate::{CORE, HELP, run};

/// Runs the long scenarios, each in this many random interleavings.
pub(crate) fn interleave(n: &str) -> Result<(), String> {
    let tests = ["--target-dir", "target/shuttle", "shuttle_tests"];
    let environment =
        [("RUSTFLAGS", "--cfg model --cfg shuttle -D warnings"), ("SHM_LIMIT_INTERLEAVINGS", n)];
    run("interleave", &environment, &[&CORE[..], &tests].concat())
}

/// The report: one run, one table. It also measures the command.
pub(crate) fn bench(more: &[&str]) -> Result<(), String> {
    run("bench", &[], &["build", "--release", "-p", "shm-cli"])?;
    let report = ["run", "--release", "-p", "shm-limit-benches", "--bin", "report", "--"];
    run("bench", &[], &[&report[..], more].concat())
}

/// `tests/fuzz` alone, with overflow checks unless `--release` is given.
pub(crate) fn fuzz(args: &[&str]) -> Result<(), String> {
    let mut settings = Vec::new();
    let mut cargo = vec!["test", "-p", "shm-limit-suite", "--test", "fuzz"];
    let mut args = args.iter().copied();
    while let Some(arg) = args.next() {
        let (name, value) = match arg {
            "--release" => {
                cargo.push("--release");
                continue;
            }
            "--seed" => ("SHM_FUZZ_SEED", args.next()),
            "--case" => ("SHM_FUZZ_CASE", args.next()),
            seconds => ("SHM_FUZZ_SECONDS", Some(seconds)),
        };
        match value.filter(|text| text.parse::<u64>().is_ok()) {
            Some(value) => settings.push((name, value)),
            None => return Err(format!("{arg}: a number is needed\n{HELP}")),
        }
    }
    run("fuzz", &settings, &cargo)
}

/// The same storm that is a part of `processes`, for longer.
pub(crate) fn storm(seconds: &str, dir: &str) -> Result<(), String> {
    run(
        "storm",
        &[("SHM_LIMIT_STORM", seconds), ("SHM_LIMIT_TEST_DIR", dir)],
        &[
            "test",
            "--profile",
            "suite",
            "-p",
            "shm-limit-suite",
            "--test",
            "storm",
            "a_storm_breaks_no_promise",
        ],
    )
}

/// The storm of keys: so many seconds, keys, processes and limiters.
pub(crate) fn storm_of_keys(seconds: &str, rest: &str) -> Result<(), String> {
    let plan = format!("{seconds} {rest}");
    let test = ["test", "--profile", "suite", "-p", "shm-limit-suite", "--test", "storm", "a_storm_of_keys"];
    run("storm of keys", &[("SHM_LIMIT_KEY_STORM", plan.as_str())], &test)
}

/// 64 processes, a million keys, all limiters.
pub(crate) const MANY_PROCESSES: &str = "1000000 64 6";
/// 8 processes, ten million keys, one limiter.
pub(crate) const TEN_MILLION: &str = "10000000 8 1";

/// All of `tests/faults`, a sample of which is a part of `processes`.
pub(crate) fn faults(options: &[&str]) -> Result<(), String> {
    let mut environment = Vec::new();
    for option in options.chunks(2) {
        match option {
            ["--op", name] => environment.push(("SHM_LIMIT_FAULT_OP", *name)),
            ["--end", name] => environment.push(("SHM_LIMIT_FAULT_END", *name)),
            ["--every", n] if n.parse::<usize>().is_ok_and(|n| n > 0) => {
                environment.push(("SHM_LIMIT_FAULT_EVERY", *n));
            }
            _ => return Err(format!("`cargo xtask faults` has no option {option:?}\n{HELP}")),
        }
    }
    let test = ["test", "--profile", "suite", "-p", "shm-limit-suite", "--test", "faults"];
    run("faults", &environment, &[&test[..], &["--", "--ignored", "--nocapture"]].concat())
}
