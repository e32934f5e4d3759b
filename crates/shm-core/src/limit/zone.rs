//! A time zone by name, and its offsets from UTC.
//!
//! Only a process that publishes a configuration looks up offsets (feature `zones`), and writes them into the file.
//! Processes that decide read them there: two containers with different time zone data never disagree.

use super::calendar::Offsets;
use crate::error::{Error, ErrorKind, Result};
use std::fmt;

/// A time zone of the IANA database, such as `Europe/Berlin`, or UTC. Only its name: the offsets are looked up when a limiter
/// is created or changed.
///
/// ```
/// # use shm_core::limit::Zone;
/// # fn main() -> shm_core::Result<()> {
/// assert_eq!(Zone::named("UTC")?, Zone::UTC);
/// # #[cfg(feature = "zones")]
/// assert_eq!(Zone::named("europe/berlin")?.name(), "Europe/Berlin");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Zone([u8; Zone::LEN]);

impl Zone {
    pub(crate) const LEN: usize = 40;
    /// Words of the file that hold a name.
    pub(crate) const WORDS: usize = Zone::LEN / 8;
    /// Coordinated universal time, the default.
    pub const UTC: Zone = Zone([0; Zone::LEN]);

    /// The zone with this name. All zones except UTC need the feature `zones`, and time zone data: that of the system
    /// (`/usr/share/zoneinfo`), or with the feature `zones-bundled` that of the program if the system has none.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for a name that is not known.
    pub fn named(name: &str) -> Result<Zone> {
        if name.eq_ignore_ascii_case("UTC") {
            return Ok(Zone::UTC);
        }
        let known = database::canonical_name(name)?;
        if known == "Etc/UTC" {
            return Ok(Zone::UTC);
        }
        Zone::from_name(&known).ok_or_else(|| bad(format!("{name:?} is not a valid name of a time zone")))
    }

    /// The zone of this machine: `TZ`, or `/etc/localtime`. Needs the feature `zones`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if the machine's zone has no name that is known.
    pub fn local() -> Result<Zone> {
        Zone::named(&database::local_name()?)
    }

    /// Its name; `UTC` for [`UTC`](Self::UTC).
    pub fn name(&self) -> &str {
        let end = self.0.iter().position(|&b| b == 0).unwrap_or(Self::LEN);
        match std::str::from_utf8(&self.0[..end]) {
            Ok("") | Err(_) => "UTC",
            Ok(name) => name,
        }
    }

    fn from_name(name: &str) -> Option<Zone> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"/_+-.".contains(&b);
        if name.is_empty() || name.len() > Self::LEN || !name.bytes().all(plain) || name == "UTC" {
            return None;
        }
        let mut bytes = [0; Self::LEN];
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        Some(Zone(bytes))
    }

    pub(crate) fn words(self) -> [u64; Zone::WORDS] {
        std::array::from_fn(|i| u64::from_le_bytes(std::array::from_fn(|k| self.0[8 * i + k])))
    }

    /// The zone stored in a segment; `None` if the words are not a valid name.
    pub(crate) fn from_words(words: [u64; Zone::WORDS]) -> Option<Zone> {
        let mut bytes = [0; Self::LEN];
        for (to, word) in bytes.chunks_mut(8).zip(words) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        let zone = Zone(bytes);
        (zone == Zone::UTC || Zone::from_name(zone.name()) == Some(zone)).then_some(zone)
    }

    /// Its offsets from UTC from shortly before this Unix time on.
    pub(crate) fn offsets(self, unix: u64) -> Result<Offsets> {
        if self == Zone::UTC {
            return Ok(Offsets::default());
        }
        database::offsets(self.name(), i64::try_from(unix).unwrap_or(i64::MAX))
    }
}

fn bad(why: String) -> Error {
    Error::new(ErrorKind::InvalidInput, why)
}

impl Default for Zone {
    fn default() -> Zone {
        Zone::UTC
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(feature = "zones")]
pub(super) mod database {
    use super::{Offsets, Result, bad};
    use jiff::Timestamp;
    use jiff::tz::TimeZone;

    /// The system's time zone data first: an administrator keeps it up to date.
    fn find(name: &str) -> Option<TimeZone> {
        let _no_fork = without_forks();
        let zone = TimeZone::get(name).ok();
        #[cfg(feature = "zones-bundled")]
        let zone = zone.or_else(|| jiff::tz::TimeZoneDatabase::bundled().get(name).ok());
        zone.filter(|zone| !zone.is_unknown())
    }

    /// `jiff` caches the data under a lock of the process, which a child forked meanwhile would find locked for ever.
    #[cfg(not(model))]
    fn without_forks() -> impl Drop {
        crate::sys::fork_gate::NoFork::enter()
    }

    #[cfg(model)]
    fn without_forks() {}

    fn found(name: &str) -> Result<TimeZone> {
        find(name).ok_or_else(|| {
            let data = if cfg!(feature = "zones-bundled") || find("Europe/Berlin").is_some() {
                "write it as in the IANA time zone database, for example Europe/Berlin"
            } else {
                "this machine seems to have no time zone data; install it (the package tzdata), or build the program \
                 with the feature zones-bundled"
            };
            bad(format!("{name:?} is not a known time zone; {data}"))
        })
    }

    pub(super) fn canonical_name(name: &str) -> Result<String> {
        Ok(found(name)?.iana_name().unwrap_or(name).to_owned())
    }

    pub(super) fn local_name() -> Result<String> {
        let _no_fork = without_forks();
        let named = TimeZone::try_system().ok().and_then(|zone| zone.iana_name().map(str::to_owned));
        named.ok_or_else(|| {
            bad("this machine's time zone has no known name; name a zone, for example Europe/Berlin".into())
        })
    }

    pub(super) fn offsets(name: &str, unix: i64) -> Result<Offsets> {
        offsets_of(&found(name)?, unix).map_err(|why| {
            bad(format!("windows cannot follow the calendar of {name}: {why}; choose another zone"))
        })
    }

    pub(crate) fn offsets_of(zone: &TimeZone, unix: i64) -> std::result::Result<Offsets, &'static str> {
        let base = Offsets::base(unix);
        let from = Timestamp::from_second(base).map_err(|_| "the clock is out of range")?;
        let changes = zone.following(from);
        let changes = changes.map(|t| (t.timestamp().as_second(), i64::from(t.offset().seconds())));
        Offsets::pack(base, i64::from(zone.to_offset(from).seconds()), changes)
    }
}

#[cfg(not(feature = "zones"))]
mod database {
    use super::{Error, Offsets, Result, bad};

    fn unknown() -> Error {
        bad("this program knows no time zone but UTC; choose UTC, or build it with the feature zones of shm-lib".into())
    }

    pub(super) fn canonical_name(_: &str) -> Result<String> {
        Err(unknown())
    }

    pub(super) fn local_name() -> Result<String> {
        Err(unknown())
    }

    pub(super) fn offsets(_: &str, _: i64) -> Result<Offsets> {
        Err(unknown())
    }
}
