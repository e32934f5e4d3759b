//! Attacks on users who share a directory with the attacker, and on users who share a limiter with it.
//! See docs/security.md.

use harness::file::{Parts, Patch, offset};
use harness::{Arena, RemoteWorker, eventually, is_root, shared_dir, skip};
use nix::fcntl::{AT_FDCWD, FcntlArg, RenameFlags, fcntl, renameat2};
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use shm_lib::{ErrorKind, OnLost, RateLimit};
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const WORKER: &str = env!("CARGO_BIN_EXE_worker");
const HOUR: Duration = Duration::from_secs(3_600);
const VICTIM: u32 = 65_534;
const ATTACKER: u32 = 65_533;
/// A refusal comes at once.
const AT_ONCE: Duration = Duration::from_secs(5);

/// A directory like /tmp: it belongs to root, and all users can write to it.
fn directory_writable_by_all() -> TempDir {
    let dir = shared_dir();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o1777)).unwrap();
    dir
}

fn builder(dir: &Path, name: &str) -> shm_lib::Builder {
    RateLimit::builder(name).directory(dir).burst(10)
}

fn worker_in(dir: &Path, user: u32) -> RemoteWorker {
    let job = harness::Job::new("remote").set("dir", dir.display()).set("name", "x").set("max", 10);
    RemoteWorker::as_user(WORKER, &job.set("per", 3_600_000_000_000_u64).set("burst", 10), user)
}

/// The victim opens what lies under this name, and is refused at once.
fn refused_as(victim: &mut RemoteWorker, name: &str, kind: &str) {
    let began = Instant::now();
    for order in [format!("open name={name}"), format!("open name={name} mode=666")] {
        let answer = victim.ask(&order);
        assert!(answer.starts_with(&format!("error {kind}")), "{name}: {answer}");
    }
    assert!(began.elapsed() < AT_ONCE, "{name}: {:?}", began.elapsed());
}

/// Nothing that another user puts there is used, followed, changed or waited for.
#[test]
fn files_planted_in_a_shared_directory_are_refused() {
    if !is_root() {
        skip!("only root can be two users");
    }
    let dir = directory_writable_by_all();
    let at = |name: &str| dir.path().join(name);
    let own = |name: &str| chown(at(name), Some(ATTACKER), Some(ATTACKER)).unwrap();
    let mut victim = worker_in(dir.path(), VICTIM);
    victim.expect_ok("open name=precious");
    let precious = fs::read(at("precious")).unwrap();

    let mut attacker = worker_in(dir.path(), ATTACKER);
    // Others could not trust it, so it is refused at creation; the attacker has it all the same.
    assert!(attacker.ask("open name=limiter mode=666").starts_with("error InvalidInput"));
    attacker.expect_ok("open name=limiter");
    fs::set_permissions(at("limiter"), Permissions::from_mode(0o666)).unwrap();
    symlink(at("precious"), at("symlink")).unwrap();
    symlink("/etc/passwd", at("elsewhere")).unwrap();
    fs::create_dir(at("directory")).unwrap();
    nix::unistd::mkfifo(&at("fifo"), Mode::from_bits_truncate(0o666)).unwrap();
    let huge = File::create(at("huge")).unwrap();
    huge.set_len(1 << 40).unwrap();
    fs::set_permissions(at("huge"), Permissions::from_mode(0o666)).unwrap();
    fs::set_permissions(at("fifo"), Permissions::from_mode(0o666)).unwrap();
    for name in ["huge", "fifo", "directory"] {
        own(name);
    }
    mknod(&at("device"), SFlag::S_IFCHR, Mode::from_bits_truncate(0o666), makedev(1, 3)).unwrap();
    fs::set_permissions(at("device"), Permissions::from_mode(0o666)).unwrap();

    for (name, kind) in [
        ("limiter", "Untrusted"),
        ("symlink", "NotALimiter"),
        ("elsewhere", "NotALimiter"),
        ("directory", "NotALimiter"),
        ("huge", "Untrusted"),
        ("fifo", "NotALimiter"),
        ("device", "NotALimiter"),
    ] {
        refused_as(&mut victim, name, kind);
    }
    // A second name for the victim's own.
    fs::hard_link(at("precious"), at("second")).unwrap();
    for name in ["second", "precious"] {
        refused_as(&mut victim, name, "Untrusted");
    }
    fs::remove_file(at("second")).unwrap();
    victim.expect_ok("open name=precious");
    // Nor can the attacker use, end or remove what is not his.
    assert!(attacker.ask("open name=precious").starts_with("error PermissionDenied"));
    let header = |bytes: &[u8]| bytes[..448].to_vec();
    assert_eq!(header(&fs::read(at("precious")).unwrap()), header(&precious));
}

