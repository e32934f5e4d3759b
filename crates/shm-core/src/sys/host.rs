//! What tells this machine's present clock from another one's.

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

/// The clock of this process. Read once a process: a child may be born into another time namespace.
pub(crate) fn clock() -> Clock {
    // Every thread that fills these stores the same values, so no lock is needed (and none can be left behind by a
    // fork). `KNOWN_BY` is stored last.
    static BOOT: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];
    static TIME: AtomicU64 = AtomicU64::new(0);
    static KNOWN_BY: AtomicU64 = AtomicU64::new(0);
    let me = process_token();
    if KNOWN_BY.load(Ordering::Acquire) != me {
        let [high, low] = boot_id().unwrap_or_default();
        BOOT[0].store(high, Ordering::Relaxed);
        BOOT[1].store(low, Ordering::Relaxed);
        TIME.store(namespace("time"), Ordering::Relaxed);
        KNOWN_BY.store(me, Ordering::Release);
    }
    Clock {
        boot_id: [BOOT[0].load(Ordering::Relaxed), BOOT[1].load(Ordering::Relaxed)],
        time_namespace: TIME.load(Ordering::Relaxed),
    }
}

/// Names a namespace of this process (`pid`, `time`); 0 when the kernel doesn't tell.
pub(crate) fn namespace(kind: &str) -> u64 {
    nix::sys::stat::stat(format!("/proc/self/ns/{kind}").as_str()).map_or(0, |s| s.st_ino)
}

fn boot_id() -> Option<[u64; 2]> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let digits: String = text.trim().chars().filter(char::is_ascii_hexdigit).collect();
    let id = u128::from_str_radix(&digits, 16).ok()?;
    Some([(id >> 64) as u64, id as u64])
}

/// This process's command name, up to 16 bytes, as two words.
pub(crate) fn command() -> [u64; 2] {
    let mut bytes = [0; 16];
    if let Ok(name) = std::fs::read("/proc/self/comm") {
        for (to, from) in bytes.iter_mut().zip(name.iter().take_while(|&&b| b != b'\n')) {
            *to = *from;
        }
    }
    let (a, b) = bytes.split_at(8);
    [a, b].map(|half| u64::from_le_bytes(half.try_into().unwrap_or_default()))
}
