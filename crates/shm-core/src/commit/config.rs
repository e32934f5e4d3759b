//! A configuration: the policy of a limiter and its control state.

use crate::clock::{self, Nanos, WallOffset};
use crate::error::{Error, ErrorKind, Result};
use crate::intervals::{CLOCK_STEP, FAR_STEP};
use crate::keyed::{KeyClock, KeyLimit};
use crate::layout::Hash;
use crate::limit::calendar::{LocalTime, Offsets};
use crate::limit::window::{WallClock, Windows};
use crate::limit::{Calendar, Gcra, KeyPolicy, Kind, Limit, LocalDateTime, Policy, Start, Zone};

/// Tells zones apart; the same for the same name.
pub(super) fn zone_tag(words: [u64; Zone::WORDS]) -> u64 {
    words.into_iter().fold(Hash::new(), Hash::word).0
}

/// What a change publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Config {
    pub(crate) policy: Policy,
    /// When it was requested.
    pub(crate) since: Nanos,
    /// End of the pause: nothing is admitted before this.
    pub(crate) not_before: Option<Nanos>,
    /// Whether its generation starts with zero usage.
    pub(crate) starts_empty: bool,
    /// The maximum number of permits that the limiter ever had.
    pub(crate) permits_ever: u32,
    /// Whether it was published because the wall clock was set.
    pub(crate) clock_was_set: bool,
    /// The wall clock that its windows follow. If none does, only its offset has a meaning.
    pub(crate) wall: WallClock,
    /// The clock of the tables of keys. Without limits per key it has no meaning.
    pub(crate) key_clock: KeyClock,
}

impl Config {
    /// The configuration of a new limiter.
    pub(crate) fn new(policy: Policy, since: Nanos) -> Config {
        let permits_ever = policy.permits().unwrap_or(0);
        Config {
            policy,
            since,
            not_before: None,
            starts_empty: true,
            permits_ever,
            clock_was_set: false,
            wall: WallClock::default(),
            key_clock: KeyClock::default(),
        }
    }

    /// The same with another policy.
    pub(crate) fn with(self, policy: Policy) -> Config {
        Config { policy, permits_ever: self.permits_ever.max(policy.permits().unwrap_or(0)), ..self }
    }

    /// The same by the wall clock at `since`. `existing`: the configuration that this one replaces. Its offset is kept if
    /// `offset` differs by no more than an error of measurement.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if the zone of calendar windows is not known, or they cannot follow it.
    pub(crate) fn by_wall_clock(self, offset: WallOffset, existing: Option<&Config>) -> Result<Config> {
        self.policy.check_zones()?;
        let mut wall = self.wall;
        let tolerance = CLOCK_STEP.as_nanos() as u64 + offset.uncertainty_ns;
        if existing.is_none() || wall.local.wall_ns.abs_diff(offset.ns) > tolerance {
            wall.local.wall_ns = offset.ns;
        }
        let here = self.since.as_nanos().saturating_add(wall.local.wall_ns);
        match existing.filter(|old| !self.starts_empty && old.policy.follows_wall_clock()) {
            Some(old) => {
                let ahead = wall.local.wall_ns.saturating_sub(old.wall.local.wall_ns);
                let is_far = ahead >= FAR_STEP.as_nanos() as u64;
                wall.continuous_ns = if is_far { here } else { old.wall.continuous_ns.min(here) };
                wall.earliest_ns = old.wall.earliest_ns.min(here);
            }
            None => (wall.earliest_ns, wall.continuous_ns) = (here, here),
        }
        wall.local.offsets = self.offsets_at(here, existing)?;
        wall.zone = zone_tag(self.policy.zone().unwrap_or(Zone::UTC).words());
        let key_clock = match (existing.and_then(|old| old.policy.keys()), self.policy.keys()) {
            (Some(from), Some(to)) => self.key_clock.changed(from, to, self.since),
            (None, Some(keys)) => KeyClock::new(keys, self.since, wall.local.wall_ns),
            (_, None) => self.key_clock,
        };
        Ok(Config { wall, key_clock, ..self })
    }