/// An open waits only for a file that may be in creation, not for one with many names.
#[test]
fn hundreds_of_hard_links_delay_no_open() {
    let dir = shared_dir();
    drop(builder(dir.path(), "first").open(10, HOUR).unwrap());
    let names: Vec<String> = (0..200).map(|i| format!("link{i}")).collect();
    for name in &names {
        fs::hard_link(dir.path().join("first"), dir.path().join(name)).unwrap();
    }
    let began = Instant::now();
    for name in &names {
        let e = RateLimit::builder(name).directory(dir.path()).attach().unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Untrusted, "{e}");
    }
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
}

/// The default directory of a user, created by another user first.
#[test]
fn a_default_directory_created_by_another_user_is_refused() {
    if !is_root() {
        skip!("only root can be two users");
    }
    // A user id that is not in use.
    let uid = 3_000_000_000 + std::process::id();
    let path = format!("/dev/shm/shm-limit-{uid}");
    if !Path::new("/dev/shm").is_dir() {
        skip!("there is no /dev/shm");
    }
    struct Gone<'a>(&'a str);
    impl Drop for Gone<'_> {
        fn drop(&mut self) {
            let _ = fs::remove_file(self.0);
            let _ = fs::remove_dir_all(self.0);
        }
    }
    let _gone = Gone(&path);
    let trap = directory_writable_by_all();
    let mut victim = Command::new(WORKER);
    victim.arg("remote").uid(uid).gid(uid).current_dir("/").env_remove(shm_lib::DIR_VARIABLE);
    let mut victim = RemoteWorker::from_command(&mut victim);
    type Make = fn(&str, &Path, u32);
    let traps: [(&str, Make); 4] = [
        ("somebody else's", |path, _, _| {
            fs::create_dir(path).unwrap();
            chown(path, Some(ATTACKER), Some(ATTACKER)).unwrap();
        }),
        ("everybody's", |path, _, uid| {
            fs::create_dir(path).unwrap();
            chown(path, Some(uid), Some(uid)).unwrap();
            fs::set_permissions(path, Permissions::from_mode(0o777)).unwrap();
        }),
        ("a symlink", |path, trap, _| symlink(trap, path).unwrap()),
        ("a file", |path, _, uid| {
            fs::write(path, b"").unwrap();
            chown(path, Some(uid), Some(uid)).unwrap();
        }),
    ];
    for (what, make) in traps {
        make(&path, trap.path(), uid);
        let answer = victim.ask("open-default");
        assert!(answer.starts_with("error Untrusted"), "{what}: {answer}");
        drop(Gone(&path));
    }
    assert_eq!(fs::read_dir(trap.path()).unwrap().count(), 0);
    victim.expect_ok("open-default");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o700);
}

/// The caller of a setuid program chooses its environment, and must not choose its limiters by that.
#[test]
fn a_setuid_program_ignores_its_callers_environment() {
    if !is_root() {
        skip!("only root can make a setuid program of another user");
    }
    // /dev/shm may be mounted nosuid, and target/ be out of reach.
    let place = TempDir::new().unwrap();
    fs::set_permissions(place.path(), Permissions::from_mode(0o755)).unwrap();
    let program = place.path().join("program");
    fs::copy(WORKER, &program).unwrap();
    chown(&program, Some(VICTIM), Some(VICTIM)).unwrap();
    let told = |mode: u32| {
        fs::set_permissions(&program, Permissions::from_mode(mode)).unwrap();
        let mut command = Command::new(&program);
        command.arg("remote").uid(ATTACKER).gid(ATTACKER).current_dir("/");
        RemoteWorker::from_command(command.env(shm_lib::DIR_VARIABLE, "/chosen")).ask("where")
    };
    assert_eq!(told(0o755), "/chosen");
    let own = told(0o4755);
    if own == "/chosen" && fs::read_to_string("/proc/self/status").unwrap().contains("NoNewPrivs:\t1") {
        skip!("setuid programs don't work here");
    }
    assert_eq!(own, format!("/dev/shm/shm-limit-{VICTIM}"));
}

