//! A limiter's file: open first, create second; validated; retired before it is removed.
//!
//! | file | what |
//! |---|---|
//! | `open` | an existing file, checked as the untrusted input that it is |
//! | `create` | a new one, finished before it has a name |
//! | `access` | whose a new one is, and who may use it |
//! | `messages` | what is said of a limiter that cannot decide |
//! | `control` | the lock of those who change it, and taking the name away |

mod access;
mod control;
mod create;
mod messages;
mod open;

pub use crate::layout::MAX_SEATS;
pub(crate) use control::{Control, unlink_if};
pub use create::DEFAULT_SEATS;

use crate::clock;
use crate::commit::{
    CommitError, Config, GenerationState, Generations, Pair, RecordStore, Records, WordState,
};
use crate::directory::Directory;
use crate::error::{Error, ErrorKind, Result};
use crate::layout::{Cell, Header, Place, RETIRED, Seat};
use crate::limit::{Kind, Policy};
use crate::name::Name;
use crate::sync::AtomicU64;
use crate::sys::ground::Ground;
use crate::sys::host;
use crate::sys::map::Map;
use crate::sys::mid_write::Extent;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// How to make a limiter that isn't there yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) config: Config,
    /// `None`: as is usual in its directory.
    pub(crate) mode: Option<u32>,
    pub(crate) seats: usize,
}

/// A validated limiter in memory. Shared with all other processes that have the same file mapped.
pub(crate) struct Segment {
    map: Map,
    name: Name,
    path: PathBuf,
    device: u64,
    inode: u64,
    ground: Ground,
}

impl Segment {
    fn new(map: Map, name: &Name, path: &Path, meta: &std::fs::Metadata, ground: Ground) -> Segment {
        Segment {
            map,
            name: name.clone(),
            path: path.to_owned(),
            device: meta.dev(),
            inode: meta.ino(),
            ground,
        }
    }

    /// Joins the limiter of this name, or creates it when `plan` says how. Returns whether it was created here.
    pub(crate) fn join(dir: &Directory, name: &Name, plan: Option<&Plan>) -> Result<(Segment, bool)> {
        let path = dir.file(name);
        dir.check(false)?;
        // While there is a descriptor to ask with: with the file open there may be none left, and the file's clock would be
        // taken on trust.
        host::me();
        // Each turn of the loop means that another process created or removed the name in between.
        for _ in 0..1_000 {
            match open::existing(dir, name, &path) {
                Ok(segment) if segment.is_retired() => {
                    // Whoever retired it died before taking the name away, or is about to.
                    segment.finish_removal()?;
                    continue;
                }
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                other => {
                    let segment = other.map_err(|e| e.at(name.as_str(), &path))?;
                    match segment.prove_ground() {
                        // The file lost its name while it was being opened.
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
                Ok(Some(segment)) => match segment.prove_ground() {
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

    /// Proves that this file system keeps what a limiter rests on, unless this process has done so before.
    fn prove_ground(&self) -> Result<()> {
        self.ground
            .prove(|| self.reopen(), &self.fixed().ground)
            .map_err(|e| e.at(self.name.as_str(), &self.path))
    }

    /// Unlinks what was just created, if nobody can have joined it: whoever finds it on a file system that keeps no limiter
    /// refuses it, too.
    fn take_back(&self, why: &Error) {
        if why.kind() == ErrorKind::Unsupported {
            let _ = unlink_if(&self.path, self.device, self.inode);
        }
    }

    /// The error for a refused lock that nobody else holds.
    pub(crate) fn lock_refused(&self, refusal: std::io::Error) -> Error {
        self.ground.lock_refused(refusal).at(self.name.as_str(), &self.path)
    }

    pub(crate) fn name(&self) -> &Name {
        &self.name
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    #[inline]
    pub(crate) fn fixed(&self) -> &Header {
        self.map.fixed()
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

    /// A bit for each place: whether somebody stands there.
    #[inline]
    pub(crate) fn standing(&self) -> &[AtomicU64] {
        self.map.standing()
    }

    /// The records before the turns of the line were charged.
    pub(crate) fn turn_cells(&self) -> &[Cell] {
        self.map.turn_cells()
    }

    /// Where it is mapped.
    #[inline]
    pub(crate) fn extent(&self) -> &Extent {
        self.map.extent()
    }

    /// Whether its state is a record; otherwise it is a word.
    #[inline]
    pub(crate) fn has_records(&self) -> bool {
        self.map.shape().cells > 0
    }

    /// Its state as a word.
    #[inline]
    pub(crate) fn words(&self) -> WordState<'_> {
        WordState(self.generations())
    }

    /// Its state as records, to be written to this pair of cells if any.
    #[inline]
    pub(crate) fn records(&self, pair: Option<Pair>) -> Records<'_> {
        let table =
            RecordStore { cells: self.map.cells(), slots: self.map.slots(), rings: &self.map.shape().rings };
        Records { generations: self.generations(), table, pair }
    }

    /// Puts this configuration in force. The caller holds the control lock, and `pair` is the changer's.
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

    /// Whether it could have permits.
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

    /// Whether this file has the room that a policy needs.
    pub(crate) fn has_room_for(&self, policy: &Policy) -> std::result::Result<(), String> {
        let shape = self.map.shape();
        if !policy.fits_a_word() && shape.cells == 0 {
            return Err("it was made for one limit that is a bucket".into());
        }
        for (i, limit) in policy.limits().enumerate() {
            if limit.kind() == Kind::Greedy && limit.rate().max() > shape.rings[i] as u64 {
                return Err(format!(
                    "limit {} has room for a greedy limit of at most {}",
                    i + 1,
                    shape.rings[i]
                ));
            }
        }
        if policy.permits().unwrap_or(0) as usize > shape.permits {
            return Err(format!("it has room for at most {} permits", shape.permits));
        }
        Ok(())
    }

    #[inline]
    pub(crate) fn generations(&self) -> Generations<'_> {
        Generations::of(self.fixed())
    }

    pub(crate) fn is_retired(&self) -> bool {
        self.generations().epoch() & RETIRED != 0
    }

    /// Whether this path still leads to the file that is mapped here.
    pub(crate) fn check_not_removed(&self) -> Result<()> {
        match std::fs::symlink_metadata(&self.path) {
            Ok(meta) if self.is_this(&meta) => Ok(()),
            Ok(_) => Err(self.removed("another file has its name now")),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Err(self.removed("its file is gone")),
            // Not allowed to look (any more) is no sign of removal.
            Err(_) => Ok(()),
        }
    }

    /// The file once more, on a descriptor of its own.
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

    /// What tells its file from all others on this machine.
    pub(crate) fn file_id(&self) -> (u64, u64) {
        (self.device, self.inode)
    }

    fn is_this(&self, meta: &std::fs::Metadata) -> bool {
        meta.dev() == self.device && meta.ino() == self.inode
    }
}
