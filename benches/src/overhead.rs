//! The overhead around a decision: opening a limiter, the first request, futures, the command.

use crate::sampling::{DECISIONS, Sampling, row};
use crate::shm_limit;
use crate::subject::{Loop, Subject};
use std::cell::RefCell;
use std::fs::OpenOptions;
use std::hint::black_box;
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const OPENINGS: Sampling = Sampling { times: 100, unit: "µs", nanos: 1e3 };
const COMMANDS: Sampling = Sampling { times: 1, unit: "ms", nanos: 1e6 };

pub(crate) fn print() {
    println!("\n## Overhead around a decision\n\n{OPENINGS}");
    opening();
    println!("\n{DECISIONS}");
    futures();
    commands();
}

/// Opening an existing limiter. Target: 10 µs.
fn opening() {
    const FILE: &str = "baseline: open, fstat and close of the file";
    const CLOSED: &str = "opened and closed";
    let fixture = shm_limit::wide_open();
    let open = {
        let directory = fixture.dir.path().to_owned();
        move || shm_limit::open_wide(shm_limit::builder(&directory)).expect("an existing limiter")
    };
    let path = fixture.limit.path().to_owned();
    let file = Subject::new(FILE, move || {
        let file = OpenOptions::new().read(true).write(true).open(&path).expect("the limiter's file");
        file.metadata().expect("metadata").len()
    });
    let opened = Rc::new(RefCell::new(Vec::with_capacity(OPENINGS.times as usize)));
    let open_and_keep = {
        let (open, opened) = (open.clone(), opened.clone());
        Subject::new("opened", move || opened.borrow_mut().push(open()))
    };
    let open_and_use = {
        let open = open.clone();
        Subject::new("opened, one request, closed", move || {
            open().try_acquire(1).expect("a decision").is_admitted()
        })
    };
    OPENINGS.measure(
        "an existing limiter",
        vec![
            row(file),
            row(open_and_keep).compared_to(FILE).after(move || opened.borrow_mut().clear()),
            row(Subject::new(CLOSED, open)).compared_to(FILE),
            row(open_and_use).compared_to(CLOSED),
        ],
    );
}

fn futures() {
    const WAIT: &str = "wait()";
    const TIMEOUT: &str = "acquire(1).timeout(…).wait()";
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let runtime = Rc::new(runtime);
    let (fixture, with_timeout) = (shm_limit::wide_open(), shm_limit::wide_open());
    let acquire: Loop = {
        let runtime = runtime.clone();
        Box::new(move |times| {
            runtime.block_on(async {
                for _ in 0..times {
                    black_box(fixture.limit.acquire(1).await.expect("an admission"));
                }
            });
        })
    };
    let acquire_timeout: Loop = Box::new(move |times| {
        runtime.block_on(async {
            for _ in 0..times {
                let _ = black_box(with_timeout.limit.acquire(1).timeout(SECOND).await.expect("an outcome"));
            }
        });
    });
    let fixture = shm_limit::wide_open();
    let wait_timeout = Subject::new(TIMEOUT, move || {
        let fixture = &fixture;
        fixture.limit.acquire(1).timeout(SECOND).wait().expect("an outcome").is_admitted()
    });
    DECISIONS.measure(
        "admitted immediately",
        vec![
            row(shm_limit::waited(WAIT)),
            row(Subject { name: "acquire(1).await", run: acquire }).compared_to(WAIT).target(1.2),
            row(wait_timeout),
            row(Subject { name: "acquire(1).timeout(…).await", run: acquire_timeout })
                .compared_to(TIMEOUT)
                .target(1.2),
        ],
    );
}

/// The command, which `cargo xtask bench` builds. Target: 2 ms more than without it.
fn commands() {
    const ALONE: &str = "`true`";
    let built = std::env::current_exe().expect("this program").with_file_name("shm-limit");
    if !built.exists() {
        println!("\n`shm-limit run` was not measured: `cargo build --release -p shm-cli` builds it.");
        return;
    }
    println!("\n{COMMANDS}");
    let fixture = shm_limit::wide_open();
    let arguments = [
        built.into_os_string(),
        "run".into(),
        "--dir".into(),
        fixture.dir.path().into(),
        fixture.limit.name().into(),
        "true".into(),
    ];
    let run = Subject::new("`shm-limit run NAME true`", move || {
        let _keep = &fixture;
        run_command(&arguments)
    });
    COMMANDS.measure(
        "a command",
        vec![row(Subject::new(ALONE, || run_command(&["true".into()]))), row(run).compared_to(ALONE)],
    );
}

fn run_command(arguments: &[std::ffi::OsString]) {
    let status = Command::new(&arguments[0]).args(&arguments[1..]).stdin(Stdio::null()).status();
    assert!(status.expect("a process").success());
}
