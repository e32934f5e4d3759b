//! File systems on which a limiter may lie, and what it rests on there: processes that share it by its name, locks that
//! a mapping keeps, wakes from one process to another. And those that are refused, with the kernel's calls that may be.
//!
//! Every file system is mounted in a mount namespace of the worker that mounts it, so it goes with the worker. Other
//! workers enter that namespace.

use harness::check::{self, Origins};
use harness::{
    Arena, RemoteWorker, WorkerPool, alone, eventually, is_root, log, log_uncaptured, shared_dir, skip,
};
use shm_lib::limit::audit::Admission;
use shm_lib::{Limit, Nanos, Rate};
use std::time::{Duration, Instant};

const WORKER: &str = env!("CARGO_BIN_EXE_worker");

/// A file system, and how a shell mounts it: `$DIR` is where to, `$TMP` an empty directory on a tmpfs.
type Recipe = (&'static str, &'static str);

const ACCEPTED: [Recipe; 6] = [
    ("tmpfs", "mount -t tmpfs tmpfs $DIR"),
    ("ramfs", "mount -t ramfs ramfs $DIR"),
    ("ext4", "truncate -s 64M $TMP/i && mkfs.ext4 -qF $TMP/i && mount -o loop $TMP/i $DIR"),
    ("xfs", "truncate -s 512M $TMP/i && mkfs.xfs -q $TMP/i && mount -o loop $TMP/i $DIR"),
    ("btrfs", "truncate -s 256M $TMP/i && mkfs.btrfs -q $TMP/i && mount -o loop $TMP/i $DIR"),
    (
        "vfat",
        "truncate -s 64M $TMP/i && mkfs.vfat $TMP/i >/dev/null && mount -t vfat -o loop,fmask=0177,dmask=0077 $TMP/i $DIR",
    ),
];

const REFUSED: [Recipe; 6] = [
    (
        "overlayfs",
        "mkdir $TMP/l $TMP/u $TMP/w && mount -t overlay -o lowerdir=$TMP/l,upperdir=$TMP/u,workdir=$TMP/w overlay $DIR",
    ),
    (
        "overlayfs",
        "truncate -s 64M $TMP/i && mkfs.ext4 -qF $TMP/i && mkdir $TMP/m && mount -o loop $TMP/i $TMP/m && \
         mkdir $TMP/m/l $TMP/m/u $TMP/m/w && \
         mount -t overlay -o lowerdir=$TMP/m/l,upperdir=$TMP/m/u,workdir=$TMP/m/w overlay $DIR",
    ),
    (
        "overlayfs",
        "mkdir $TMP/l $TMP/u $TMP/w && \
         mount -t overlay -o volatile,lowerdir=$TMP/l,upperdir=$TMP/u,workdir=$TMP/w overlay $DIR",
    ),
    ("FUSE", "mkdir $TMP/s && bindfs $TMP/s $DIR"),
    ("FUSE", "truncate -s 64M $TMP/i && mkfs.ext4 -qF $TMP/i && fuse2fs -o fakeroot $TMP/i $DIR"),
    (
        "FUSE",
        "mkdir $TMP/l $TMP/u $TMP/w && fuse-overlayfs -o lowerdir=$TMP/l,upperdir=$TMP/u,workdir=$TMP/w $DIR",
    ),
];

/// An arena on a file system of its own. The arena's own directory is seen by the workers only.
struct Mounted {
    arena: Arena,
    mounter: RemoteWorker,
    _images: tempfile::TempDir,
}

impl Mounted {
    /// With the file system mounted on the arena's directory; or why that can't be.
    fn new(arena: Arena, recipe: &str) -> Result<Mounted, String> {
        let images = shared_dir();
        let mut mounter = RemoteWorker::new(WORKER, &arena.job("remote"));
        mounter.expect_ok("mounts");
        let (dir, tmp) = (arena.dir().display(), images.path().display());
        match mounter.ask(&format!("sh DIR={dir} TMP={tmp}; {recipe}")).as_str() {
            "ok" => Ok(Mounted { arena, mounter, _images: images }),
            why => Err(why.to_owned()),
        }
    }

    /// Another process that sees the mount.
    fn worker(&self) -> RemoteWorker {
        RemoteWorker::new(WORKER, &self.job("remote"))
    }

    fn job(&self, mode: &str) -> harness::Job {
        self.arena.job(mode).set("mounts-of", self.mounter.pid())
    }

    /// What lies in the directory.
    fn files(&mut self) -> String {
        let dir = self.arena.dir().display().to_string();
        let all = self.mounter.ask(&format!("ls {dir}"));
        all.split(' ').filter(|&name| name != "lost+found").collect::<Vec<_>>().join(" ")
    }
}

/// Does it on each file system that can be had here, and says which can't.
fn on_each(recipes: &[Recipe], test: impl Fn(&str, &dyn Fn(Arena) -> Mounted)) {
    for (name, recipe) in recipes {
        match Mounted::new(Arena::new("1/s", 1), recipe) {
            Ok(_) => test(name, &|arena| Mounted::new(arena, recipe).expect("as a moment ago")),
            Err(why) => log_uncaptured(&format!("SKIPPED {}: {name}: {why}", module_path!())),
        }
    }
}

