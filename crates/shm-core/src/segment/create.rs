//! Creating a file: complete before it gets its name, so that no process ever sees an unfinished one, whichever process
//! dies when.

use super::access::{Access, Parent};
use super::header;
use super::open::check_processor;
use super::{Plan, Segment};
use crate::clock;
use crate::commit::Config;
use crate::error::{Error, ErrorKind, Result};
use crate::layout::{FINGERPRINT, Header, KeyShape, MAGIC, MAX_ROWS, RINGS, SLOTS, Shape, VERSION};
use crate::limit::{Kind, Policy};
use crate::name::Name;
use crate::sync::{AtomicU64, Ordering};
use crate::sys::file_system_proof::FileSystem;
use crate::sys::host;
use crate::sys::map::Map;
use crate::sys::signal::NoHandlers;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat, posix_fallocate, renameat};
#[cfg(target_env = "gnu")]
use nix::fcntl::{RenameFlags, renameat2};
use nix::sys::stat::Mode;
use nix::sys::statvfs::fstatvfs;
use nix::unistd::{UnlinkatFlags, linkat, unlinkat};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// The default number of seats: how many processes can be listed and counted individually. Each takes 512 bytes,
/// including its two places in the line.
pub const DEFAULT_SEATS: usize = 128;
/// Slots of the smallest ring, so that a small limit can be raised later.
const MIN_RING: u64 = 1_024;
/// The minimum room for permits, so that a limiter created without permits can get some later.
const MIN_PERMITS: usize = 64;

/// A new file without a name, or with a temporary one.
struct Unnamed<'a> {
    file: File,
    parent: &'a Parent,
    /// Set where the file system does not support O_TMPFILE.
    temporary: Option<String>,
}

impl Drop for Unnamed<'_> {
    fn drop(&mut self) {
        if let Some(name) = &self.temporary {
            let _ = unlinkat(self.parent, name.as_str(), UnlinkatFlags::NoRemoveDir);
        }
    }
}

/// The default capacity of a limiter with limits per key, in keys.
pub const DEFAULT_CAPACITY: u64 = 100_000;
/// The largest capacity.
pub const MAX_CAPACITY: u64 = 1_000_000_000;
/// Slots for each key of the capacity: 40 bytes. See docs/benchmarks.md for what more and fewer would do.
const SLOTS_PER_KEY: (u64, u64) = (5, 2);
/// The fewest rows of a table: a key that is new to a row should find one that has expired.
const MIN_ROWS: u64 = 16;

/// The rows of each table for so many keys.
pub(crate) fn rows_for(capacity: u64) -> u64 {
    let slots = capacity.saturating_mul(SLOTS_PER_KEY.0) / SLOTS_PER_KEY.1;
    slots.div_ceil(SLOTS as u64).clamp(MIN_ROWS, MAX_ROWS)
}

/// How many keys a table of so many rows is meant for.
pub(crate) fn capacity_of(rows: usize) -> u64 {
    (rows * SLOTS) as u64 * SLOTS_PER_KEY.1 / SLOTS_PER_KEY.0
}

/// The shape of a file for this policy.
pub(crate) fn shape_for(policy: &Policy, seats: usize, capacity: u64) -> Shape {
    let mut rings = [0; RINGS];
    for (ring, limit) in rings.iter_mut().zip(policy.limits()) {
        if limit.kind() == Kind::Greedy {
            *ring = limit.rate().max().next_power_of_two().max(MIN_RING) as usize;
        }
    }
    let permits = (policy.permits().unwrap_or(0) as usize).next_power_of_two().max(MIN_PERMITS);
    let cells = if policy.fits_a_word() { 0 } else { Shape::cells_for(seats) };
    let keys = policy.keys().map_or(KeyShape::default(), |keys| KeyShape {
        tables: keys.limits().count(),
        rows: rows_for(capacity) as usize,
    });
    Shape { seats, cells, rings, permits, keys }
}

/// Creates the limiter; `None` if the name was taken in the meantime.
///
/// Not every file system supports O_TMPFILE, and not every process may link such a file: that needs `/proc` or a
/// capability, and a security policy may forbid links. So whatever fails on the first way, the second (a temporary
/// name) is tried, and its error is the one that is reported.
pub(super) fn new(name: &Name, path: &Path, plan: &Plan) -> Result<Option<Segment>> {
    // A child forked by a handler would continue with the same file as its parent.
    let _no_handlers = NoHandlers::enter();
    let parent = Parent::of(path)?;
    let access = parent.access(plan.mode)?;
    match nameless(&parent).and_then(|unnamed| finished(&unnamed, access, name, path, plan)) {
        Err(e) if e.kind() != ErrorKind::Unsupported => finished(&hidden(&parent)?, access, name, path, plan),
        done => done,
    }
}

