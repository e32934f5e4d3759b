//! Invalid names, numbers, files and directories: the right error for each, nothing created, nothing damaged.

use harness::file::{Patch, offset};
use harness::{Arena, RemoteWorker, Rng, is_root, shared_dir, skip};
use nix::sys::stat::Mode;
use shm_lib::{Error, ErrorKind, Limit, OnMismatch, Rate, RateLimit};
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

const WORKER: &str = env!("CARGO_BIN_EXE_worker");
const SECOND: Duration = Duration::from_secs(1);
/// The user `nobody`, who does not run the tests.
const OTHER: u32 = 65_534;
const ANOTHER: u32 = 65_533;

fn open_in(dir: &Path, name: &str) -> Result<RateLimit, Error> {
    RateLimit::builder(name).directory(dir).open(5, SECOND)
}

fn attach_in(dir: &Path, name: &str) -> Result<RateLimit, Error> {
    RateLimit::builder(name).directory(dir).attach()
}

/// Both ways in fail with this kind and words.
fn refused(dir: &Path, name: &str, kind: ErrorKind, words: &str) {
    for result in [open_in(dir, name), attach_in(dir, name)] {
        let e = result.expect_err(words);
        assert_eq!(e.kind(), kind, "{e}");
        assert!(e.to_string().contains(words), "{words:?} is not in: {e}");
    }
}

fn entries(dir: &Path) -> usize {
    fs::read_dir(dir).unwrap().count()
}

#[test]
fn a_mismatch_shows_both_limits() {
    let arena = Arena::new("100/10s", 20);
    let limit = arena.open();
    let builder = || RateLimit::builder("arena").directory(arena.dir());
    for (builder, max, asked) in [
        (builder().burst(20), 50, "50/s with bursts of 20"),
        (builder().burst(5), 10, "10/s with bursts of 5"),
        (builder().burst(1), 10, "10/s with a burst of 1"),
        (builder().greedy(), 10, "10/s greedy"),
        (builder(), 11, "but 11/s was asked for"),
    ] {
        let e = builder.open(max, SECOND).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Mismatch);
        let text = e.to_string();
        assert!(text.contains("100/10s with bursts of 20") && text.contains(asked), "{text}");
    }
    // The same rate in other words is the same, and a burst that is left out may be any.
    builder().burst(20).open(10, SECOND).unwrap();
    builder().open(10, SECOND).unwrap();
    builder().burst(3).on_mismatch(OnMismatch::Keep).open(1, SECOND).unwrap();
    assert_eq!(limit.limit().unwrap(), arena.limit());
    builder().burst(3).on_mismatch(OnMismatch::Change).open(1, SECOND).unwrap();
    assert_eq!(limit.limit().unwrap(), Limit::with_burst("1/s".parse().unwrap(), 3).unwrap());
}

#[test]
fn attaching_to_a_missing_limiter_says_how_to_create_it() {
    let dir = shared_dir();
    let e = attach_in(dir.path(), "api").unwrap_err();
    assert_eq!(e.kind(), ErrorKind::NotFound);
    let text = e.to_string();
    for words in ["\"api\"", "shm-limit create api --rate", "open it with a rate"] {
        assert!(text.contains(words), "{words} is not in: {text}");
    }
    assert_eq!(entries(dir.path()), 0);
}

#[test]
fn invalid_names_are_refused_with_the_rule() {
    let dir = shared_dir();
    for (name, rule) in [
        ("", "is empty"),
        (".", "begins with a dot"),
        ("..", "begins with a dot"),
        ("../up", "begins with a dot"),
        (".hidden", "begins with a dot"),
        ("a/b", "contains a slash"),
        ("/etc/passwd", "contains a slash"),
        ("nul\0byte", "control character"),
        ("new\nline", "control character"),
        ("x".repeat(300).as_str(), "longer than 200 bytes"),
        ("ü".repeat(101).as_str(), "longer than 200 bytes"),
    ] {
        refused(dir.path(), name, ErrorKind::InvalidName, rule);
    }
    assert_eq!(entries(dir.path()), 0);
    for name in ["zählen", "日本語", "🚦", "a b", "-v", "a..b", "x".repeat(200).as_str()] {
        let limit = open_in(dir.path(), name).expect(name);
        assert_eq!(limit.name(), name);
        assert_eq!(limit.path(), dir.path().join(name));
        attach_in(dir.path(), name).expect(name);
    }
}