#[test]
fn two_processes_share_one_budget_on_each_accepted_file_system() {
    if !is_root() {
        skip!("only root can mount");
    }
    on_each(&ACCEPTED, |name, mounted| {
        let mut mounted = mounted(Arena::with_fixed_budget(20));
        let (mut one, mut two) = (mounted.worker(), mounted.worker());
        for worker in [&mut one, &mut two] {
            assert_eq!(worker.ask("open"), "ok", "{name}");
        }
        assert_eq!(one.ask("inode"), two.ask("inode"), "{name}");
        assert_eq!(one.admitted_of(3), 3, "{name}");
        assert_eq!(two.admitted_of(100), 17, "{name}");
        assert_eq!(mounted.files(), "arena", "{name}");
        // Each sees that the other's seat is held, and no longer when it was killed.
        assert_eq!(one.ask("attached").split(' ').count(), 2, "{name}");
        drop(two);
        assert!(eventually(Duration::from_secs(2), || one.ask("attached").split(' ').count() == 1), "{name}");
        log_uncaptured(&format!("{name}: works"));
    });
}

#[test]
fn a_killed_holders_permit_is_free_on_each_accepted_file_system() {
    if !is_root() {
        skip!("only root can mount");
    }
    on_each(&ACCEPTED, |name, mounted| {
        let mounted = mounted(Arena::with_policy("bucket:1000000/s:1000", 1));
        let (mut holder, mut other) = (mounted.worker(), mounted.worker());
        holder.expect_ok("open");
        other.expect_ok("open");
        assert!(holder.ask("hold").starts_with("held"), "{name}");
        for _ in 0..20 {
            assert_eq!(other.ask("hold"), "denied", "{name}: beside a living holder");
        }
        drop(holder);
        assert!(other.ask("hold-ms 2000").starts_with("held"), "{name}: after the holder was killed");
    });
}

#[test]
fn a_change_wakes_a_waiter_in_another_process_on_each_accepted_file_system() {
    if !is_root() {
        skip!("only root can mount");
    }
    on_each(&ACCEPTED, |name, mounted| {
        let mounted = mounted(Arena::with_policy("bucket:1000000/s:1000", 0));
        let (mut waiter, mut changer) = (mounted.worker(), mounted.worker());
        waiter.expect_ok("open");
        changer.expect_ok("open");
        for round in 0..5 {
            changer.expect_ok("pause-ms 10000");
            waiter.tell("wait-ms 50000");
            // A sleeper also looks by itself once a second: this is somewhere in between.
            std::thread::sleep(Duration::from_millis(250));
            let woken = Instant::now();
            changer.expect_ok("resume");
            let answer = waiter.answer();
            assert!(answer.starts_with("admitted"), "{name}: {answer}");
            let took = woken.elapsed();
            assert!(took < Duration::from_millis(400), "{name}, round {round}: {took:?}");
        }
    });
}

#[test]
fn two_processes_keep_a_greedy_limit_on_each_accepted_file_system() {
    if !is_root() {
        skip!("only root can mount");
    }
    let _alone = alone();
    on_each(&ACCEPTED, |name, mounted| {
        let mounted = mounted(Arena::with_policy("greedy:100/10ms", 0));
        let job = mounted.job("hammer").set("how", "try").set("threads", 1).set("for", 500);
        let mut pool = WorkerPool::new(WORKER);
        pool.spawn_many(&job, 2);
        pool.start();
        pool.join();
        let mut admitted: Vec<Admission> = log::read(mounted.arena.logs())
            .into_iter()
            .map(|at| Admission { at: Nanos::from_nanos(at), calls: 1 })
            .collect();
        let limit = Limit::greedy(Rate::new(100, Duration::from_millis(10)).unwrap()).unwrap();
        let origins = Origins { wall_ns: 0, created_ns: 0 };
        check::kept(limit, origins, &mut admitted).unwrap_or_else(|over| panic!("{name}: {over}"));
        assert!(admitted.len() > 2_000, "{name}: only {} admitted", admitted.len());
    });
}

#[test]
fn a_refused_file_system_is_named_and_left_without_a_file() {
    if !is_root() {
        skip!("only root can mount");
    }
    on_each(&REFUSED, |name, mounted| {
        let mut mounted = mounted(Arena::with_policy("greedy:20/366d", 3));
        let mut worker = mounted.worker();
        for order in ["open", "open", "open policy=bucket:5/s:1 permits=0"] {
            let answer = worker.ask(order);
            assert!(answer.starts_with("error Unsupported"), "{name}: {answer}");
            let why = if name == "FUSE" { "a program is behind it" } else { "ends with its descriptor" };
            for words in [name, "/arena", why, "tmpfs such as /dev/shm", "SHM_LIMIT_DIR"] {
                assert!(answer.contains(words), "{name}: {words} is not in: {answer}");
            }
            assert_eq!(mounted.files(), "", "{name}: left behind");
        }
        // A file that was made elsewhere and shows up there is refused, too, and stays.
        let source = Arena::with_policy("greedy:20/366d", 3);
        drop(source.open());
        let (from, to) = (source.file().display().to_string(), mounted.arena.file().display().to_string());
        assert_eq!(worker.ask(&format!("sh cp {from} {to}")), "ok");
        assert!(worker.ask("attach").starts_with("error Unsupported"), "{name}");
        assert_eq!(mounted.files(), "arena", "{name}");
        log_uncaptured(&format!("{name}: refused: {}", worker.ask("attach")));
    });
}