/// Creates the limiter in place of the file that has the name, after calling `just_before`. By the holder of that
/// file's control lock.
pub(super) fn replace(name: &Name, path: &Path, plan: &Plan, just_before: impl FnOnce()) -> Result<Segment> {
    let _no_handlers = NoHandlers::enter();
    let parent = Parent::of(path)?;
    let access = parent.access(plan.mode)?;
    let (segment, mut hidden) =
        match nameless(&parent).and_then(|file| hidden_late(file, access, name, path, plan)) {
            Err(e) if e.kind() != ErrorKind::Unsupported => {
                let hidden = hidden(&parent)?;
                (filled(&hidden, access, name, path, plan)?, hidden)
            }
            made => made?,
        };
    let Some(temporary) = &hidden.temporary else { unreachable!("it was given a temporary name") };
    just_before();
    renameat(&parent, temporary.as_str(), &parent, name.as_str())
        .map_err(|e| segment.file_system.naming_refused(e))?;
    hidden.temporary = None;
    Ok(segment)
}

/// Completes the limiter in the nameless file, then links it under a temporary name: only a named file can replace
/// another one by rename, and a process that is killed before this leaves no file behind.
fn hidden_late<'a>(
    mut file: Unnamed<'a>,
    access: Access,
    name: &Name,
    path: &Path,
    plan: &Plan,
) -> Result<(Segment, Unnamed<'a>)> {
    let segment = filled(&file, access, name, path, plan)?;
    for hidden in hidden_names() {
        match publish(&file, &hidden) {
            Err(Errno::EEXIST) => {}
            Err(e) => return Err(Error::os("cannot link the file into place", e)),
            Ok(()) => {
                file.temporary = Some(hidden);
                return Ok((segment, file));
            }
        }
    }
    Err(file.parent.creation_error(Errno::EEXIST))
}

/// Completes the limiter in the unnamed file, then links it; `None` if the name was taken.
fn finished(
    unnamed: &Unnamed<'_>,
    access: Access,
    name: &Name,
    path: &Path,
    plan: &Plan,
) -> Result<Option<Segment>> {
    let segment = filled(unnamed, access, name, path, plan)?;
    match publish(unnamed, name.as_str()) {
        Ok(()) => Ok(Some(segment)),
        Err(Errno::EEXIST) => Ok(None),
        // The caller tries the other way.
        Err(e) if unnamed.temporary.is_none() => Err(Error::os("cannot link the file into place", e)),
        Err(e) => Err(segment.file_system.naming_refused(e)),
    }
}

/// Completes the limiter in the unnamed file.
fn filled(unnamed: &Unnamed<'_>, access: Access, name: &Name, path: &Path, plan: &Plan) -> Result<Segment> {
    // Only now, because a process that joins a limiter needs neither the wall clock nor its zone.
    let config = plan.config.by_wall_clock(clock::wall_offset(), None)?;
    let file = &unnamed.file;
    let file_system = FileSystem::of(file)?;
    let shape = shape_for(&config.policy, plan.seats, plan.capacity);
    check_processor(&shape)?;
    let (size, fixed) = (shape.file_size() as u64, shape.fixed_size() as u64);
    // The part that every process uses is allocated now, so that a full file system is not a SIGBUS later. Tables of keys get
    // their memory when it is needed (`Segment::ensure_memory`).
    if size > fixed {
        check_room(file, size)?;
        file.set_len(size).map_err(|e| Error::os(&format!("cannot make a file of {size} bytes"), e))?;
    }
    let allocated = loop {
        match posix_fallocate(file, 0, fixed as i64) {
            Err(Errno::EINTR) => {}
            other => break other,
        }
    };
    allocated.map_err(|e| Error::os(&format!("cannot allocate {fixed} bytes"), e))?;
    unnamed.parent.grant(file, access)?;
    let map = Map::new(file, shape).map_err(|e| file_system.map_refused(e))?;
    // Before the file has its name: a call refused to this process may be allowed to others, which would use the
    // limiter as soon as they can find it.
    file_system.check_calls(file, &map.header().coherence_probe)?;
    fill(map.header(), &shape, name, &config);
    let meta = file.metadata().map_err(|e| Error::os("cannot stat the file", e))?;
    let segment = Segment::new(map, name, path, &meta, file_system);
    segment.initialise(&config);
    Ok(segment)
}

/// Checks that the file system is large enough for the whole file, however much of it is in use.
fn check_room(file: &File, size: u64) -> Result<()> {
    let Ok(stat) = fstatvfs(file) else { return Ok(()) };
    let total = stat.blocks().saturating_mul(stat.fragment_size());
    // 0: a tmpfs without a bound.
    if total == 0 || total >= size {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::NoSpace,
        format!(
            "its table of keys may grow to {} MB, and its file system has {} MB in all; choose a smaller capacity, or a directory on \
             a larger file system (--dir, {}; for /dev/shm in Docker: --shm-size)",
            size >> 20,
            total >> 20,
            crate::directory::DIR_VARIABLE,
        ),
    ))
}

/// Creates a file without a name.
fn nameless(parent: &Parent) -> Result<Unnamed<'_>> {
    let flags = OFlag::O_TMPFILE | OFlag::O_RDWR | OFlag::O_CLOEXEC;
    let fd =
        openat(parent, ".", flags, Mode::S_IRUSR | Mode::S_IWUSR).map_err(|e| parent.creation_error(e))?;
    Ok(Unnamed { file: fd.into(), parent, temporary: None })
}

