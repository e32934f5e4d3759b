//! Creating a file: finished before it has a name, so that nobody ever sees half of one, whoever dies when.

use super::open::header_checksum;
use super::{Plan, Segment};
use crate::error::{Error, Result};
use crate::layout::{FINGERPRINT, Fixed, MAGIC, RINGS, Shape, VERSION};
use crate::limit::{Kind, Policy};
use crate::name::Name;
use crate::sync::{AtomicU64, Ordering};
use crate::sys::host;
use crate::sys::map::Map;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, open, posix_fallocate};
#[cfg(target_env = "gnu")]
use nix::fcntl::{RenameFlags, renameat2};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::{linkat, unlink};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Seats of a limiter, unless said otherwise: this many processes are counted and named, each for 256 bytes.
pub const DEFAULT_SEATS: usize = 128;
/// Slots of the smallest ring, so that a small limit can be raised later.
const MIN_RING: u64 = 1_024;
/// Room for permits, at least.
const MIN_PERMITS: usize = 64;
/// Permissions of a limiter's file, unless said otherwise: its owner alone.
pub const DEFAULT_MODE: u32 = 0o600;

/// A new file without a name, or with one that nobody looks for.
struct Unnamed {
    file: File,
    /// Set where the file system knows no nameless files.
    temporary: Option<PathBuf>,
}

impl Drop for Unnamed {
    fn drop(&mut self) {
        if let Some(path) = &self.temporary {
            let _ = unlink(path.as_path());
        }
    }
}

/// What a file for this policy has.
pub(super) fn shape_for(policy: &Policy, seats: usize) -> Shape {
    let mut rings = [0; RINGS];
    for (ring, limit) in rings.iter_mut().zip(policy.limits()) {
        if limit.kind() == Kind::Greedy {
            *ring = limit.rate().max().next_power_of_two().max(MIN_RING) as usize;
        }
    }
    let permits = policy.permits().map_or(0, |n| (n as usize).next_power_of_two().max(MIN_PERMITS));
    let cells = if policy.single_word().is_some() { 0 } else { Shape::cells_for(seats) };
    Shape { seats, cells, rings, permits }
}

/// Creates the limiter; `None` if the name was taken in the meantime.
pub(super) fn new(name: &Name, path: &Path, plan: &Plan) -> Result<Option<Segment>> {
    let unnamed = nameless(path).or_else(|e| if e.1 { hidden(path) } else { Err(e.0) })?;
    let file = &unnamed.file;
    let shape = shape_for(&plan.terms.policy, plan.seats);
    let size = shape.file_size();
    // Now, not as a SIGBUS later.
    let allocated = loop {
        match posix_fallocate(file, 0, size as i64) {
            Err(Errno::EINTR) => {}
            other => break other,
        }
    };
    allocated.map_err(|e| Error::os(&format!("can't make {size} bytes"), e))?;
    fchmod(file, Mode::from_bits_truncate(plan.mode)).map_err(|e| Error::os("can't set its mode", e))?;
    let map = Map::new(file, shape).map_err(|e| Error::os("can't map it", e))?;
    fill(map.fixed(), &shape, name, plan);
    let meta = file.metadata().map_err(|e| Error::os("can't look at it", e))?;
    let segment = Segment::new(map, name, path, &meta);
    segment.initialise(&plan.terms);
    Ok(publish(&unnamed, path)?.then_some(segment))
}

/// A file that has no name. An error with `true` means: not on this file system.
fn nameless(path: &Path) -> std::result::Result<Unnamed, (Error, bool)> {
    let dir = path.parent().unwrap_or(path);
    match open(dir, OFlag::O_TMPFILE | OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::S_IRUSR | Mode::S_IWUSR) {
        Ok(fd) => Ok(Unnamed { file: fd.into(), temporary: None }),
        Err(e) => {
            let unknown = matches!(e, Errno::EOPNOTSUPP | Errno::EISDIR | Errno::EINVAL);
            let doing = match e {
                Errno::ENOENT | Errno::ENOTDIR => {
                    format!(
                        "there is no directory {}; make it first, can't create the limiter",
                        dir.display()
                    )
                }
                _ => "can't create it".to_owned(),
            };
            Err((Error::os(&doing, e), unknown))
        }
    }
}