#[test]
fn out_of_range_numbers_are_refused() {
    let dir = shared_dir();
    let build = || RateLimit::builder("x").directory(dir.path());
    let long = Duration::from_secs(367 * 86_400);
    for (result, words) in [
        (build().open(0, SECOND), "would admit nothing"),
        (build().open(5, Duration::ZERO), "cannot be zero"),
        (build().open(5, long), "366 days"),
        (build().open(5, Duration::MAX), "366 days"),
        (build().open(u64::MAX, SECOND), "one per nanosecond"),
        (build().burst(0).open(5, SECOND), "burst of 0"),
        (build().burst(u64::MAX).open(5, SECOND), "ten years"),
        (build().seats(0).open(5, SECOND), "seats"),
        (build().seats(usize::MAX).open(5, SECOND), "seats"),
        (build().mode(0o400).open(5, SECOND), "mode 400"),
        (build().mode(0o4600).open(5, SECOND), "mode 4600"),
        (build().mode(0o777).open(5, SECOND), "mode 777"),
    ] {
        let e = result.expect_err(words);
        assert_eq!(e.kind(), ErrorKind::InvalidInput, "{e}");
        assert!(e.to_string().contains(words), "{words:?} is not in: {e}");
    }
    for text in
        ["-5/s", "0/s", "5", "5/", "/s", "1e9/s", "5/0s", "5/-1s", "NaN/s", "99999999999999999999/s", "5/s/s"]
    {
        let e = text.parse::<Rate>().expect_err(text);
        assert_eq!(e.kind(), ErrorKind::InvalidInput, "{text}: {e}");
    }
    assert_eq!(entries(dir.path()), 0);

    let limit = build().burst(10).open(5, SECOND).unwrap();
    assert_eq!(limit.try_acquire(0).unwrap_err().kind(), ErrorKind::InvalidInput);
    for n in [11, u64::MAX] {
        assert_eq!(limit.try_acquire(n).unwrap_err().kind(), ErrorKind::NeverAdmissible);
        assert_eq!(limit.acquire(n).wait().unwrap_err().kind(), ErrorKind::NeverAdmissible);
    }
    for result in [limit.change(0, SECOND), limit.change(u64::MAX, SECOND), limit.pause_for(long)] {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    // None of that changed anything.
    assert_eq!(limit.limit().unwrap().burst(), 10);
    assert_eq!(limit.inspect().unwrap().changes, 0);
    assert!(limit.try_acquire(10).unwrap().is_admitted());
}

/// The error names what is in the limiter's place, and it is left unchanged.
#[test]
fn a_file_that_is_not_a_limiter_is_refused_and_unchanged() {
    let dir = shared_dir();
    let at = |name: &str| dir.path().join(name);
    fs::write(at("empty"), b"").unwrap();
    fs::write(at("short"), b"hello").unwrap();
    let real_size = fs::metadata(Arena::new("5/s", 1).open().path()).unwrap().len() as usize;
    let mut rng = Rng::new();
    let noise: Vec<u8> = (0..real_size).map(|_| rng.below(256) as u8).collect();
    fs::write(at("noise"), &noise).unwrap();
    fs::write(at("zeros"), vec![0; real_size]).unwrap();
    fs::create_dir(at("directory")).unwrap();
    fs::write(at("inside"), b"precious").unwrap();
    symlink(at("inside"), at("link")).unwrap();
    symlink(at("nowhere"), at("dangling")).unwrap();
    nix::unistd::mkfifo(&at("fifo"), Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    let _listener = UnixListener::bind(at("socket")).unwrap();
    open_in(dir.path(), "real").unwrap();
    symlink(at("real"), at("link to a limiter")).unwrap();
    let before = entries(dir.path());

    for (name, words) in [
        ("empty", "another file"),
        ("short", "another file"),
        ("noise", "another file"),
        ("zeros", "another file"),
        ("directory", "a directory"),
        ("link", "a symbolic link"),
        ("dangling", "a symbolic link"),
        ("link to a limiter", "a symbolic link"),
        ("fifo", "a FIFO"),
        ("socket", "a socket"),
    ] {
        refused(dir.path(), name, ErrorKind::NotALimiter, words);
    }
    assert_eq!(entries(dir.path()), before);
    assert_eq!(fs::read(at("noise")).unwrap(), noise);
    assert_eq!(fs::read(at("inside")).unwrap(), b"precious");
    assert_eq!(fs::metadata(at("empty")).unwrap().len(), 0);
}

/// A limiter's file, changed in one way, is refused in the right words; nothing is written to it.
#[test]
fn a_tampered_limiter_is_refused_and_unchanged() {
    type Tamper = fn(&Patch);
    #[rustfmt::skip]
    let cases: [(&str, Tamper, ErrorKind, &str); 14] = [
        ("another version", |p| { p.set(offset::VERSION, 99).seal(); }, ErrorKind::Incompatible, "format 99"),
        ("another layout", |p| { p.set(offset::LAYOUT, 7).seal(); }, ErrorKind::Incompatible, "the same version"),
        ("another magic", |p| { p.set(offset::MAGIC, 7).seal(); }, ErrorKind::NotALimiter, "another file"),
        ("a bad magic", |p| { p.set(offset::MAGIC, 7); }, ErrorKind::Corrupt, "`magic` (offset 0) is 0x7, expected 0x54494d494c4d4853"),
        ("a bad version", |p| { p.set(offset::VERSION, 99); }, ErrorKind::Corrupt, "`version` (offset 8) is 0x63, expected 0x1"),
        ("bad seats", |p| { p.set(offset::SEATS, 5_000); }, ErrorKind::Corrupt, "`seats` (offset 64) is 0x1388, expected 0x80"),
        ("a bad checksum", |p| { p.set(offset::CHECKSUM, 7); }, ErrorKind::Corrupt, "`checksum` of the header (offset 56) is 0x7"),
        ("a bad name", |p| { p.set(offset::NAME, 7); }, ErrorKind::Corrupt, "`name[0]` (offset 192) is 0x7"),
        ("another name", |p| { p.set(offset::NAME, u64::from_le_bytes(*b"brena\0\0\0")).seal(); }, ErrorKind::Corrupt, "renamed or copied"),
        ("too many seats", |p| { p.set(offset::SEATS, 5_000).seal(); }, ErrorKind::Corrupt, "size"),
        ("absurdly many seats", |p| { p.set(offset::SEATS, u64::MAX).seal(); }, ErrorKind::Corrupt, "size"),
        ("another size", |p| { p.set(offset::FILE_SIZE, 1 << 40).seal(); }, ErrorKind::Corrupt, "size"),
        ("another boot", |p| { p.set(offset::BOOT_ID, 7).seal(); }, ErrorKind::OtherClock, "before this machine was started"),
        ("a bad boot ID", |p| { p.set(offset::BOOT_ID, 7); }, ErrorKind::Corrupt, "`boot_id[0]` (offset 32) is 0x7"),
    ];
    for (what, tamper, kind, words) in cases {
        let arena = Arena::new("5/s", 1);
        drop(arena.open());
        let patch = Patch::of(&arena.file());
        tamper(&patch);
        let before = patch.bytes();
        refused(arena.dir(), "arena", kind, words);
        assert!(patch.bytes() == before, "{what}: written to");
        assert_eq!(entries(arena.dir()), 1, "{what}");
    }
}

#[test]
fn the_documented_checksum_is_the_written_one() {
    let arena = Arena::new("5/s", 1);
    drop(arena.open());
    let patch = Patch::of(&arena.file());
    let written = patch.get(offset::CHECKSUM);
    patch.set(offset::CHECKSUM, 0).seal();
    assert_eq!(patch.get(offset::CHECKSUM), written);
}

#[test]
fn a_limiter_of_another_time_namespace_is_refused() {
    let arena = Arena::new("5/s", 1);
    drop(arena.open());
    let patch = Patch::of(&arena.file());
    if patch.get(offset::TIME_NAMESPACE) == 0 {
        skip!("this kernel has no time namespaces");
    }
    patch.set(offset::TIME_NAMESPACE, 7).seal();
    refused(arena.dir(), "arena", ErrorKind::OtherClock, "time namespace");
}

#[test]
fn a_truncated_or_extended_file_is_refused() {
    let arena = Arena::new("5/s", 1);
    drop(arena.open());
    let file = fs::File::options().write(true).open(arena.file()).unwrap();
    let full = file.metadata().unwrap().len();
    for size in [full - 1, full + 1, full - 256, full + 256, 8192, 4096, 100, 1 << 40] {
        file.set_len(size).unwrap();
        refused(arena.dir(), "arena", ErrorKind::Corrupt, "size");
        assert_eq!(file.metadata().unwrap().len(), size);
    }
}

#[test]
fn a_copied_or_renamed_limiter_is_refused() {
    let arena = Arena::new("5/s", 1);
    drop(arena.open());
    fs::copy(arena.file(), arena.dir().join("copy")).unwrap();
    refused(arena.dir(), "copy", ErrorKind::Corrupt, "\"arena\", renamed or copied");
    fs::rename(arena.file(), arena.dir().join("moved")).unwrap();
    refused(arena.dir(), "moved", ErrorKind::Corrupt, "\"arena\", renamed or copied");
}

#[test]
fn a_limiter_with_a_second_hard_link_is_refused() {
    let arena = Arena::new("5/s", 1);
    drop(arena.open());
    let elsewhere = arena.dir().join("second");
    fs::hard_link(arena.file(), &elsewhere).unwrap();
    refused(arena.dir(), "arena", ErrorKind::Untrusted, "hard link");
    fs::remove_file(elsewhere).unwrap();
    attach_in(arena.dir(), "arena").unwrap();
}

#[test]
fn a_missing_directory_is_an_error_and_not_created() {
    let dir = shared_dir();
    let missing = dir.path().join("missing");
    let e = open_in(&missing, "api").unwrap_err();
    assert!(e.to_string().contains(&format!("the directory {} does not exist", missing.display())), "{e}");
    let e = attach_in(&missing, "api").unwrap_err();
    assert_eq!(e.kind(), ErrorKind::NotFound);
    assert!(e.to_string().contains("does not exist"), "{e}");
    assert!(!missing.exists());
    fs::write(&missing, b"a file").unwrap();
    let e = open_in(&missing, "api").unwrap_err();
    assert!(e.to_string().contains("is not a directory"), "{e}");
}

/// A directory that all users can write to, such as /tmp: another user's file may be a trap.
#[test]
fn another_users_file_in_a_shared_directory_is_refused() {
    if !is_root() {
        skip!("only root can make another user's file");
    }
    let arena = Arena::new("5/s", 1);
    drop(arena.job("open").set("mode", "666").open().unwrap());
    fs::set_permissions(arena.dir(), Permissions::from_mode(0o1777)).unwrap();
    chown(arena.file(), Some(ANOTHER), Some(ANOTHER)).unwrap();
    refused(arena.dir(), "arena", ErrorKind::Untrusted, "uid 65533");
    let mut other = RemoteWorker::as_user(WORKER, &arena.job("remote"), OTHER);
    for order in ["open", "attach"] {
        let answer = other.ask(order);
        assert!(answer.starts_with("error Untrusted"), "{answer}");
    }
    // Its own, root's and the directory owner's are fine.
    for owner in [OTHER, 0] {
        chown(arena.file(), Some(owner), None).unwrap();
        other.expect_ok("open");
    }
    chown(arena.dir(), Some(ANOTHER), None).unwrap();
    chown(arena.file(), Some(ANOTHER), None).unwrap();
    other.expect_ok("open");
}

#[test]
fn a_user_without_permission_gets_permission_denied() {
    if !is_root() {
        skip!("only root can become another user");
    }
    let arena = Arena::new("5/s", 1);
    fs::set_permissions(arena.dir(), Permissions::from_mode(0o755)).unwrap();
    let limit = arena.open();
    let mut other = RemoteWorker::as_user(WORKER, &arena.job("remote"), OTHER);
    let refused = |other: &mut RemoteWorker, order: &str| {
        let answer = other.ask(order);
        assert!(answer.starts_with("error PermissionDenied"), "{order}: {answer}");
    };
    // Its file is 0600.
    refused(&mut other, "open");
    refused(&mut other, "attach");
    // A directory that it can read and not write.
    refused(&mut other, "open name=new");
    assert_eq!(entries(arena.dir()), 1);
    // With a mode for all it joins, also in that directory.
    limit.retire().unwrap();
    let limit = arena.job("open").set("mode", "666").open().unwrap();
    other.expect_ok("open");
    assert_eq!(limit.inspect().unwrap().attached.len(), 2);
    // A directory that it can't even enter.
    fs::set_permissions(arena.dir(), Permissions::from_mode(0o700)).unwrap();
    refused(&mut other, "attach");
    refused(&mut other, "open name=new");
    // A process that has it open continues.
    assert!(!other.ask("try").starts_with("error"));
}

/// The umask takes no permission away.
#[test]
fn the_requested_mode_is_set_despite_the_umask() {
    for mode in ["600", "660", "666"] {
        let arena = Arena::new("5/s", 1);
        let limit = arena.job("open").set("mode", mode).open().unwrap();
        assert_eq!(format!("{:o}", limit.inspect().unwrap().mode), mode);
    }
}

/// Out of space is an error when opening, never a crash later; nothing half-made is left.
#[test]
fn a_full_file_system_is_no_space_and_leaves_no_file() {
    if !is_root() {
        skip!("only root can mount a small tmpfs");
    }
    let arena = Arena::new("5/s", 1);
    let dir = arena.dir().display().to_string();
    // The mount is the worker's alone and goes with it.
    let mut worker = RemoteWorker::new(WORKER, &arena.job("remote"));
    worker.expect_ok(&format!("tmpfs {dir} 1m"));
    worker.expect_ok(&format!("fill {dir}"));
    for order in ["open", "open seats=4096"] {
        let answer = worker.ask(order);
        assert!(answer.starts_with("error NoSpace"), "{answer}");
        assert!(answer.contains("free some space"), "{answer}");
    }
    assert_eq!(worker.ask(&format!("ls {dir}")), "ballast");
    worker.expect_ok(&format!("rm {dir}/ballast"));
    // Larger than the file system.
    assert!(worker.ask("open seats=4096").starts_with("error NoSpace"));
    assert_eq!(worker.ask(&format!("ls {dir}")), "");
    worker.expect_ok("open");
    // Filled up afterwards: what is there has its space already.
    worker.expect_ok(&format!("fill {dir}"));
    assert_eq!(worker.admitted_of(1), 1);
    worker.expect_ok("change 7 1000000000");
    worker.expect_ok("inspect");
}
