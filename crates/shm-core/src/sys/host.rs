//! Identifies this machine's current clock, and this process's namespaces.

use super::process_token::process_token;
use nix::errno::Errno;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

/// The clock under which the times in a segment have a meaning. A word is 0 if the kernel does not provide it, for
/// example without `/proc`. An unknown word equals nothing, not even another unknown one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClockIdentity {
    pub(crate) boot_id: [u64; 2],
    /// The inode of the time namespace; [`NO_TIME_NAMESPACES`] on a kernel without them.
    pub(crate) time_namespace: u64,
}

const NO_TIME_NAMESPACES: u64 = 1;

/// Whether two clocks are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClockMatch {
    Yes,
    No,
    /// At least one of them is not fully known.
    Unknown,
}

impl ClockIdentity {
    /// Whether all of it is known.
    pub(crate) fn is_known(self) -> bool {
        self.words().into_iter().all(|word| word != 0)
    }

    pub(crate) fn compare(self, other: ClockIdentity) -> ClockMatch {
        let differ = self.words().into_iter().zip(other.words()).any(|(a, b)| a != 0 && b != 0 && a != b);
        match differ {
            true => ClockMatch::No,
            false if self.is_known() && other.is_known() => ClockMatch::Yes,
            false => ClockMatch::Unknown,
        }
    }

    fn words(self) -> [u64; 3] {
        [self.boot_id[0], self.boot_id[1], self.time_namespace]
    }
}

/// Facts about this process that are slow to query, so they are cached. (A forked child queries them again: it may be
/// in other namespaces.)
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProcessInfo {
    pub(crate) clock: ClockIdentity,
    /// 0 if the kernel does not provide it.
    pub(crate) pid_namespace: u64,
    /// The command's name, up to 16 bytes.
    pub(crate) command: [u64; 2],
}

/// The facts about this process.
pub(crate) fn process_info() -> ProcessInfo {
    // Every thread that fills these stores the same values, so no lock is needed (and none can be left locked by a
    // fork). `KNOWN_BY` is stored last.
    static WORDS: [AtomicU64; 6] = [const { AtomicU64::new(0) }; 6];
    static KNOWN_BY: AtomicU64 = AtomicU64::new(0);
    let token = process_token();
    if KNOWN_BY.load(Ordering::Acquire) != token {
        let [boot_high, boot_low] = boot_id().unwrap_or_default();
        let [name_head, name_tail] = command();
        let pid_namespace = namespace("pid").unwrap_or(0);
        let time_namespace = match namespace("time") {
            // Namespaces exist, but none of this kind.
            Err(Errno::ENOENT) if pid_namespace != 0 => NO_TIME_NAMESPACES,
            known => known.unwrap_or(0),
        };
        let values = [boot_high, boot_low, time_namespace, pid_namespace, name_head, name_tail];
        for (word, value) in WORDS.iter().zip(values) {
            word.store(value, Ordering::Relaxed);
        }
        // Queried again next time if unknown for lack of a descriptor, or because /proc is not mounted yet.
        if boot_high | boot_low != 0 && time_namespace != 0 {
            KNOWN_BY.store(token, Ordering::Release);
        }
    }
    let [boot_high, boot_low, time_namespace, pid_namespace, name_head, name_tail] =
        [0, 1, 2, 3, 4, 5].map(|i: usize| WORDS[i].load(Ordering::Relaxed));
    ProcessInfo {
        clock: ClockIdentity { boot_id: [boot_high, boot_low], time_namespace },
        pid_namespace,
        command: [name_head, name_tail],
    }
}

/// Whether this program has privileges that its caller may not have: setuid, setgid, file capabilities.
pub(crate) fn is_elevated() -> bool {
    // SAFETY: only reads what the kernel passed to this process at exec.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

/// Whether no process has this PID in this process's PID namespace.
pub(crate) fn is_without_process(pid: u64) -> bool {
    // SAFETY: signal 0 only checks for existence.
    let asked = |pid| unsafe { libc::kill(pid, 0) };
    i32::try_from(pid).is_ok_and(|pid| {
        pid > 0 && asked(pid) != 0 && std::io::Error::last_os_error().raw_os_error() == Some(libc::ESRCH)
    })
}

/// Two words that nobody can predict.
pub(crate) fn random_words() -> [u64; 2] {
    let mut words = [0u64; 2];
    // SAFETY: the buffer is valid for its size, and any bytes are valid words.
    let got = unsafe { libc::getrandom(words.as_mut_ptr().cast(), size_of_val(&words), 0) };
    if got == size_of_val(&words) as isize {
        return words;
    }
    // Where a security policy denies the call, the standard library has another source.
    [(); 2].map(|()| RandomState::new().hash_one(process_token()))
}

/// The inode of one of this process's namespaces (`pid`, `time`).
fn namespace(kind: &str) -> Result<u64, Errno> {
    nix::sys::stat::stat(format!("/proc/self/ns/{kind}").as_str()).map(|s| s.st_ino)
}

/// `None` if the kernel does not provide it.
fn boot_id() -> Option<[u64; 2]> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let digits: String = text.trim().chars().filter(char::is_ascii_hexdigit).collect();
    u128::from_str_radix(&digits, 16).ok().map(|id| [(id >> 64) as u64, id as u64])
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_clock_equals_no_clock() {
        let known = ClockIdentity { boot_id: [1, 2], time_namespace: 3 };
        let other_boot = ClockIdentity { boot_id: [1, 9], ..known };
        let other_namespace = ClockIdentity { time_namespace: 9, ..known };
        let no_boot = ClockIdentity { boot_id: [0, 0], ..known };
        let no_namespace = ClockIdentity { time_namespace: 0, ..known };
        let nothing = ClockIdentity { boot_id: [0, 0], time_namespace: 0 };
        assert_eq!(known.compare(known), ClockMatch::Yes);
        for other in [other_boot, other_namespace] {
            assert_eq!(known.compare(other), ClockMatch::No);
        }
        for unknown in [no_boot, no_namespace, nothing] {
            assert_eq!(known.compare(unknown), ClockMatch::Unknown);
            assert_eq!(unknown.compare(known), ClockMatch::Unknown);
            assert_eq!(unknown.compare(unknown), ClockMatch::Unknown);
        }
        assert_eq!(no_boot.compare(other_namespace), ClockMatch::No);
        assert_eq!(no_namespace.compare(other_boot), ClockMatch::No);
    }
}
