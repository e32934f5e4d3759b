//! Who owns a new limiter, also where the file system or a filter allows no nameless files: then it is created under a hidden
//! name first. See docs/security.md.

use harness::{Job, RemoteWorker, is_root, shared_dir, skip};
use shm_lib::RateLimit;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::time::{Duration, Instant};

const WORKER: &str = env!("CARGO_BIN_EXE_worker");
const USER: u32 = 65_534;
const GROUP: u32 = 65_201;
/// Refusing the first makes creation go by a hidden name.
const WAYS: [&str; 2] = ["renameat2", "linkat"];

fn worker(dir: &Path, uid: u32) -> RemoteWorker {
    let job = Job::new("remote").set("dir", dir.display()).set("name", "x").set("max", 10);
    RemoteWorker::as_user(WORKER, &job.set("per", 1_000_000_000_u64).set("burst", 10), uid)
}

fn rights(path: &Path) -> (u32, u32, u32) {
    let meta = fs::symlink_metadata(path).unwrap();
    (meta.uid(), meta.gid(), meta.mode() & 0o7777)
}

#[test]
fn both_ways_of_creation_follow_the_directorys_ownership() {
    if !is_root() {
        skip!("only root can be two users");
    }
    for refused in WAYS {
        for (owner, group, mode, creator, expected) in [
            (USER, GROUP, 0o700, 0, (USER, GROUP, 0o600)),
            (USER, GROUP, 0o2770, USER, (USER, GROUP, 0o660)),
            (USER, GROUP, 0o2770, 0, (0, GROUP, 0o660)),
            (USER, GROUP, 0o1777, 0, (0, 0, 0o600)),
            (USER, GROUP, 0o700, USER, (USER, USER, 0o600)),
        ] {
            let dir = shared_dir();
            chown(dir.path(), Some(owner), Some(group)).unwrap();
            fs::set_permissions(dir.path(), Permissions::from_mode(mode)).unwrap();
            let mut creator = worker(dir.path(), creator);
            creator.expect_ok(&format!("refuse {refused}"));
            creator.expect_ok("open");
            assert_eq!(rights(&dir.path().join("x")), expected, "{mode:o}, without {refused}");
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
            if mode != 0o1777 && expected.0 == USER {
                worker(dir.path(), USER).expect_ok("open");
            }
        }
    }
}

/// While root creates limiters, the owner of the directory's path puts another directory in its place and takes it away
/// again, as fast as possible: a file is root's in root's directory, and the user's in the user's.
#[test]
fn a_directory_swapped_under_root_gives_no_file_to_the_wrong_user() {
    if !is_root() {
        skip!("only root can give a file away");
    }
    let parent = shared_dir();
    let at = |name: &str| parent.path().join(name);
    for (name, owner) in [("users", USER), ("roots", 0)] {
        fs::create_dir(at(name)).unwrap();
        chown(at(name), Some(owner), Some(owner)).unwrap();
        fs::set_permissions(at(name), Permissions::from_mode(0o755)).unwrap();
    }
    let files = |name| fs::read_dir(at(name)).unwrap().count();
    let enough = || files("users") >= 40 && files("roots") >= 40;
    let end = std::sync::atomic::AtomicBool::new(false);
    let swapped = std::thread::scope(|scope| {
        let swaps = scope.spawn(|| {
            let mut swaps = 0u32;
            while !end.load(std::sync::atomic::Ordering::Relaxed) {
                let target = if swaps.is_multiple_of(2) { "users" } else { "roots" };
                let _ = fs::remove_file(at("new"));
                std::os::unix::fs::symlink(target, at("new")).unwrap();
                fs::rename(at("new"), at("path")).unwrap();
                swaps += 1;
            }
            swaps
        });
        // Which of the two an opening meets, and whether it finds its file there again, is left to chance: it goes on until
        // both have many.
        let patience = Instant::now() + Duration::from_secs(60);
        for i in 0.. {
            let name = format!("x{i}");
            let builder = RateLimit::builder(&name).directory(at("path")).seats(1);
            let _ = builder.open(10, Duration::from_secs(1));
            if i % 50 == 49 && (enough() || Instant::now() > patience) {
                break;
            }
        }
        end.store(true, std::sync::atomic::Ordering::Relaxed);
        swaps.join().unwrap()
    });
    for (name, owner) in [("users", USER), ("roots", 0)] {
        for file in fs::read_dir(at(name)).unwrap().flatten() {
            assert_eq!(
                file.metadata().unwrap().uid(),
                owner,
                "{} after {swapped} swaps",
                file.path().display()
            );
        }
    }
    assert!(enough(), "{} and {} files after {swapped} swaps", files("users"), files("roots"));
}
