//! Jobs as cron runs them: hardly any environment, no terminal, and all output is mailed.

mod common;

use common::isolated;

/// A job of this command line; what is mailed and the exit status, each on a line of its own.
fn job(arguments: &str) -> String {
    format!(
        "set +e\n\
         env -i HOME=/root LOGNAME=root PATH=$PATH SHELL=/bin/sh /bin/sh -c 'shm-limit {arguments}' </dev/null 1>&2\n\
         echo \"status $?\" >&2\n"
    )
}

fn mails(jobs: &[&str]) -> Option<Vec<String>> {
    let said = isolated(&jobs.iter().map(|arguments| job(arguments)).collect::<String>())?;
    Some(said.lines().map(|line| line.trim_start_matches("shm-limit: ").to_owned()).collect())
}

#[test]
fn only_the_first_run_and_errors_are_mailed() {
    let quiet = "run backup --rate 1/h --keep --try --quiet -- echo ran";
    let Some(lines) = mails(&[
        "run backup --rate 1/h --keep --try -- echo ran",
        quiet,
        "run backup --rate 1/h --keep --try --quiet --denied-status 0 -- echo ran",
        "run backup --rate 1/h --keep --try -- echo ran",
        "run backup --rate 1/h --timeout 1m --quiet -- echo ran",
        "run missing --quiet -- echo ran",
    ]) else {
        return;
    };
    assert!(lines[0].starts_with("note: limiter \"backup\" is created in /dev/shm/shm-limit-0"), "{lines:?}");
    assert_eq!(lines[1..5], ["ran", "status 0", "status 75", "status 0"], "{lines:?}");
    assert!(lines[5].contains("the command was not run; try again in 35"), "{lines:?}");
    assert_eq!(lines[6..8], ["status 75", "status 75"], "{lines:?}");
    assert!(lines[8].contains("does not exist"), "{lines:?}");
    assert_eq!(lines[9..], ["status 1"], "{lines:?}");
}

/// A limiter that is created by a quiet job is not mailed either.
#[test]
fn a_quiet_job_mails_nothing_when_it_creates_the_limiter() {
    let quiet = "run backup --rate 1/h --keep --try --quiet --denied-status 0 -- true";
    let Some(lines) = mails(&[quiet, quiet]) else { return };
    assert_eq!(lines, ["status 0", "status 0"]);
}

#[test]
fn a_long_wait_is_mailed_if_asked_for_and_the_commands_own_75_is_told_apart() {
    let Some(lines) = mails(&[
        "acquire job --rate 1/3s --quiet",
        "run job --verbose --denied-status 9 -- sh -c \"exit 75\"",
        "run job --try --denied-status 9 --quiet -- true",
    ]) else {
        return;
    };
    assert_eq!(
        lines,
        ["status 0", "limiter \"job\": waiting, number 1 of 1 in line", "status 75", "status 9"],
    );
}
