//! What may surprise about the location of a new limiter: which processes share its budget, and what deletes its file.

use crate::output::{human, printable};
use shm_lib::{Directory, RateLimit};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The highest UID of system users, if login.defs does not say.
const LAST_SYSTEM_USER: u32 = 999;

/// The reports about a limiter that was just created. With `always` also if the user chose the directory.
pub(crate) fn of_new(dir: &Directory, limiter: &RateLimit, always: bool) -> Vec<String> {
    let name = limiter.name();
    let mut reports = Vec::new();
    let directory = printable::path(dir.path());
    if is_default(dir) {
        let user = human::user(nix::unistd::geteuid().as_raw());
        reports.push(format!(
            "note: limiter {name:?} is created in {directory}, which is private to user {user}; another user or \
             directory (--dir, SHM_LIMIT_DIR) has a separate budget"
        ));
    } else if always {
        reports.push(format!("note: limiter {name:?} is created in {directory}"));
    }
    let Ok(meta) = fs::metadata(limiter.path()) else { return reports };
    if !is_in_shm(limiter.path()) {
        return reports;
    }
    let owner = human::user(meta.uid());
    if logind_deletes(Path::new("/"), meta.uid(), &owner) {
        reports.push(format!(
            "warning: systemd-logind deletes limiter {name:?} when the last session of user {owner} ends \
             (RemoveIPC=yes), and a cron job counts as a session; use a directory outside /dev/shm (--dir), or set \
             RemoveIPC=no in logind.conf"
        ));
    }
    if is_private_to_container(Path::new("/")) {
        reports.push(format!(
            "warning: limiter {name:?} is in the /dev/shm of this container, which its host and other containers do \
             not see; to share the budget, mount one directory into all of them and give it by --dir"
        ));
    }
    reports
}

/// Whether this is the directory that is used if neither `--dir` nor `SHM_LIMIT_DIR` names one.
pub(crate) fn is_default(dir: &Directory) -> bool {
    dir.path() == Path::new(&format!("/dev/shm/shm-limit-{}", nix::unistd::geteuid()))
}

fn is_in_shm(file: &Path) -> bool {
    file.canonicalize().is_ok_and(|file| file.starts_with("/dev/shm"))
}

/// Whether systemd-logind deletes what this user owns below `/dev/shm` when the user's last session ends: logind runs,
/// `RemoveIPC` is on, the user is not a system user, and does not linger.
fn logind_deletes(root: &Path, uid: u32, user: &str) -> bool {
    let runs = root.join("run/systemd/system").is_dir() && root.join("run/systemd/sessions").is_dir();
    let lingers = root.join("var/lib/systemd/linger").join(user).exists();
    runs && uid > last_system_user(root) && !lingers && removes_ipc(root)
}

fn last_system_user(root: &Path) -> u32 {
    let text = fs::read_to_string(root.join("etc/login.defs")).unwrap_or_default();
    let value = text.lines().find_map(|line| line.trim().strip_prefix("SYS_UID_MAX"));
    value.and_then(|value| value.trim().parse().ok()).unwrap_or(LAST_SYSTEM_USER)
}

/// The setting `RemoveIPC` of logind.conf(5). Distributions choose the default when they compile systemd, and write it as a
/// comment into the file.
fn removes_ipc(root: &Path) -> bool {
    // In order of priority, the lowest first.
    const PLACES: [&str; 4] = ["usr/lib/systemd", "usr/local/lib/systemd", "run/systemd", "etc/systemd"];
    let main =
        PLACES.iter().rev().find_map(|place| fs::read_to_string(root.join(place).join("logind.conf")).ok());
    let main = main.unwrap_or_default();
    // Of two files of the same name only the one with the higher priority counts.
    let mut drop_ins = std::collections::BTreeMap::new();
    for place in PLACES {
        let entries = fs::read_dir(root.join(place).join("logind.conf.d")).into_iter().flatten().flatten();
        for entry in entries {
            let is_conf = entry.path().extension().is_some_and(|extension| extension == "conf");
            if is_conf {
                drop_ins.insert(entry.file_name(), fs::read_to_string(entry.path()).unwrap_or_default());
            }
        }
    }
    let explicit = drop_ins.values().rev().find_map(|text| setting(text, "")).or_else(|| setting(&main, ""));
    explicit.or_else(|| setting(&main, "#")).unwrap_or(true)
}

/// The last valid value of the setting in a file, in lines with this prefix.
fn setting(text: &str, prefix: &str) -> Option<bool> {
    let values = text.lines().filter_map(|line| {
        let (key, value) = line.trim().strip_prefix(prefix)?.split_once('=')?;
        (key.trim() == "RemoveIPC").then(|| boolean(value.trim()))?
    });
    values.rfold(None, |found, value| found.or(Some(value)))
}

fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "yes" | "y" | "true" | "t" | "on" => Some(true),
        "0" | "no" | "n" | "false" | "f" | "off" => Some(false),
        _ => None,
    }
}

