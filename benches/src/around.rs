//! What is around a decision: opening, the first request, futures, a command.

use crate::ours;
use crate::rounds::{DECISIONS, Rounds, line};
use crate::subject::{Loop, Subject};
use std::cell::RefCell;
use std::fs::OpenOptions;
use std::hint::black_box;
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const OPENINGS: Rounds = Rounds { times: 100, unit: "µs", nanos: 1e3 };
const COMMANDS: Rounds = Rounds { times: 1, unit: "ms", nanos: 1e6 };

pub(crate) fn print() {
    println!("\n## Around a decision\n\n{OPENINGS}");
    opening();
    println!("\n{DECISIONS}");
    futures();
    commands();
}

/// An existing limiter. To reach: 10 µs.
fn opening() {
    const FILE: &str = "floor: open, fstat and close of the file";
    const CLOSED: &str = "opened and closed";
    let place = ours::wide_open();
    let open = {
        let directory = place.dir.path().to_owned();
        move || ours::widely(ours::builder(&directory)).expect("an existing limiter")
    };
    let path = place.limit.path().to_owned();
    let file = Subject::new(FILE, move || {
        let file = OpenOptions::new().read(true).write(true).open(&path).expect("the limiter's file");
        file.metadata().expect("what is known of it").len()
    });
    let kept = Rc::new(RefCell::new(Vec::with_capacity(OPENINGS.times as usize)));
    let keep = {
        let (open, kept) = (open.clone(), kept.clone());
        Subject::new("opened", move || kept.borrow_mut().push(open()))
    };
    let used = {
        let open = open.clone();
        Subject::new("opened, one request, closed", move || {
            open().try_acquire(1).expect("a decision").is_admitted()
        })
    };
    OPENINGS.measure(
        "an existing limiter",
        vec![
            line(file),
            line(keep).beside(FILE).after(move || kept.borrow_mut().clear()),
            line(Subject::new(CLOSED, open)).beside(FILE),
            line(used).beside(CLOSED),
        ],
    );
}

fn futures() {
    const WAIT: &str = "wait()";
    const TIMEOUT: &str = "acquire(1).timeout(…).wait()";
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let runtime = Rc::new(runtime);
    let (place, with_timeout) = (ours::wide_open(), ours::wide_open());
    let acquire: Loop = {
        let runtime = runtime.clone();
        Box::new(move |times| {
            runtime.block_on(async {
                for _ in 0..times {
                    black_box(place.limit.acquire(1).await.expect("an admission"));
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
    let place = ours::wide_open();
    let wait_timeout = Subject::new(TIMEOUT, move || {
        let place = &place;
        place.limit.acquire(1).timeout(SECOND).wait().expect("an outcome").is_admitted()
    });
    DECISIONS.measure(
        "admitted at once",
        vec![
            line(ours::waited(WAIT)),
            line(Subject { name: "acquire(1).await", run: acquire }).beside(WAIT).goal(1.2),
            line(wait_timeout),
            line(Subject { name: "acquire(1).timeout(…).await", run: acquire_timeout })
                .beside(TIMEOUT)
                .goal(1.2),
        ],
    );
}

/// The command is built by `cargo xtask bench`. To reach: 2 ms more than without it.
fn commands() {
    const ALONE: &str = "`true`";
    let built = std::env::current_exe().expect("this program").with_file_name("shm-limit");
    if !built.exists() {
        println!("\n`shm-limit run` was not measured: `cargo build --release -p shm-cli` builds it.");
        return;
    }
    println!("\n{COMMANDS}");
    let place = ours::wide_open();
    let arguments = [
        built.into_os_string(),
        "run".into(),
        "--dir".into(),
        place.dir.path().into(),
        place.limit.name().into(),
        "true".into(),
    ];
    let run = Subject::new("`shm-limit run NAME true`", move || {
        let _keep = &place;
        call(&arguments)
    });
    COMMANDS.measure(
        "a command",
        vec![line(Subject::new(ALONE, || call(&["true".into()]))), line(run).beside(ALONE)],
    );
}

fn call(arguments: &[std::ffi::OsString]) {
    let status = Command::new(&arguments[0]).args(&arguments[1..]).stdin(Stdio::null()).status();
    assert!(status.expect("a process").success());
}
