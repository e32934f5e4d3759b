//! A worker under constraints: few descriptors, little memory, other mounts, other namespaces, refused system calls.

use harness::{Job, raw};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};
use std::fs;
use std::process::Command;

const NO_TYPE: Option<&str> = None;
/// Not yet in `nix`. Its bits are those of a signal, which `unshare` has none of.
const CLONE_NEWTIME: i32 = 0x80;

/// Obeys the order, if it is one of these.
pub(crate) fn act(order: &str, words: &[&str]) -> Option<String> {
    let number = |i: usize| words[i].parse::<u64>().expect("a number");
    match order {
        // The number of descriptors in all, those in use included.
        "nofile" => limit(Resource::RLIMIT_NOFILE, number(0)),
        "memlock" => limit(Resource::RLIMIT_MEMLOCK, number(0)),
        // How many bytes more than are in use; without a number: any.
        "memory" if words.is_empty() => limit(Resource::RLIMIT_AS, RLIM_INFINITY),
        "memory" => limit(Resource::RLIMIT_AS, in_use() + number(0)),
        "tmpfs" => {
            own_mounts();
            tmpfs(words[0], words[1]);
        }
        "mounts" => own_mounts(),
        "sh" => return Some(shell(&words.join(" "))),
        "refuse" => refuse(words[0]).expect("a filter"),
        "cover" => tmpfs(words[0], "1m"),
        "read-only" => {
            own_mounts();
            let flags = MsFlags::MS_BIND;
            mount(Some(words[0]), words[0], NO_TYPE, flags, NO_TYPE).expect("the directory on itself");
            let flags = flags | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
            mount(NO_TYPE, words[0], NO_TYPE, flags, NO_TYPE).expect("to make it read-only");
        }
        "uncover" => umount2(words[0], MntFlags::MNT_DETACH).expect("to unmount it"),
        "usage" => return Some(usage()),
        _ => return None,
    }
    Some("ok".to_owned())
}

/// Runs a shell script; the first line of its errors if it fails.
fn shell(script: &str) -> String {
    let done = Command::new("sh").args(["-c", script]).output().expect("a shell");
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    let why = || said.lines().find(|line| !line.is_empty()).unwrap_or("failed, and said nothing").to_owned();
    if done.status.success() { "ok".to_owned() } else { why() }
}

/// Makes the kernel refuse a kind of call, as a seccomp filter of a container does.
fn refuse(what: &str) -> std::io::Result<()> {
    // F_OFD_GETLK, F_OFD_SETLK, F_OFD_SETLKW.
    const OFD_LOCKS: [u32; 3] = [36, 37, 38];
    match what {
        "locks" => raw::refuse(libc::SYS_fcntl, Some((1, &OFD_LOCKS)), libc::EPERM),
        "locks-as-unknown" => raw::refuse(libc::SYS_fcntl, Some((1, &OFD_LOCKS)), libc::EINVAL),
        "futex" => raw::refuse(libc::SYS_futex, None, libc::ENOSYS),
        "clock_gettime" => raw::refuse(libc::SYS_clock_gettime, None, libc::EPERM),
        "linkat" => raw::refuse(libc::SYS_linkat, None, libc::EPERM),
        "renameat2" => raw::refuse(libc::SYS_renameat2, None, libc::ENOSYS),
        other => panic!("no such call: {other}"),
    }
}

fn limit(resource: Resource, soft: u64) {
    let (_, hard) = getrlimit(resource).expect("the limit");
    setrlimit(resource, soft.min(hard), hard).expect("to limit itself");
}

fn in_use() -> u64 {
    let text = fs::read_to_string("/proc/self/statm").expect("its memory");
    4096 * text.split(' ').next().and_then(|pages| pages.parse::<u64>().ok()).expect("a number")
}

/// Descriptors, mappings and kilobytes in memory of this process.
pub(crate) fn usage() -> String {
    let descriptors = fs::read_dir("/proc/self/fd").expect("its descriptors").count();
    let maps = fs::read_to_string("/proc/self/maps").expect("its mappings").lines().count();
    let status = fs::read_to_string("/proc/self/status").expect("its status");
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
    format!("{descriptors} {maps} {}", resident.trim().trim_end_matches(" kB"))
}

/// Mounts that only this process sees, and that end with it.
fn own_mounts() {
    unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace");
    let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(NO_TYPE, "/", NO_TYPE, flags, NO_TYPE).expect("mounts of our own");
}

fn tmpfs(at: &str, size: &str) {
    let size = format!("size={size}");
    mount(Some("tmpfs"), at, Some("tmpfs"), MsFlags::empty(), Some(size.as_str())).expect("a tmpfs");
}

/// Leaves for the `namespaces=` of the job (with commas; `pid` if it is not said), with a clock that is `boottime=`
/// seconds ahead. The next child is the first in them.
pub(crate) fn leave(job: &Job) -> Result<(), String> {
    let wanted = |name| job.text_or("namespaces", "pid").split(',').any(|word| word == name);
    let go = |name: &str, flag| unshare(flag).map_err(|e| format!("no {name} namespace: {e}"));
    if wanted("user") {
        let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
        go("user", CloneFlags::CLONE_NEWUSER)?;
        let write = |file: &str, text: String| {
            fs::write(format!("/proc/self/{file}"), text).map_err(|e| format!("{file}: {e}"))
        };
        write("setgroups", "deny".to_owned())?;
        write("uid_map", format!("0 {uid} 1"))?;
        write("gid_map", format!("0 {gid} 1"))?;
    }
    if wanted("ipc") {
        go("IPC", CloneFlags::CLONE_NEWIPC)?;
    }
    if wanted("time") {
        go("time", CloneFlags::from_bits_retain(CLONE_NEWTIME))?;
        let offset = format!("boottime {} 0", job.text_or("boottime", "0"));
        fs::write("/proc/self/timens_offsets", offset).map_err(|e| format!("no other time: {e}"))?;
    }
    if wanted("pid") { go("PID", CloneFlags::CLONE_NEWPID) } else { Ok(()) }
}