/// Whether this process is in a container whose `/dev/shm` was made for the container. Container engines mount it from a
/// source called `shm`; if a container shares the host's, it is a bind mount of the host's own, which systemd calls `tmpfs`.
fn is_private_to_container(root: &Path) -> bool {
    let mounts = fs::read_to_string(root.join("proc/self/mountinfo")).unwrap_or_default();
    let is_marked = ["run/.containerenv", ".dockerenv"].iter().any(|file| root.join(file).exists());
    let on_overlay = mount(&mounts, "/").is_some_and(|(kind, _)| kind == "overlay");
    (is_marked || on_overlay) && mount(&mounts, "/dev/shm") == Some(("tmpfs", "shm"))
}

/// The type and the source of what is mounted here, by the text of `/proc/self/mountinfo`.
fn mount<'a>(mountinfo: &'a str, point: &str) -> Option<(&'a str, &'a str)> {
    let lines = mountinfo.lines().filter_map(|line| {
        let (mount, source) = line.split_once(" - ")?;
        let mut source = source.split(' ');
        (mount.split(' ').nth(4)? == point).then_some((source.next()?, source.next()?))
    });
    // The last mount hides those before it.
    lines.rfold(None, |found, line| found.or(Some(line)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, file: &str, text: &str) {
        let path = root.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn remove_ipc_is_read_as_logind_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        assert!(removes_ipc(root), "the default of systemd");
        write(root, "usr/lib/systemd/logind.conf", "[Login]\n#RemoveIPC=no\n");
        assert!(!removes_ipc(root), "the default that the distribution compiled in");
        write(root, "etc/systemd/logind.conf", "[Login]\n#RemoveIPC=no\nRemoveIPC=yes\n");
        assert!(removes_ipc(root));
        write(root, "usr/lib/systemd/logind.conf.d/50-x.conf", "[Login]\n RemoveIPC = off\n");
        assert!(!removes_ipc(root), "a drop-in overrides the file");
        write(root, "etc/systemd/logind.conf.d/50-x.conf", "[Login]\nKillUserProcesses=no\n");
        assert!(removes_ipc(root), "a drop-in hides the one of its name in a lower place");
        write(root, "run/systemd/logind.conf.d/60-y.conf", "RemoveIPC=no\nRemoveIPC=\nRemoveIPC=maybe\n");
        assert!(!removes_ipc(root), "what is not a boolean is ignored");
        write(root, "etc/systemd/logind.conf.d/70-z.txt", "RemoveIPC=yes\n");
        assert!(!removes_ipc(root), "not a drop-in");
    }

    #[test]
    fn only_ordinary_users_lose_their_files_and_only_where_logind_runs() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        assert!(!logind_deletes(root, 1000, "alice"));
        fs::create_dir_all(root.join("run/systemd/system")).unwrap();
        fs::create_dir_all(root.join("run/systemd/sessions")).unwrap();
        assert!(logind_deletes(root, 1000, "alice"));
        assert!(!logind_deletes(root, 0, "root") && !logind_deletes(root, 999, "daemon"));
        write(root, "etc/login.defs", "# SYS_UID_MAX 10\nSYS_UID_MAX\t  1500\n");
        assert!(!logind_deletes(root, 1000, "alice") && logind_deletes(root, 1501, "bob"));
        write(root, "var/lib/systemd/linger/bob", "");
        assert!(!logind_deletes(root, 1501, "bob"));
    }

    #[test]
    fn a_container_with_a_dev_shm_of_its_own_is_recognised() {
        const DOCKER: &str = "\
            1 0 0:50 / / rw,relatime master:1 - overlay overlay rw,lowerdir=/a\n\
            2 1 0:55 / /dev rw,nosuid - tmpfs tmpfs rw,size=65536k\n\
            3 2 0:48 / /dev/shm rw,nosuid,nodev,noexec,relatime - tmpfs shm rw,size=65536k\n";
        let check = |mounts: &str, is_marked: bool| {
            let dir = tempfile::tempdir().unwrap();
            write(dir.path(), "proc/self/mountinfo", mounts);
            if is_marked {
                write(dir.path(), ".dockerenv", "");
            }
            is_private_to_container(dir.path())
        };
        assert!(check(DOCKER, false));
        assert!(check(&DOCKER.replace("- overlay overlay", "- btrfs /dev/sda1"), true));
        assert!(
            !check(&DOCKER.replace("- overlay overlay", "- ext4 /dev/sda1"), false),
            "a host with OpenRC"
        );
        assert!(!check(&DOCKER.replace("tmpfs shm", "tmpfs tmpfs"), true), "the host's, by --ipc=host");
        assert!(!check(&format!("{DOCKER}4 3 0:9 / /dev/shm rw - tmpfs tmpfs rw\n"), true), "mounted over");
        assert!(!check("", true));
    }
}
