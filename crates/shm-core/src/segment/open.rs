//! Opening an existing file. Nothing in it is trusted before it is validated.

use super::{Segment, header};
use crate::clock;
use crate::directory::Directory;
use crate::error::{Error, ErrorKind, Result};
use crate::layout::{FINGERPRINT, Header, MAGIC, NAME_WORDS, SEATS_OFFSET, Shape, ShapeWords, VERSION};
use crate::limit::format_span;
use crate::name::{MAX_NAME, Name};
use crate::sync::{AtomicPair, AtomicU64, Ordering};
use crate::sys::file_system_proof::FileSystem;
use crate::sys::host;
use crate::sys::map::Whole;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use std::fs::{File, Metadata};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::Path;
use std::time::Duration;

/// Opens the file itself: never creates, follows no link, never blocks.
pub(super) fn file(path: &Path) -> Result<File> {
    let flags = OFlag::O_RDWR | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    match open(path, flags, Mode::empty()) {
        Ok(fd) => Ok(File::from(fd)),
        Err(Errno::ENOENT) => Err(Error::new(ErrorKind::NotFound, "it does not exist")),
        Err(Errno::ELOOP) => Err(not_a_limiter("a symbolic link")),
        Err(Errno::EISDIR) => Err(not_a_limiter("a directory")),
        Err(Errno::ENXIO) => Err(not_a_limiter("a socket")),
        Err(Errno::ENOTDIR) => {
            let dir = path.parent().unwrap_or(path).display();
            Err(Error::os(
                &format!("{dir} is not a directory; choose another one (SHM_LIMIT_DIR)"),
                Errno::ENOTDIR,
            ))
        }
        Err(errno @ (Errno::EACCES | Errno::EPERM)) => Err(refused(path, errno)),
        Err(errno) => Err(Error::os("cannot open the file", errno)),
    }
}

/// Why this user may not open the file, with a remedy.
#[cold]
fn refused(path: &Path, errno: Errno) -> Error {
    let me = nix::unistd::geteuid();
    let Ok(meta) = std::fs::symlink_metadata(path) else {
        let dir = path.parent().unwrap_or(path).display();
        return Error::os(
            &format!(
                "uid {me} has no permission to search {dir}; run as a user who has, or choose another directory (SHM_LIMIT_DIR)"
            ),
            errno,
        );
    };
    let (owner, group, mode) = (meta.uid(), meta.gid(), meta.mode() & 0o7777);
    let file = path.display();
    // In a world-writable directory, other users would not trust this file, whatever its mode.
    let is_for_others = path
        .parent()
        .and_then(|dir| std::fs::metadata(dir).ok())
        .is_none_or(|dir| owner == 0 || owner == dir.uid() || dir.mode() & 0o002 == 0);
    let remedy = if owner == me.as_raw() {
        format!("give yourself access: chmod u+rw {file}")
    } else if is_for_others {
        format!(
            "run as uid {owner}, or have that user share it: chmod 660 {file} for its group, or 666 for every user"
        )
    } else {
        format!(
            "run as uid {owner}, or choose another directory: only uid {owner} itself can use its files in this one"
        )
    };
    Error::os(
        &format!(
            "uid {me} has no permission to read and write the file (owner uid {owner}, group gid {group}, mode \
             {mode:03o}); {remedy}"
        ),
        errno,
    )
}

fn not_a_limiter(what: &str) -> Error {
    Error::new(
        ErrorKind::NotALimiter,
        format!("{what} is in its place; move that away, or choose another name or directory"),
    )
}

/// Opens, checks and maps the file.
pub(super) fn existing(dir: &Directory, name: &Name, path: &Path) -> Result<Segment> {
    let (file, meta) = settled_file(dir, name, path)?;
    let size = usize::try_from(meta.size()).unwrap_or(usize::MAX);
    // Mapped first: the shape is in the file's own header.
    let file_system = FileSystem::of(&file)?;
    let whole = Whole::of(&file, size).map_err(|e| file_system.map_refused(e))?;
    // If something else is wrong because a word is damaged, the damage is the cause.
    let damage = |words: &Header| header::damaged_word(words, size, name, path);
    let shape =
        shape_of(whole.header(), size, name, path).map_err(|e| damage(whole.header()).unwrap_or(e))?;
    let map = whole.shaped(shape);
    check_header(map.header(), &shape, name, path).map_err(|e| damage(map.header()).unwrap_or(e))?;
    file_system.check_calls(&file, &map.header().coherence_probe)?;
    check_processor(&shape)?;
    Ok(Segment::new(map, name, path, &meta, file_system))
}