/// Holds a write lock on these bytes of the file until it is dropped.
fn hold_lock(path: &Path, start: i64, len: i64) -> File {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let (kind, whence) = (libc::F_WRLCK as i16, libc::SEEK_SET as i16);
    let lock = libc::flock { l_type: kind, l_whence: whence, l_start: start, l_len: len, l_pid: 0 };
    fcntl(&file, FcntlArg::F_OFD_SETLK(&lock)).unwrap();
    file
}

/// An attacker with write access holds the control lock for ever: only changes fail, and say so.
#[test]
fn a_held_control_lock_blocks_only_changes() {
    let arena = Arena::new("10/1h", 10);
    let limit = arena.open();
    let lock = hold_lock(&arena.file(), (1 << 40) - 1, 1);
    let began = Instant::now();
    assert!(limit.try_acquire(1).unwrap().is_admitted());
    assert!(limit.wait().is_ok());
    let other = arena.open();
    assert!(other.try_acquire(1).unwrap().is_admitted());
    assert_eq!(other.inspect().unwrap().attached.len(), 1, "one process, one seat");
    assert!(began.elapsed() < AT_ONCE);
    for change in [limit.reset(), limit.change(20, HOUR), limit.retire()] {
        assert_eq!(change.unwrap_err().kind(), ErrorKind::Busy);
    }
    assert!(limit.try_acquire(1).unwrap().is_admitted());
    drop(lock);
    limit.reset().unwrap();
}

/// One process locks all seats: processes that need none continue, and those that need one get `NoSeat`.
#[test]
fn locked_seats_exclude_only_processes_that_need_a_seat() {
    for (policy, needs_a_seat) in [("bucket:10/1h:10", false), ("fixed:10/1h", true)] {
        let arena = Arena::with_policy(policy, 0).seats(4);
        let early = arena.open();
        // Behind the first seat in its first tenure (see `layout::seat_lock`).
        let lock = hold_lock(&arena.file(), (1 << 40) + 4_096 + 1, 1 << 20);
        let mut late = RemoteWorker::new(WORKER, &arena.job("remote"));
        late.expect_ok("join");
        let answer = late.ask("try");
        let expected = if needs_a_seat { "error NoSeat" } else { "admitted" };
        assert!(answer.starts_with(expected), "{answer}");
        // A process that had one keeps it.
        assert!(early.try_acquire(1).unwrap().is_admitted());
        drop(lock);
        let mut sits =
            || !late.ask("try").starts_with("error") && early.inspect().unwrap().attached.len() == 2;
        assert!(eventually(Duration::from_secs(20), &mut sits));
    }
}

/// The bytes that a process locks to prove the file system are locked by an attacker: processes that have proved it continue,
/// others get `Busy`.
#[test]
fn a_locked_proof_range_excludes_only_processes_without_a_proof() {
    let arena = Arena::new("10/1h", 10);
    let early = arena.open();
    let lock = hold_lock(&arena.file(), 1 << 39, 1 << 32);
    let mut late = RemoteWorker::new(WORKER, &arena.job("remote"));
    let began = Instant::now();
    let answer = late.ask("open");
    assert!(answer.starts_with("error Busy") && answer.contains("fuser -v"), "{answer}");
    assert!(began.elapsed() < AT_ONCE);
    assert!(early.try_acquire(1).unwrap().is_admitted());
    assert!(arena.open().try_acquire(1).unwrap().is_admitted());
    drop(lock);
    late.expect_ok("open");
    assert_eq!(late.admitted_of(10), 8);
}

/// A process may take everything; `inspect` names it, and its end frees the permits.
#[test]
fn a_hoarder_is_listed_and_its_death_frees_its_permits() {
    let arena = Arena::with_policy("bucket:1000000/1s:20", 5);
    let limit = arena.open();
    let mut hoarder = RemoteWorker::new(WORKER, &arena.job("remote"));
    hoarder.expect_ok("open");
    for _ in 0..5 {
        assert!(hoarder.ask("hold").starts_with("held"));
    }
    let began = Instant::now();
    assert!(!limit.try_acquire(1).unwrap().is_admitted());
    assert!(!limit.acquire(1).timeout(Duration::from_millis(50)).wait().unwrap().is_admitted());
    assert!(began.elapsed() < AT_ONCE);
    let seen = limit.inspect().unwrap();
    let culprit = seen.attached.iter().find(|p| p.pid == hoarder.pid()).unwrap();
    assert_eq!(seen.permit_holders, [(culprit.seat, 5)]);
    assert_eq!(culprit.counts.admitted, 5);
    hoarder.signal(Signal::SIGKILL);
    hoarder.wait();
    // A process that has just looked at the holders looks again after 10 ms.
    assert!(eventually(AT_ONCE, || limit.try_acquire(1).unwrap().is_admitted()));
}