/// A process in whose directory there is no way but one to give a file its name without replacing another.
#[test]
fn a_refused_link_call_falls_back_to_the_next_one() {
    for calls in ["linkat", "renameat2"] {
        let arena = Arena::with_fixed_budget(20);
        let mut worker = RemoteWorker::new(WORKER, &arena.job("remote"));
        worker.expect_ok(&format!("refuse {calls}"));
        assert_eq!(worker.ask("open"), "ok", "without {calls}");
        assert_eq!(worker.admitted_of(5), 5);
        assert_eq!(worker.ask(&format!("ls {}", arena.dir().display())), "arena");
        let limit = arena.open();
        assert_eq!(limit.status().unwrap().available, 15, "without {calls}");
        let inode = worker.ask("inode");
        worker.expect_ok("open");
        assert_eq!(worker.ask("inode"), inode);
    }
}

#[test]
fn without_any_link_call_creation_fails_and_leaves_no_file() {
    let arena = Arena::with_fixed_budget(20);
    let mut worker = RemoteWorker::new(WORKER, &arena.job("remote"));
    worker.expect_ok("refuse linkat");
    worker.expect_ok("refuse renameat2");
    let answer = worker.ask("open");
    assert!(answer.starts_with("error Unsupported"), "{answer}");
    assert!(answer.contains("tmpfs") && answer.contains("cannot link"), "{answer}");
    assert_eq!(worker.ask(&format!("ls {}", arena.dir().display())), "");
}

const REFUSALS: [(&str, [&str; 2]); 3] = [
    ("locks", ["F_OFD_SETLK", "seccomp"]),
    ("locks-as-unknown", ["F_OFD_SETLK", "seccomp"]),
    ("futex", ["futex", "seccomp"]),
];

#[test]
fn opening_fails_where_locks_or_the_futex_are_refused() {
    for (call, said) in REFUSALS {
        for exists in [false, true] {
            let arena = Arena::with_policy("greedy:20/366d", 3);
            if exists {
                drop(arena.open());
            }
            let mut worker = RemoteWorker::new(WORKER, &arena.job("remote"));
            worker.expect_ok(&format!("refuse {call}"));
            for order in ["open", "open"] {
                let answer = worker.ask(order);
                assert!(answer.starts_with("error Unsupported"), "{call}: {answer}");
                for words in said {
                    assert!(answer.contains(words), "{call}: {words} is not in: {answer}");
                }
                assert!(!answer.contains("seats"), "{call}: {answer}");
            }
            assert_eq!(arena.file().exists(), exists, "{call}");
            let files = std::fs::read_dir(arena.dir()).unwrap().count();
            assert_eq!(files, usize::from(exists), "{call}: left behind");
        }
    }
}

/// The filter is set after the limiter was opened, and before the process has a seat.
#[test]
fn a_lock_refused_later_is_not_reported_as_missing_seats() {
    for call in ["locks", "locks-as-unknown"] {
        let arena = Arena::with_policy("greedy:20/366d", 3);
        let limit = arena.open();
        let mut worker = RemoteWorker::new(WORKER, &arena.job("remote"));
        worker.expect_ok("join");
        worker.expect_ok(&format!("refuse {call}"));
        for order in ["try", "hold", "wait-ms 10", "reset", "pause-ms 1000"] {
            let answer = worker.ask(order);
            assert!(answer.starts_with("error Unsupported"), "{call}: {order}: {answer}");
            assert!(answer.contains("F_OFD_SETLK"), "{call}: {order}: {answer}");
        }
        assert_eq!(limit.status().unwrap().available, 20);
    }
}

/// It can't be woken, so it looks by itself; and it sleeps in between.
#[test]
fn a_waiter_without_a_futex_neither_spins_nor_misses_its_turn() {
    let arena = Arena::with_policy("bucket:1000000/s:1000", 0);
    let limit = arena.open();
    let mut worker = RemoteWorker::new(WORKER, &arena.job("remote"));
    worker.expect_ok("open");
    worker.expect_ok("refuse futex");
    limit.pause_for(Duration::from_millis(600)).unwrap();
    let before = processor_ticks(worker.pid());
    assert!(worker.ask("wait-ms 5000").starts_with("admitted"));
    let used = processor_ticks(worker.pid()) - before;
    assert!(used <= 15, "{used} hundredths of a second of the processor in 0.6 s");
}

/// Processor time of a process, in hundredths of a second.
fn processor_ticks(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("its figures");
    let after_name = text.rsplit(") ").next().expect("fields");
    let field =
        |i: usize| after_name.split(' ').nth(i).and_then(|n| n.parse::<u64>().ok()).expect("a number");
    field(11) + field(12)
}