/// Creates a file under a name that no limiter can have. It stays behind only if this process is killed within the next
/// microseconds.
fn hidden(parent: &Parent) -> Result<Unnamed<'_>> {
    hidden_as(parent, hidden_names())
}

/// Names that no limiter can have, and no other process uses at the same time.
fn hidden_names() -> impl Iterator<Item = String> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    // The PID alone is not unique: two containers that share the directory may both have a process 1.
    (0..1_000).map(|_| {
        let (now, count) = (crate::clock::now().as_nanos(), COUNT.fetch_add(1, Ordering::Relaxed));
        format!(".shm-limit-{}-{now}-{count}", std::process::id())
    })
}

/// Creates the file under the first of these names that is free.
fn hidden_as(parent: &Parent, names: impl Iterator<Item = String>) -> Result<Unnamed<'_>> {
    let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_RDWR | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    for name in names {
        match openat(parent, name.as_str(), flags, Mode::S_IRUSR | Mode::S_IWUSR) {
            Ok(fd) => return Ok(Unnamed { file: fd.into(), parent, temporary: Some(name) }),
            Err(Errno::EEXIST) => {}
            Err(e) => return Err(parent.creation_error(e)),
        }
    }
    Err(parent.creation_error(Errno::EEXIST))
}

/// Links the finished file under its name. `EEXIST`: the name is taken.
fn publish(unnamed: &Unnamed<'_>, name: &str) -> std::result::Result<(), Errno> {
    let refused = |result: &std::result::Result<(), Errno>| !matches!(result, Ok(()) | Err(Errno::EEXIST));
    let parent = unnamed.parent;
    match &unnamed.temporary {
        Some(temporary) => {
            let temporary = temporary.as_str();
            // One step, so that a kill in between cannot leave two names. Not every file system supports it.
            #[cfg(target_env = "gnu")]
            let renamed = renameat2(parent, temporary, parent, name, RenameFlags::RENAME_NOREPLACE);
            #[cfg(not(target_env = "gnu"))]
            let renamed = Err(Errno::ENOSYS);
            if refused(&renamed) {
                return linkat(parent, temporary, parent, name, AtFlags::empty());
            }
            renamed
        }
        None => {
            let by_proc = format!("/proc/self/fd/{}", unnamed.file.as_raw_fd());
            let linked = linkat(AT_FDCWD, by_proc.as_str(), parent, name, AtFlags::AT_SYMLINK_FOLLOW);
            if refused(&linked) {
                // Without /proc; needs a capability, or a kernel that allows this to the process that opened the file.
                return linkat(&unnamed.file, "", parent, name, AtFlags::AT_EMPTY_PATH);
            }
            linked
        }
    }
}

fn fill(header: &Header, shape: &Shape, name: &Name, config: &Config) {
    let set = |word: &AtomicU64, value: u64| word.store(value, Ordering::Relaxed);
    let (id, geometry) = (&header.identity, &header.geometry);
    let clock = host::process_info().clock;
    set(&id.magic, MAGIC);
    set(&id.version, VERSION);
    set(&id.layout, FINGERPRINT);
    set(&id.file_size, shape.file_size() as u64);
    set(&id.boot_id[0], clock.boot_id[0]);
    set(&id.boot_id[1], clock.boot_id[1]);
    set(&id.time_namespace, clock.time_namespace);
    set(&geometry.seats, shape.seats as u64);
    set(&geometry.cells, shape.cells as u64);
    set(&geometry.permits, shape.permits as u64);
    set(&geometry.key_tables, shape.keys.tables as u64);
    set(&geometry.key_rows, shape.keys.rows as u64);
    if shape.keys.tables > 0 {
        let [first, second] = host::random_words();
        set(&geometry.hash_key[0], first);
        set(&geometry.hash_key[1], second);
    }
    for (word, &slots) in geometry.rings.iter().zip(&shape.rings) {
        set(word, slots as u64);
    }
    set(&geometry.name_len, name.as_str().len() as u64);
    set(&geometry.created_ns, config.since.as_nanos());
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    set(&geometry.created_unix, since_1970.as_secs());
    set(&geometry.wall_ns, config.wall.local.wall_ns);
    for (word, chunk) in header.name.iter().zip(name.as_str().as_bytes().chunks(8)) {
        let mut bytes = [0; 8];
        bytes[..chunk.len()].copy_from_slice(chunk);
        set(word, u64::from_le_bytes(bytes));
    }
    set(&id.checksum, header::checksum(header));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_temporary_name_is_skipped() {
        let dir = tempfile::tempdir().unwrap();
        let names = || ["one", "two"].map(|n| format!(".{n}")).into_iter();
        let parent = Parent::of(&dir.path().join("x")).unwrap();
        let first = hidden_as(&parent, names()).unwrap();
        let second = hidden_as(&parent, names()).unwrap();
        assert_eq!(first.temporary.as_deref(), Some(".one"));
        assert_eq!(second.temporary.as_deref(), Some(".two"));
        assert!(hidden_as(&parent, names()).is_err());
        drop((first, second));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