/// A scan of 65,535 corrupt permit words takes milliseconds, and frees them all.
#[test]
fn corrupt_words_in_all_permits_are_freed_by_one_scan() {
    let dir = shared_dir();
    let limit = builder(dir.path(), "many").permits(65_535).open(10, HOUR).unwrap();
    let patch = Patch::of(limit.path());
    let parts = Parts::of(|at| patch.get(at));
    let words: Vec<u8> = (0..65_535_u64).flat_map(|i| (1 << 63 | (i + 1) << 1).to_ne_bytes()).collect();
    let file = File::options().write(true).open(limit.path()).unwrap();
    file.write_all_at(&words, parts.permits).unwrap();
    let began = Instant::now();
    assert!(limit.try_acquire(1).unwrap().is_admitted());
    let took = began.elapsed();
    // Hashing takes its time without optimisation.
    let allowed = Duration::from_millis(if cfg!(debug_assertions) { 5_000 } else { 400 });
    assert!(took < allowed, "{took:?}");
    assert_eq!(limit.inspect().unwrap().permits_held, 0);
}

/// Not protected: a process that may write to the file may shorten it, and that is a SIGBUS for all that have it mapped. They
/// die; none continues without a limit, and later processes get an error.
#[test]
fn a_truncated_file_kills_only_its_users() {
    let arena = Arena::new("10/1h", 10);
    let mut user = RemoteWorker::new(WORKER, &arena.job("remote"));
    user.expect_ok("open");
    user.ask("fork");
    assert!(user.ask("child try").starts_with("admitted"));
    let file = File::options().write(true).open(arena.file()).unwrap();
    file.set_len(0).unwrap();
    assert_eq!(user.ask("child try"), "gone");
    assert_eq!(user.ask("reap"), "killed SIGBUS");
    let e = RateLimit::builder("arena").directory(arena.dir()).attach().unwrap_err();
    assert_eq!(e.kind(), ErrorKind::NotALimiter, "{e}");
}

/// The owner revokes the permissions: processes that have it open continue and can change nothing, no other can open it.
#[test]
fn revoked_permissions_stop_opens_and_changes_but_not_decisions() {
    if !is_root() {
        skip!("only root can become others");
    }
    let dir = directory_writable_by_all();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
    let limit = builder(dir.path(), "x").mode(0o666).open(10, HOUR).unwrap();
    let mut user = worker_in(dir.path(), VICTIM);
    user.expect_ok("attach");
    fs::set_permissions(limit.path(), Permissions::from_mode(0o600)).unwrap();
    assert!(user.ask("try").starts_with("admitted"));
    for order in ["reset", "change 5 1000000000", "retire", "attach"] {
        assert!(user.ask(order).starts_with("error PermissionDenied"), "{order}");
    }
    assert!(user.ask("try").starts_with("admitted"));
    // Given to a user who is not trusted there: a new open in a shared directory is refused, too.
    fs::set_permissions(limit.path(), Permissions::from_mode(0o666)).unwrap();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o1777)).unwrap();
    chown(limit.path(), Some(ATTACKER), Some(ATTACKER)).unwrap();
    assert!(user.ask("attach").starts_with("error Untrusted"));
}

/// The kernel ends a process that creates a limiter beyond its file size limit, and nothing is left. Using one makes no file
/// longer.
#[test]
fn a_file_size_limit_stops_creation_but_not_use() {
    let arena = Arena::new("10/1h", 10);
    drop(arena.open());
    let mut user = RemoteWorker::new(WORKER, &arena.job("remote"));
    user.expect_ok("limit-file-size 4096");
    user.expect_ok("open");
    assert!(user.ask("try").starts_with("admitted"));
    for order in ["change 20 3600000000000", "reset", "inspect"] {
        user.expect_ok(order);
    }
    let mut maker = RemoteWorker::new(WORKER, &arena.job("remote"));
    maker.expect_ok("limit-file-size 4096");
    maker.tell("open name=another");
    assert!(!maker.wait(), "it made a limiter");
    assert_eq!(fs::read_dir(arena.dir()).unwrap().count(), 1);
}

