//! Opening and creating a limiter of ten million keys, next to a limiter without keys.

use super::candidates::{bucket, builder};
use crate::sampling::{Sampling, row};
use crate::shm_limit;
use crate::subject::Subject;
use shm_lib::KeyedRateLimit;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

const MANY: u64 = 10_000_000;
const OPENINGS: Sampling = Sampling { times: 20, unit: "µs", nanos: 1e3 };

fn open_keyed(dir: &Path) -> KeyedRateLimit {
    bucket(MANY, true)(builder(dir, MANY)).expect("a limiter")
}

/// The bytes of memory that a file takes.
fn taken(path: &Path) -> u64 {
    std::fs::metadata(path).expect("the limiter's file").blocks() * 512
}

pub(super) fn print() {
    const PLAIN: &str = "a limiter without keys, opened and closed";
    const CREATED: &str = "a limiter without keys, created, closed and removed";
    println!("\n### Opening a limiter of 10 million keys\n\n{OPENINGS} The target for opening is 20 µs.");
    let plain = shm_limit::wide_open();
    let plain_dir = plain.dir.path().to_owned();
    let keyed_dir = shm_limit::directory();
    let keyed = open_keyed(keyed_dir.path());
    let (before, size) = (taken(keyed.path()), keyed.table_status().expect("a table").bytes);
    assert!(keyed.key("first").try_acquire(1).expect("a decision").is_admitted());
    let after = taken(keyed.path());
    let again = keyed_dir.path().to_owned();
    let used = again.clone();
    let create = |dir: &Path| {
        let at: PathBuf = dir.join("new");
        std::fs::create_dir(&at).expect("a directory");
        at
    };
    let (new_plain, new_keyed) = (create(&plain_dir), create(&again));
    let remove = |path: &Path| std::fs::remove_file(path).expect("the limiter's file");
    OPENINGS.measure(
        "limiter",
        vec![
            row(Subject::new(PLAIN, move || {
                shm_limit::open_wide(shm_limit::builder(&plain_dir)).expect("an existing limiter")
            })),
            row(Subject::new("10 million keys, opened and closed", move || open_keyed(&again)))
                .compared_to(PLAIN),
            row(Subject::new("10 million keys, opened, one request, closed", move || {
                open_keyed(&used).key("first").try_acquire(1).expect("a decision").is_admitted()
            }))
            .compared_to(PLAIN),
            row(Subject::new(CREATED, move || {
                let limit = shm_limit::open_wide(shm_limit::builder(&new_plain)).expect("a new limiter");
                remove(limit.path());
            })),
            row(Subject::new("10 million keys, created, closed and removed", move || {
                remove(open_keyed(&new_keyed).path());
            }))
            .compared_to(CREATED),
        ],
    );
    println!(
        "\nThe table of 10 million keys has {} MB. Its file takes {} KiB of memory when it has been created (a limiter without keys {} \
         KiB), and {} KiB after the first key.",
        size / 1_000_000,
        before / 1024,
        taken(plain.limit.path()) / 1024,
        after / 1024
    );
}