/// Checks that this processor has what a table of keys needs.
pub(super) fn check_processor(shape: &Shape) -> Result<()> {
    if shape.keys.tables == 0 || AtomicPair::is_lock_free() {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Unsupported,
        "limits per key need a processor that replaces 16 bytes in one step (x86-64 with cmpxchg16b, or aarch64), and this one \
         does not; limits of all keys together work here",
    ))
}

/// The file, checked from outside, once it has exactly one link.
fn settled_file(dir: &Directory, name: &Name, path: &Path) -> Result<(File, Metadata)> {
    for _ in 0..50 {
        let file = file(path)?;
        let meta = file.metadata().map_err(|e| Error::os("cannot stat the file", e))?;
        // First, so that callers do not wait for files that are refused anyway.
        check_file(dir, (name, path), &file, &meta)?;
        match meta.nlink() {
            1 => return Ok((file, meta)),
            // 0: just removed. 2: just created on a file system without O_TMPFILE, with the temporary name not yet
            // unlinked.
            0 | 2 => std::thread::sleep(Duration::from_millis(1)),
            _ => break,
        }
    }
    Err(Error::new(
        ErrorKind::Untrusted,
        "the file has more than one hard link, so other users may reach it from elsewhere; remove the other links",
    ))
}

fn check_file(dir: &Directory, (name, path): (&Name, &Path), file: &File, meta: &Metadata) -> Result<()> {
    if !meta.is_file() {
        let kind = meta.file_type();
        return Err(not_a_limiter(if kind.is_fifo() { "a FIFO" } else { "a device" }));
    }
    if !dir.trusts(meta.uid()) {
        return Err(Error::new(
            ErrorKind::Untrusted,
            format!(
                "its file belongs to uid {owner}, who is not trusted here: {whose}; remove the file, or choose another \
                 directory (--dir, SHM_LIMIT_DIR)",
                owner = meta.uid(),
                whose = dir.trust_description(),
            ),
        ));
    }
    if meta.size() < SEATS_OFFSET as u64 {
        // Too short for a header. The header of another version may be shorter: report that version. A short read
        // leaves zeros.
        let mut bytes = [0; 24];
        let _ = file.read_at(&mut bytes, 0);
        let word = |i: usize| u64::from_ne_bytes(std::array::from_fn(|k| bytes[i * 8 + k]));
        check_format(word(0), word(1), word(2), name, path)?;
        return Err(wrong_size(meta.size(), name, path));
    }
    Ok(())
}

fn wrong_size(size: u64, name: &Name, path: &Path) -> Error {
    header::corrupt(&format!("its size, {size} bytes, does not match its header"), name, path)
}

/// The shape according to the header, if the file has the corresponding size.
fn shape_of(header: &Header, size: usize, name: &Name, path: &Path) -> Result<Shape> {
    let get = |w: &AtomicU64| w.load(Ordering::Relaxed);
    let (id, r) = (&header.identity, &header.geometry);
    check_format(get(&id.magic), get(&id.version), get(&id.layout), name, path)?;
    Shape::checked(&ShapeWords::of(r))
        .filter(|shape| shape.file_size() == size)
        .ok_or_else(|| wrong_size(size as u64, name, path))
}

fn check_format(magic: u64, version: u64, layout: u64, name: &Name, path: &Path) -> Result<()> {
    if magic != MAGIC {
        return Err(Error::new(
            ErrorKind::NotALimiter,
            format!(
                "another file is in its place; move that away (or run `{}`, which deletes it), or choose another name or \
                 directory",
                header::removal(name, path)
            ),
        ));
    }
    if version != VERSION || layout != FINGERPRINT {
        return Err(Error::new(
            ErrorKind::Incompatible,
            format!(
                "it has format {version} (layout {layout:016x}), but this program reads format {VERSION} (layout \
                 {FINGERPRINT:016x}); use the same version of shm-limit \
                 everywhere, or remove the limiter with the version that created it"
            ),
        ));
    }
    Ok(())
}