/// A file under a name that no limiter can have. Left behind only if this process is killed in the next microseconds.
fn hidden(path: &Path) -> Result<Unnamed> {
    let unique = crate::clock::now().as_nanos();
    let temporary = path.with_file_name(format!(".shm-limit-{}-{unique}", std::process::id()));
    let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_RDWR | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    let fd = open(&temporary, flags, Mode::S_IRUSR | Mode::S_IWUSR)
        .map_err(|e| Error::os("can't create it", e))?;
    Ok(Unnamed { file: fd.into(), temporary: Some(temporary) })
}

/// Gives the finished file its name; false if the name is taken.
fn publish(unnamed: &Unnamed, path: &Path) -> Result<bool> {
    let linked = match &unnamed.temporary {
        // In one step, so that nobody killed in between leaves two names. Not every file system can.
        #[cfg(target_env = "gnu")]
        Some(temporary) => {
            match renameat2(AT_FDCWD, temporary.as_path(), AT_FDCWD, path, RenameFlags::RENAME_NOREPLACE) {
                Err(Errno::EINVAL | Errno::ENOSYS) => {
                    linkat(AT_FDCWD, temporary.as_path(), AT_FDCWD, path, AtFlags::empty())
                }
                other => other,
            }
        }
        #[cfg(not(target_env = "gnu"))]
        Some(temporary) => linkat(AT_FDCWD, temporary.as_path(), AT_FDCWD, path, AtFlags::empty()),
        None => {
            let by_proc = format!("/proc/self/fd/{}", unnamed.file.as_raw_fd());
            match linkat(AT_FDCWD, by_proc.as_str(), AT_FDCWD, path, AtFlags::AT_SYMLINK_FOLLOW) {
                // No /proc here: needs a capability this way.
                Err(Errno::ENOENT) => linkat(&unnamed.file, "", AT_FDCWD, path, AtFlags::AT_EMPTY_PATH),
                other => other,
            }
        }
    };
    match linked {
        Ok(()) => Ok(true),
        Err(Errno::EEXIST) => Ok(false),
        Err(e) => Err(Error::os("can't give it its name", e)),
    }
}

fn fill(fixed: &Fixed, shape: &Shape, name: &Name, plan: &Plan) {
    let set = |word: &AtomicU64, value: u64| word.store(value, Ordering::Relaxed);
    let (id, regions) = (&fixed.identity, &fixed.regions);
    let clock = host::me().clock;
    set(&id.magic, MAGIC);
    set(&id.version, VERSION);
    set(&id.layout, FINGERPRINT);
    set(&id.file_size, shape.file_size() as u64);
    set(&id.boot_id[0], clock.boot_id[0]);
    set(&id.boot_id[1], clock.boot_id[1]);
    set(&id.time_namespace, clock.time_namespace);
    set(&regions.seats, shape.seats as u64);
    set(&regions.cells, shape.cells as u64);
    set(&regions.permits, shape.permits as u64);
    for (word, &slots) in regions.rings.iter().zip(&shape.rings) {
        set(word, slots as u64);
    }
    set(&regions.name_len, name.as_str().len() as u64);
    set(&regions.created_ns, plan.terms.since.as_nanos());
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    set(&regions.created_unix, since_1970.as_secs());
    set(&regions.wall_ns, (since_1970.as_nanos() as u64).saturating_sub(crate::clock::now().as_nanos()));
    for (word, chunk) in fixed.name.iter().zip(name.as_str().as_bytes().chunks(8)) {
        let mut bytes = [0; 8];
        bytes[..chunk.len()].copy_from_slice(chunk);
        set(word, u64::from_le_bytes(bytes));
    }
    set(&id.checksum, header_checksum(fixed));
}
