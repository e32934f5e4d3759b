//! A limiter's file: opened if it exists, otherwise created; validated; retired before it is removed.
//!
//! | file | content |
//! |---|---|
//! | `open` | opening an existing file, and validating it as untrusted input |
//! | `header` | the checksum of the header, and which of its words is damaged |
//! | `create` | creating a file, complete before it gets its name |
//! | `access` | owner, group and mode of a new file |
//! | `key_tables` | the tables of limits per key, and their memory |
//! | `messages` | error messages for limiters that cannot decide |
//! | `control` | the lock for changes, and removal |

mod access;
mod control;
mod create;
mod header;
mod key_tables;
mod messages;
mod open;

pub use crate::layout::MAX_SEATS;
pub(crate) use control::{Control, unlink_if};
#[cfg(test)]
pub(crate) use create::shape_for;
pub use create::{DEFAULT_CAPACITY, DEFAULT_SEATS, MAX_CAPACITY};
pub(crate) use create::{capacity_of, rows_for};

use crate::clock;
use crate::commit::{
    CommitError, Config, GenerationState, Generations, Pair, RecordStore, Records, WordState,
};
use crate::directory::Directory;
use crate::error::{Error, ErrorKind, Result};
use crate::layout::{Cell, Header, Place, RETIRED, Seat};
use crate::limit::key_policy::limits_text;
use crate::limit::{Kind, Policy};
use crate::name::Name;
use crate::sync::AtomicU64;
use crate::sys::file_system_proof::FileSystem;
use crate::sys::host;
use crate::sys::map::Map;
use crate::sys::mid_write::Extent;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// How to create a limiter that does not exist yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) config: Config,
    /// `None`: the default of its directory.
    pub(crate) mode: Option<u32>,
    pub(crate) seats: usize,
    /// How many keys its tables are made for, if it has limits per key.
    pub(crate) capacity: u64,
}

/// A validated, mapped limiter file, shared with all other processes that have it mapped.
pub(crate) struct Segment {
    map: Map,
    name: Name,
    path: PathBuf,
    device: u64,
    inode: u64,
    file_system: FileSystem,
}

impl Segment {
    fn new(map: Map, name: &Name, path: &Path, meta: &std::fs::Metadata, file_system: FileSystem) -> Segment {
        Segment {
            map,
            name: name.clone(),
            path: path.to_owned(),
            device: meta.dev(),
            inode: meta.ino(),
            file_system,
        }
    }

    /// Opens the limiter of this name, or creates it if there is a `plan`. Returns whether it was created here.
    pub(crate) fn join(dir: &Directory, name: &Name, plan: Option<&Plan>) -> Result<(Segment, bool)> {
        let path = dir.file(name);
        dir.check(false)?;
        // Queried before a file is open, while a descriptor is still available: without one, the file's clock could not
        // be verified.
        host::process_info();
        // Each iteration means that another process created or removed the name in between.
        for _ in 0..1_000 {
            match open::existing(dir, name, &path) {
                Ok(segment) if segment.is_retired() => {
                    // The process that retired it died before it removed the name, or is about to remove it. But a damaged
                    // epoch is not a retirement.
                    segment.generations().check_retirement().map_err(|why| segment.commit_error(why, 0))?;
                    segment.finish_removal()?;
                    continue;
                }
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                other => {
                    let segment = other.map_err(|e| e.at(name.as_str(), &path))?;
                    match segment.prove_file_system() {
                        // The file was unlinked while it was being opened.
                        Err(e) if e.kind().is_lost() => continue,
                        proved => return proved.map(|()| (segment, false)),
                    }
                }
            }
            let Some(plan) = plan else {
                return Err(Error::new(ErrorKind::NotFound, dir.how_to_create(name)).at(name.as_str(), &path));
            };
            dir.check(true)?;
            match create::new(name, &path, plan) {
                Ok(Some(segment)) => match segment.prove_file_system() {
                    Err(e) if e.kind().is_lost() => {}
                    proved => {
                        return proved.inspect_err(|e| segment.take_back(e)).map(|()| (segment, true));
                    }
                },
                Ok(None) => {}
                Err(e) => return Err(e.at(name.as_str(), &path)),
            }
        }
        Err(Error::new(ErrorKind::Busy, "other processes keep creating and removing it; try again")
            .at(name.as_str(), &path))
    }

    /// Proves that the file system has what a limiter depends on, unless this process has proved it before.
    fn prove_file_system(&self) -> Result<()> {
        self.file_system
            .prove(|| self.reopen(), &self.header().coherence_probe)
            .map_err(|e| e.at(self.name.as_str(), &self.path))
    }

    /// Unlinks the file that was just created on an unsupported file system. No process can be using it: every process
    /// that opens it refuses the file system, too.
    fn take_back(&self, why: &Error) {
        if why.kind() == ErrorKind::Unsupported {
            let _ = unlink_if(&self.path, self.device, self.inode);
        }
    }

    /// The error for a lock that was refused although no other process holds it.
    pub(crate) fn lock_refused(&self, refusal: std::io::Error) -> Error {
        self.file_system.lock_refused(refusal).at(self.name.as_str(), &self.path)
    }

