//! Looking: how full it is, who is here, what was done.

use super::Limiter;
use crate::clock::{self, Nanos};
#[cfg(doc)]
use crate::error::ErrorKind;
use crate::error::{Error, Result};
use crate::limit::{Outlook, Policy};
use crate::seat::{self, Attached, Counts, Probe};
use crate::sync::Ordering;
use std::os::unix::fs::MetadataExt;

impl Limiter {
    /// How full each of its limits is, in their order. Takes nothing.
    ///
    /// # Errors
    /// [`ErrorKind::Retired`], [`ErrorKind::Removed`],
    /// [`ErrorKind::Corrupt`].
    pub fn peek(&self) -> Result<(Vec<Outlook>, Nanos)> {
        self.segment.check_still_there()?;
        loop {
            let seen = if self.segment.has_records() {
                let limits = self.terms()?.policy.limits().count();
                self.segment
                    .records(None)
                    .outlook(&clock::Host)
                    .map(|(seen, now)| (seen.into_iter().take(limits).collect(), now))
            } else {
                self.segment
                    .words()
                    .outlook(&clock::Host)
                    .map(|(seen, now)| (seen.into_iter().collect(), now))
            };
            match seen {
                Ok(seen) => return Ok(seen),
                Err(halt) => self.recover(halt, 0)?,
            }
        }
    }

    /// What all processes did so far, the dead included.
    pub fn counts(&self) -> Counts {
        seat::totals(&self.segment)
    }

    /// Everything that a person wants to know.
    ///
    /// # Errors
    /// [`ErrorKind::Retired`], [`ErrorKind::Removed`], [`ErrorKind::Corrupt`].
    pub fn inspect(&self) -> Result<Inspection> {
        let (outlook, now) = self.peek()?;
        let terms = self.terms()?;
        let (held_by, held) = self.permits().holders(&mut Probe::of(&self.segment));
        let file = self.segment.reopen()?;
        let meta = file.metadata().map_err(|e| Error::os("can't look at it", e))?;
        let regions = &self.segment.fixed().regions;
        Ok(Inspection {
            policy: terms.policy,
            now,
            limits: outlook,
            permits_held: held,
            permit_holders: held_by,
            paused_until: terms.paused_until(now),
            changes: self.segment.generations().epoch().saturating_sub(1),
            counts: self.counts(),
            attached: seat::attached(&self.segment),
            seats: self.segment.seats().len(),
            created: Nanos::from_nanos(regions.created_ns.load(Ordering::Relaxed)),
            created_unix: regions.created_unix.load(Ordering::Relaxed),
            mode: meta.mode() & 0o7777,
            owner: meta.uid(),
            bytes: meta.size(),
        })
    }
}

/// A limiter as seen at one instant.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Inspection {
    /// The limits and permits in force.
    pub policy: Policy,
    /// When this was seen.
    #[cfg_attr(feature = "serde", serde(rename = "now_ns"))]
    pub now: Nanos,
    /// How full each limit is.
    pub limits: Vec<Outlook>,
    /// Permits held by the living.
    pub permits_held: u64,
    /// By which seat, how many. Look the seat up in `attached`.
    pub permit_holders: Vec<(usize, u64)>,
    /// Until when nothing is admitted.
    #[cfg_attr(feature = "serde", serde(rename = "paused_until_ns"))]
    pub paused_until: Option<Nanos>,
    /// How often it was changed, paused, resumed or reset.
    pub changes: u64,
    /// What all processes did so far.
    pub counts: Counts,
    /// The living processes that use it.
    pub attached: Vec<Attached>,
    /// How many could be attached at once and still be told apart.
    pub seats: usize,
    /// When it was created.
    #[cfg_attr(feature = "serde", serde(rename = "created_ns"))]
    pub created: Nanos,
    /// The same in seconds since 1970, by the creator's wall clock.
    pub created_unix: u64,
    /// Permissions of the file.
    pub mode: u32,
    /// Owner of the file.
    pub owner: u32,
    /// Size of the file.
    pub bytes: u64,
}
