//! The owner of a new limiter, the users who may use it, and what is refused because it could not work. All tests but the
//! last need several users, and therefore root.

mod common;

use common::Sandbox;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;
use std::time::Duration;
use tempfile::TempDir;

const ALICE: u32 = 65_101;
const BOB: u32 = 65_102;
const EVE: u32 = 65_103;
/// A group of Alice and Bob.
const WEB: u32 = 65_201;

/// A directory of root that every user can enter, with the command in it: other users may not reach `target`.
struct Town {
    sandbox: TempDir,
}

impl Town {
    /// `None` if this is not root.
    fn new() -> Option<Town> {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: only root can be several users");
            return None;
        }
        let sandbox = tempfile::tempdir().unwrap();
        fs::set_permissions(sandbox.path(), Permissions::from_mode(0o755)).unwrap();
        fs::copy(env!("CARGO_BIN_EXE_shm-limit"), sandbox.path().join("shm-limit")).unwrap();
        Some(Town { sandbox })
    }

    /// A directory of this owner, group and mode.
    fn dir(&self, name: &str, owner: u32, group: u32, mode: u32) -> PathBuf {
        let path = self.sandbox.path().join(name);
        fs::create_dir(&path).unwrap();
        chown(&path, Some(owner), Some(group)).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path
    }

    fn output(&self, uid: u32, groups: &[u32], dir: &Path, args: &[&str]) -> Output {
        // A shell would need setpriv(1); the standard library cannot set supplementary groups.
        let groups: Vec<_> = groups.iter().map(|&gid| nix::unistd::Gid::from_raw(gid)).collect();
        let mut command = Command::new(self.sandbox.path().join("shm-limit"));
        command.arg("--dir").arg(dir).args(args).current_dir("/").env_remove("SHM_LIMIT_DIR");
        let own = nix::unistd::Uid::from_raw(uid);
        if uid != 0 {
            // SAFETY: three system calls, which are async-signal-safe; nothing is allocated.
            unsafe {
                command.pre_exec(move || {
                    nix::unistd::setgroups(&groups)?;
                    nix::unistd::setgid(nix::unistd::Gid::from_raw(own.as_raw()))?;
                    nix::unistd::setuid(own)?;
                    Ok(())
                });
            }
        }
        loop {
            match command.output() {
                // Another test's child has inherited the descriptor by which the program was copied, until it executes.
                Err(e) if e.kind() == io::ErrorKind::ExecutableFileBusy => {
                    thread::sleep(Duration::from_millis(5));
                }
                output => return output.unwrap(),
            }
        }
    }

    fn ok(&self, uid: u32, groups: &[u32], dir: &Path, args: &[&str]) {
        let output = self.output(uid, groups, dir, args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn fails(&self, uid: u32, groups: &[u32], dir: &Path, args: &[&str], words: &[&str]) {
        let output = self.output(uid, groups, dir, args);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{args:?}");
        for word in words {
            assert!(said.contains(word), "{word} is not in: {said}");
        }
    }
}

/// Owner, group and mode of a file.
fn rights(dir: &Path, name: &str) -> (u32, u32, u32) {
    let meta = fs::symlink_metadata(dir.join(name)).unwrap();
    (meta.uid(), meta.gid(), meta.mode() & 0o7777)
}

const CREATE: &[&str] = &["create", "api", "--rate", "1000/s"];
const TAKE: &[&str] = &["acquire", "api"];

#[test]
fn root_creates_a_users_limiter_for_that_user() {
    let Some(town) = Town::new() else { return };
    let home = town.dir("home", ALICE, ALICE, 0o700);
    town.ok(0, &[], &home, CREATE);
    assert_eq!(rights(&home, "api"), (ALICE, ALICE, 0o600));
    town.ok(ALICE, &[], &home, TAKE);
    town.ok(0, &[], &home, TAKE);
    town.fails(EVE, &[], &home, TAKE, &["uid 65103"]);
    // Also limiters that need more room, and those created by a first use.
    town.ok(
        0,
        &[],
        &home,
        &["run", "two", "--rate", "10/s", "--rate", "20/s", "--permits", "2", "--", "true"],
    );
    assert_eq!(rights(&home, "two"), (ALICE, ALICE, 0o600));
    town.ok(ALICE, &[], &home, &["run", "two", "true"]);
    // A mode that was given stays.
    town.ok(0, &[], &home, &["create", "web", "--rate", "5/s", "--mode", "660"]);
    assert_eq!(rights(&home, "web"), (ALICE, ALICE, 0o660));
    // No temporary file is left.
    assert_eq!(fs::read_dir(&home).unwrap().count(), 3);
    // In a directory where other users can create files too, root's files stay root's.
    for (name, mode) in [("shared", 0o770), ("open", 0o777), ("tmp", 0o1777)] {
        let dir = town.dir(name, ALICE, WEB, mode);
        town.ok(0, &[], &dir, CREATE);
        assert_eq!(rights(&dir, "api"), (0, 0, 0o600), "{name}");
    }
}

/// A user who controls the path of the directory can redirect root to another one, but gains nothing.
#[test]
fn a_link_to_another_directory_gives_its_creator_no_file_there() {
    let Some(town) = Town::new() else { return };
    let (home, roots, bobs) = (
        town.dir("home", EVE, EVE, 0o700),
        town.dir("roots", 0, 0, 0o755),
        town.dir("bobs", BOB, BOB, 0o755),
    );
    symlink(&roots, home.join("to-root")).unwrap();
    symlink(&bobs, home.join("to-bob")).unwrap();
    town.ok(0, &[], &home.join("to-root"), CREATE);
    assert_eq!(rights(&roots, "api"), (0, 0, 0o600));
    town.ok(0, &[], &home.join("to-bob"), CREATE);
    assert_eq!(rights(&bobs, "api"), (BOB, BOB, 0o600));
    assert_eq!(fs::read_dir(&home).unwrap().count(), 2);
}

#[test]
fn a_setgid_directory_shares_its_limiters_with_its_group() {
    let Some(town) = Town::new() else { return };
    let dir = town.dir("web", 0, WEB, 0o2770);
    // The first use, without a mode.
    town.ok(ALICE, &[WEB], &dir, &["run", "api", "--rate", "1000/s", "--", "true"]);
    assert_eq!(rights(&dir, "api"), (ALICE, WEB, 0o660));
    town.ok(BOB, &[WEB], &dir, TAKE);
    town.ok(BOB, &[WEB], &dir, &["set", "api", "--rate", "2000/s"]);
    town.fails(EVE, &[], &dir, TAKE, &["uid 65103"]);
    let seen: serde_json::Value =
        serde_json::from_slice(&town.output(BOB, &[WEB], &dir, &["inspect", "api", "--json"]).stdout)
            .unwrap();
    assert_eq!(
        (&seen["mode"], &seen["group_gid"], &seen["owner_uid"]),
        (&"660".into(), &WEB.into(), &ALICE.into())
    );
    let page = town.output(BOB, &[WEB], &dir, &["inspect", "api"]);
    let page = String::from_utf8(page.stdout).unwrap();
    assert!(page.contains("mode 660, owner uid 65101, group gid 65201"), "{page}");
    // Root's limiter, and one for its owner alone.
    town.ok(0, &[], &dir, &["create", "roots", "--rate", "1000/s"]);
    assert_eq!(rights(&dir, "roots"), (0, WEB, 0o660));
    town.ok(BOB, &[WEB], &dir, &["acquire", "roots"]);
    town.ok(ALICE, &[WEB], &dir, &["create", "own", "--rate", "5/s", "--mode", "600"]);
    assert_eq!(rights(&dir, "own"), (ALICE, WEB, 0o600));
    town.fails(BOB, &[WEB], &dir, &["acquire", "own"], &["uid 65101", "mode 600", "chmod 660"]);
    // The advice works.
    fs::set_permissions(dir.join("own"), Permissions::from_mode(0o660)).unwrap();
    town.ok(BOB, &[WEB], &dir, &["acquire", "own"]);
}

/// Without setgid the kernel gives a file the group of its creator.
#[test]
fn a_mode_for_the_group_means_the_group_of_the_directory() {
    let Some(town) = Town::new() else { return };
    let dir = town.dir("web", 0, WEB, 0o770);
    town.ok(ALICE, &[WEB], &dir, &[CREATE, &["--mode", "660"]].concat());
    assert_eq!(rights(&dir, "api"), (ALICE, WEB, 0o660));
    town.ok(BOB, &[WEB], &dir, TAKE);
    town.ok(ALICE, &[WEB], &dir, &["create", "own", "--rate", "5/s"]);
    assert_eq!(rights(&dir, "own"), (ALICE, ALICE, 0o600));
}

#[test]
fn a_mode_that_others_could_not_trust_is_refused_at_creation() {
    let Some(town) = Town::new() else { return };
    let tmp = town.dir("tmp", 0, 0, 0o1777);
    for mode in ["660", "666"] {
        let create = [CREATE, &["--mode", mode]].concat();
        town.fails(ALICE, &[], &tmp, &create, &[&format!("mode {mode} cannot work"), "install -d -m 2770"]);
        let run = ["run", "api", "--rate", "5/s", "--mode", mode, "--", "true"];
        town.fails(ALICE, &[], &tmp, &run, &["cannot work"]);
    }
    assert_eq!(fs::read_dir(&tmp).unwrap().count(), 0);
    // For Alice alone it works, and other users get advice that works for them.
    town.ok(ALICE, &[], &tmp, CREATE);
    town.fails(BOB, &[], &tmp, TAKE, &["run as uid 65101", "choose another directory"]);
    fs::set_permissions(tmp.join("api"), Permissions::from_mode(0o666)).unwrap();
    town.fails(BOB, &[], &tmp, TAKE, &["not trusted", "every user can write"]);
    // Root and the directory's owner are trusted by all.
    town.ok(0, &[], &tmp, &["create", "roots", "--rate", "1000/s", "--mode", "666"]);
    town.ok(BOB, &[], &tmp, &["acquire", "roots"]);
    let own = town.dir("own", ALICE, ALICE, 0o1777);
    town.ok(ALICE, &[], &own, &[CREATE, &["--mode", "666"]].concat());
    town.ok(BOB, &[], &own, TAKE);
}

#[test]
fn creating_in_an_unwritable_directory_names_the_directory() {
    let Some(town) = Town::new() else { return };
    let dir = town.dir("roots", 0, 0, 0o755);
    town.fails(ALICE, &[], &dir, CREATE, &["uid 65101 cannot create a file", "owner uid 0", "mode 755"]);
    town.ok(0, &[], &dir, CREATE);
    town.fails(ALICE, &[], &dir, TAKE, &["owner uid 0", "mode 600", "chmod"]);
    fs::set_permissions(dir.join("api"), Permissions::from_mode(0o666)).unwrap();
    town.ok(ALICE, &[], &dir, TAKE);
}

#[test]
fn a_users_own_directory_needs_no_root() {
    let sandbox = Sandbox::new();
    sandbox.ok(CREATE);
    assert_eq!(rights(sandbox.path(), "api").2, 0o600);
    let page = sandbox.ok(&["inspect", "api"]);
    assert!(page.contains("mode 600, owner ") && page.contains(", group "), "{page}");
}