    /// Whether its words about the wall clock are not arbitrary ones: the clock was not set by a day since, and shows no
    /// time from before the boot; and no table's clock has an anchor in the future.
    pub(super) fn has_plausible_clock(&self) -> bool {
        let day = Calendar::Day.nominal().as_nanos() as u64;
        let WallClock { local, earliest_ns, continuous_ns, .. } = self.wall;
        let here = self.since.as_nanos().saturating_add(local.wall_ns);
        let times = local.wall_ns.saturating_sub(day)..=here;
        local.wall_ns.abs_diff(clock::wall_offset().ns) <= day
            && self.key_clock.anchors.iter().all(|anchor| anchor.ns <= self.since.as_nanos())
            && (!self.policy.follows_wall_clock()
                || times.contains(&earliest_ns) && times.contains(&continuous_ns))
    }

    /// The same for the offset by which windows per key are aligned: the clock was not set by a day since the creation.
    pub(super) fn has_plausible_key_origin(&self) -> bool {
        let day = Calendar::Day.nominal().as_nanos() as u64;
        self.key_clock.wall_ns.abs_diff(clock::wall_offset().ns) <= day
    }

    /// When the window of this limit that contains `now` ends, if its windows follow the wall clock.
    pub(crate) fn window_end(&self, limit: Limit, now: Nanos) -> Option<(Nanos, LocalDateTime)> {
        let (windows, local) = match limit.kind() {
            Kind::FixedWindow(Start::Epoch) => {
                let wall_ns = self.wall.local.wall_ns;
                let windows = Windows::Aligned { per: limit.rate().per_ns(), wall_ns };
                (windows, LocalTime { wall_ns, offsets: Offsets::default() })
            }
            Kind::CalendarWindow { period, .. } => (Windows::Calendar(period), self.wall.local),
            _ => return None,
        };
        let end = windows.end_after(now.as_nanos(), &local);
        Some((Nanos::from_nanos(end), local.date_time(end)))
    }

    /// The offsets of its zone at this time since 1970.
    fn offsets_at(&self, unix_ns: u64, existing: Option<&Config>) -> Result<Offsets> {
        let Some(zone) = self.policy.zone() else { return Ok(Offsets::default()) };
        let offsets = match (zone.offsets(unix_ns / 1_000_000_000), existing) {
            // A process without time zone data keeps what another one has looked up.
            (Err(_), Some(existing)) if existing.policy.zone() == Some(zone) => existing.wall.local.offsets,
            (offsets, _) => offsets?,
        };
        let has_hours =
            |limit: Limit| matches!(limit.kind(), Kind::CalendarWindow { period: Calendar::Hour, .. });
        if self.policy.limits().any(has_hours) && !offsets.keep_minutes() {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!(
                    "windows of an hour cannot follow the clock of {zone}, which is set forward and back by a part of an \
                     hour; choose another zone, or windows of a day"
                ),
            ));
        }
        Ok(offsets)
    }

    /// When its pause ends, if that is after `now`.
    pub(crate) fn paused_until(&self, now: Nanos) -> Option<Nanos> {
        self.not_before.filter(|&at| at > now)
    }

    /// Whether a pause that ends at `at` still has an effect at `now`: after its end it still prevents a burst.
    pub(crate) fn pause_still_binds(&self, at: Nanos, now: Nanos) -> bool {
        let binds = |limit: Limit| {
            let gcra = Gcra::new(limit, Some(at));
            matches!(limit.kind(), Kind::Bucket { .. }) && gcra.floor > gcra.unused(now)
        };
        let binds_keys = |(index, limit): (usize, Limit)| {
            KeyLimit::of(&KeyLimit::params_of(limit, index, &self.key_clock, Some(at))).is_held_back(now)
        };
        let mut of_keys = self.policy.keys().into_iter().flat_map(KeyPolicy::limits).enumerate();
        at > now || self.policy.limits().any(binds) || of_keys.any(binds_keys)
    }

    /// The parameters of its only limit, if that is a bucket; `None` without a limit.
    pub(crate) fn gcra(&self) -> Option<Gcra> {
        self.policy.first().map(|limit| Gcra::new(limit, self.not_before))
    }
}