/// The owner of the parent directory swaps another directory in: an open handle changes and removes nothing there.
#[test]
fn open_handles_do_not_touch_a_directory_swapped_in_for_theirs() {
    let parent = shared_dir();
    let (dir, trap) = (parent.path().join("dir"), parent.path().join("trap"));
    for made in [&dir, &trap] {
        fs::create_dir(made).unwrap();
    }
    let limit = builder(&dir, "x").on_lost(OnLost::Error).open(10, HOUR).unwrap();
    let victim = builder(&trap, "x").open(10, HOUR).unwrap();
    renameat2(AT_FDCWD, &dir, AT_FDCWD, &trap, RenameFlags::RENAME_EXCHANGE).unwrap();
    for change in [limit.reset(), limit.change(20, HOUR), limit.pause_for(HOUR), limit.retire()] {
        assert_eq!(change.unwrap_err().kind(), ErrorKind::Removed);
    }
    assert!(dir.join("x").exists() && trap.join("x").exists());
    let seen = RateLimit::builder("x").directory(&dir).attach().unwrap().inspect().unwrap();
    assert_eq!((seen.changes, seen.paused_until), (0, None));
    drop(victim);
}

/// The same between the check and the unlinking: another file of that name stays, however often it is tried.
#[test]
fn retire_unlinks_no_other_file_of_that_name() {
    let parent = shared_dir();
    let (dir, trap) = (parent.path().join("dir"), parent.path().join("trap"));
    for made in [&dir, &trap] {
        fs::create_dir(made).unwrap();
    }
    fs::write(trap.join("x"), b"precious").unwrap();
    let precious = File::open(trap.join("x")).unwrap();
    let over = AtomicBool::new(false);
    let retired = std::thread::scope(|s| {
        s.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                renameat2(AT_FDCWD, &dir, AT_FDCWD, &trap, RenameFlags::RENAME_EXCHANGE).unwrap();
            }
        });
        let end = Instant::now() + Duration::from_secs(3);
        let mut retired = 0;
        while Instant::now() < end && precious.metadata().unwrap().nlink() == 1 {
            // There is one only while the path leads to the right directory.
            if let Ok(limit) = builder(&dir, "x").seats(1).open(10, HOUR) {
                retired += u32::from(limit.retire().is_ok());
            }
        }
        over.store(true, Ordering::Relaxed);
        retired
    });
    assert_eq!(precious.metadata().unwrap().nlink(), 1, "removed after {retired} limiters");
    assert!(retired > 100, "{retired}");
}

/// A header with the right checksum and false numbers of what follows it is refused, whatever it says.
#[test]
fn a_header_with_false_sizes_is_refused() {
    let arena = Arena::with_policy("bucket:10/1h:10+greedy:10/1h", 3).seats(4);
    drop(arena.open());
    let patch = Patch::of(&arena.file());
    let honest = patch.bytes();
    let lies = [1 << 62, 1 << 63, u64::MAX, u64::MAX / 256, u64::MAX / 320 + 1, 1 << 56, 1 << 32, 5, 0];
    let places = [offset::SEATS, offset::CELLS, offset::PERMITS];
    for at in places.into_iter().chain((0..4).map(|i| offset::RINGS + 8 * i)) {
        let truth = patch.get(at);
        for lie in lies.into_iter().filter(|lie| *lie != truth) {
            patch.set(at, lie).seal();
            let e = RateLimit::builder("arena").directory(arena.dir()).attach().unwrap_err();
            assert_eq!(e.kind(), ErrorKind::Corrupt, "{at}={lie:x}: {e}");
        }
        patch.set(at, truth).seal();
    }
    assert!(patch.bytes() == honest);
    // And where the file was made as long as the lie asks for: it is what it says, and no more is read than there is.
    patch.set(offset::CELLS, 0).set(offset::PERMITS, 1_024);
    let size = Parts::of(|at| patch.get(at)).size;
    File::options().write(true).open(arena.file()).unwrap().set_len(size).unwrap();
    patch.set(offset::FILE_SIZE, size).seal();
    let limit = RateLimit::builder("arena").directory(arena.dir()).attach().unwrap();
    let _ = limit.try_acquire(1);
    let _ = limit.try_acquire(1);
    let _ = limit.inspect();
}