fn check_header(header: &Header, shape: &Shape, name: &Name, path: &Path) -> Result<()> {
    let get = |w: &AtomicU64| w.load(Ordering::Relaxed);
    let id = &header.identity;
    check_format(get(&id.magic), get(&id.version), get(&id.layout), name, path)?;
    let corrupt = |what: &str| Err(header::corrupt(what, name, path));
    if get(&id.checksum) != header::checksum(header) {
        return Err(header::wrong_checksum(header, name, path));
    }
    let r = &header.geometry;
    let now = Shape::checked(&ShapeWords::of(r));
    if get(&id.file_size) != shape.file_size() as u64 || now != Some(*shape) {
        return corrupt("the file's size does not match its header");
    }
    if stored_name(header).as_deref() != Some(name.as_str().as_bytes()) {
        let stored = stored_name(header).unwrap_or_default();
        let stored = String::from_utf8_lossy(&stored);
        return corrupt(&format!("its file is that of the limiter {stored:?}, renamed or copied"));
    }
    check_clock(host::process_info().clock, clock_of(header), get(&r.wall_ns), get(&r.created_ns), name, path)
}

/// The clock under which the file was created.
pub(super) fn clock_of(header: &Header) -> host::ClockIdentity {
    let get = |w: &AtomicU64| w.load(Ordering::Relaxed);
    let id = &header.identity;
    host::ClockIdentity {
        boot_id: [get(&id.boot_id[0]), get(&id.boot_id[1])],
        time_namespace: get(&id.time_namespace),
    }
}

/// How far the wall clock may be set without [`check_clock`] mistaking a file for one of another boot.
const WALL_TOLERANCE: Duration = Duration::from_secs(1);

/// Checks that times in the file have the same meaning for this process.
///
/// Where the boot id or the time namespace is unknown on either side, the wall clock decides: CLOCK_REALTIME is the
/// same in all time namespaces, and is slewed together with CLOCK_BOOTTIME. So their difference is constant while the
/// machine runs and nobody sets the wall clock. After a reboot it differs, because no machine reboots within
/// [`WALL_TOLERANCE`]; in another time namespace it differs by the namespace's offset. If the wall clock was set, a
/// usable limiter is refused. No unusable limiter is accepted, except from a time namespace that is ahead by less than
/// [`WALL_TOLERANCE`].
///
/// A machine without a battery-backed clock, which boots with the same wall time each time, cannot be distinguished
/// from its earlier boots this way, except by times in the future.
fn check_clock(
    here: host::ClockIdentity,
    made_under: host::ClockIdentity,
    wall_ns: u64,
    created_ns: u64,
    name: &Name,
    path: &Path,
) -> Result<()> {
    let unless_in_use =
        || format!("if no process uses it, run `{}` and open it again", header::removal(name, path));
    match here.compare(made_under) {
        host::ClockMatch::Yes => return Ok(()),
        host::ClockMatch::No => {
            // Do not suggest removal of a live limiter of another namespace, as long as it can be recognised as such.
            let same_boot = here.boot_id == made_under.boot_id && here.boot_id != [0, 0];
            let why = if same_boot {
                "it was created in another time namespace, so its times have another meaning here; use it there, or choose \
                 another directory here (SHM_LIMIT_DIR)"
                    .to_owned()
            } else {
                format!(
                    "it was created before this machine was started, or in another time namespace, so its times have no \
                     meaning here; {}",
                    unless_in_use()
                )
            };
            return Err(Error::new(ErrorKind::OtherClock, why));
        }
        host::ClockMatch::Unknown => {}
    }
    let difference = Duration::from_nanos(clock::wall_offset().ns.abs_diff(wall_ns));
    if difference <= WALL_TOLERANCE && created_ns <= clock::now().as_nanos() {
        return Ok(());
    }
    let (reason, remedy) = if here.is_known() {
        ("the process that created it had no /proc", unless_in_use())
    } else {
        ("/proc is not mounted here", "mount /proc, then open it again".to_owned())
    };
    Err(Error::new(
        ErrorKind::OtherClock,
        format!(
            "it may have been created before this machine was started, or in another time namespace, so its times \
             may have no meaning here: {reason}, so that could not be confirmed, and \
             judging by the wall clock the clocks are {} apart; {remedy}",
            format_span(Duration::from_millis(difference.as_millis().try_into().unwrap_or(u64::MAX)))
        ),
    ))
}

fn stored_name(header: &Header) -> Option<Vec<u8>> {
    let len =
        usize::try_from(header.geometry.name_len.load(Ordering::Relaxed)).ok().filter(|&n| n <= MAX_NAME)?;
    let mut bytes: Vec<u8> =
        header.name.iter().flat_map(|w| w.load(Ordering::Relaxed).to_le_bytes()).collect();
    bytes.truncate(len);
    Some(bytes)
}

const _: () = assert!(MAX_NAME <= NAME_WORDS * 8);
