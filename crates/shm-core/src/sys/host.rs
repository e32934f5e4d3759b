//! What tells this machine's present clock from another one's, and this process from others.

use super::fork::process_token;
use std::sync::atomic::{AtomicU64, Ordering};

/// Under which clock the times in a segment make sense. Words are 0 where the kernel doesn't say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Clock {
    pub(crate) boot_id: [u64; 2],
    pub(crate) time_namespace: u64,
}

impl Clock {
    /// Whether times of `other` surely mean something else here.
    pub(crate) fn contradicts(self, other: Clock) -> bool {
        let differ = |a: u64, b: u64| a != 0 && b != 0 && a != b;
        differ(self.boot_id[0], other.boot_id[0])
            || differ(self.boot_id[1], other.boot_id[1])
            || differ(self.time_namespace, other.time_namespace)
    }
}

/// What about this process the kernel tells slowly, so it is asked once a process. (A forked child asks again: it may be
/// born into other namespaces.)
#[derive(Clone, Copy, Debug)]
pub(crate) struct Me {
    pub(crate) clock: Clock,
    /// 0 where the kernel doesn't say.
    pub(crate) pid_namespace: u64,
    /// The command's name, up to 16 bytes.
    pub(crate) command: [u64; 2],
}

/// This process.
pub(crate) fn me() -> Me {
    // Every thread that fills these stores the same values, so no lock is needed (and none can be left behind by a
    // fork). `KNOWN_BY` is stored last.
    static WORDS: [AtomicU64; 6] = [const { AtomicU64::new(0) }; 6];
    static KNOWN_BY: AtomicU64 = AtomicU64::new(0);
    let token = process_token();
    if KNOWN_BY.load(Ordering::Acquire) != token {
        let boot = boot_id();
        let [boot_high, boot_low] = boot.as_ref().map_or([0, 0], |id| id.unwrap_or_default());
        let [name_head, name_tail] = command();
        let values = [boot_high, boot_low, namespace("time"), namespace("pid"), name_head, name_tail];
        for (word, value) in WORDS.iter().zip(values) {
            word.store(value, Ordering::Relaxed);
        }
        // Not for want of a descriptor only: then it is asked again.
        if boot.is_ok() {
            KNOWN_BY.store(token, Ordering::Release);
        }
    }
    let [boot_high, boot_low, time_namespace, pid_namespace, name_head, name_tail] =
        [0, 1, 2, 3, 4, 5].map(|i: usize| WORDS[i].load(Ordering::Relaxed));
    Me {
        clock: Clock { boot_id: [boot_high, boot_low], time_namespace },
        pid_namespace,
        command: [name_head, name_tail],
    }
}

/// Whether this program has rights that whoever started it may not have: setuid, setgid, file capabilities.
pub(crate) fn is_elevated() -> bool {
    // SAFETY: only reads what the kernel told this process when it began.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

/// Whether there is no process with this PID in this process's PID namespace.
pub(crate) fn is_without_process(pid: u64) -> bool {
    // SAFETY: signal 0 is sent to nobody.
    let asked = |pid| unsafe { libc::kill(pid, 0) };
    i32::try_from(pid).is_ok_and(|pid| {
        pid > 0 && asked(pid) != 0 && std::io::Error::last_os_error().raw_os_error() == Some(libc::ESRCH)
    })
}

/// Names a namespace of this process (`pid`, `time`).
fn namespace(kind: &str) -> u64 {
    nix::sys::stat::stat(format!("/proc/self/ns/{kind}").as_str()).map_or(0, |s| s.st_ino)
}

/// `None` where the kernel doesn't say; an error if there is no descriptor to ask with.
fn boot_id() -> std::io::Result<Option<[u64; 2]>> {
    let text = match std::fs::read_to_string("/proc/sys/kernel/random/boot_id") {
        Ok(text) => text,
        Err(e) if matches!(e.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => return Err(e),
        Err(_) => return Ok(None),
    };
    let digits: String = text.trim().chars().filter(char::is_ascii_hexdigit).collect();
    Ok(u128::from_str_radix(&digits, 16).ok().map(|id| [(id >> 64) as u64, id as u64]))
}

fn command() -> [u64; 2] {
    let mut bytes = [0; 16];
    if let Ok(name) = std::fs::read("/proc/self/comm") {
        for (to, from) in bytes.iter_mut().zip(name.iter().take_while(|&&b| b != b'\n')) {
            *to = *from;
        }
    }
    let (a, b) = bytes.split_at(8);
    [a, b].map(|half| u64::from_le_bytes(half.try_into().unwrap_or_default()))
}