    pub(crate) fn name(&self) -> &Name {
        &self.name
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    #[inline]
    pub(crate) fn header(&self) -> &Header {
        self.map.header()
    }

    #[inline]
    pub(crate) fn seats(&self) -> &[Seat] {
        self.map.seats()
    }

    /// The places of the line.
    #[inline]
    pub(crate) fn places(&self) -> &[Place] {
        self.map.places()
    }

    /// One bit per place: whether its process is in line.
    #[inline]
    pub(crate) fn occupied(&self) -> &[AtomicU64] {
        self.map.occupied()
    }

    /// The records from before the charges of the line's turns.
    pub(crate) fn turn_cells(&self) -> &[Cell] {
        self.map.turn_cells()
    }

    /// The extent of the mapping.
    #[inline]
    pub(crate) fn extent(&self) -> &Extent {
        self.map.extent()
    }

    /// Whether the state is a record; otherwise it is one word.
    #[inline]
    pub(crate) fn has_records(&self) -> bool {
        self.map.shape().cells > 0
    }

    /// The state as one word.
    #[inline]
    pub(crate) fn words(&self) -> WordState<'_> {
        WordState(self.generations())
    }

    /// The state as records. `pair`: the cells to write to, if any.
    #[inline]
    pub(crate) fn records(&self, pair: Option<Pair>) -> Records<'_> {
        let table =
            RecordStore { cells: self.map.cells(), slots: self.map.slots(), rings: &self.map.shape().rings };
        Records { generations: self.generations(), table, pair, check_at_ns: u64::MAX }
    }

    /// Publishes this configuration. The caller holds the control lock, and `pair` is the changer's.
    pub(crate) fn publish(
        &self,
        epoch: u64,
        config: &Config,
        pair: Option<Pair>,
    ) -> std::result::Result<(), CommitError> {
        if self.has_records() {
            self.records(pair).publish(epoch, config, &clock::SystemClock)
        } else {
            self.words().publish(epoch, config, &clock::SystemClock)
        }
    }

    /// Makes sure that the state of this epoch is set, if the epoch is still current. `pair`: where a record can be
    /// prepared.
    pub(crate) fn settle(&self, epoch: u64, pair: Option<Pair>) -> std::result::Result<(), CommitError> {
        if self.has_records() {
            self.records(pair).settle(epoch, &clock::SystemClock)
        } else {
            self.words().settle(epoch, &clock::SystemClock)
        }
    }

    #[inline]
    pub(crate) fn permits(&self) -> &[AtomicU64] {
        self.map.permits()
    }

    /// Whether the file has room for permits.
    #[inline]
    pub(crate) fn has_room_for_permits(&self) -> bool {
        self.map.shape().permits > 0
    }

    fn initialise(&self, config: &Config) {
        if self.has_records() {
            self.records(None).initialise(config);
        } else {
            self.words().initialise(config);
        }
    }

    /// Checks that the file has the room that a policy needs.
    pub(crate) fn has_room_for(&self, policy: &Policy) -> std::result::Result<(), String> {
        let shape = self.map.shape();
        if !policy.fits_a_word() && shape.cells == 0 {
            return Err("it was created for a single bucket".into());
        }
        for (i, limit) in policy.limits().enumerate() {
            if limit.kind() == Kind::Greedy && limit.rate().max() > shape.rings[i] as u64 {
                return Err(format!(
                    "limit {} has room for a greedy limit of at most {} calls",
                    i + 1,
                    shape.rings[i]
                ));
            }
        }
        match (policy.keys().map(|keys| keys.limits().count()), shape.keys.tables) {
            (None, 0) => {}
            (Some(limits), tables) if limits == tables => {}
            (None, _) => return Err("it has tables of keys, so it needs limits per key".into()),
            (Some(_), 0) => return Err("it was created without limits per key".into()),
            (Some(limits), tables) => {
                return Err(format!("it was created for {} per key, not for {limits}", limits_text(tables)));
            }
        }
        if policy.permits().unwrap_or(0) as usize > shape.permits {
            return Err(format!("it has room for at most {} permits", shape.permits));
        }
        Ok(())
    }

    #[inline]
    pub(crate) fn generations(&self) -> Generations<'_> {
        Generations::of(self.header())
    }

    pub(crate) fn is_retired(&self) -> bool {
        self.generations().epoch() & RETIRED != 0
    }

    /// Checks that the path still refers to the mapped file.
    pub(crate) fn check_not_removed(&self) -> Result<()> {
        match std::fs::symlink_metadata(&self.path) {
            Ok(meta) if self.is_this(&meta) => Ok(()),
            Ok(_) => Err(self.removed("another file has its name now")),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Err(self.removed("its file is gone")),
            // Lack of permission to stat the file is not a sign of removal.
            Err(_) => Ok(()),
        }
    }

    /// Opens the file again, with a descriptor of its own.
    pub(crate) fn reopen(&self) -> Result<std::fs::File> {
        let name_it = |e: Error| e.at(self.name.as_str(), &self.path);
        let file = open::file(&self.path).map_err(|e| match e.kind() {
            ErrorKind::NotFound => self.removed("its file is gone"),
            _ => name_it(e),
        })?;
        match file.metadata() {
            Ok(meta) if self.is_this(&meta) => Ok(file),
            Ok(_) => Err(self.removed("another file has its name now")),
            Err(e) => Err(name_it(Error::os("cannot stat the file", e))),
        }
    }

    /// Whether this process is known to have the clock under which the file was created. A child may have been born into
    /// another time namespace.
    pub(crate) fn has_this_clock(&self) -> bool {
        host::process_info().clock.compare(open::clock_of(self.header())) == host::ClockMatch::Yes
    }

    /// Identifies the file on this machine: device and inode.
    pub(crate) fn file_id(&self) -> (u64, u64) {
        (self.device, self.inode)
    }

    fn is_this(&self, meta: &std::fs::Metadata) -> bool {
        meta.dev() == self.device && meta.ino() == self.inode
    }
}
