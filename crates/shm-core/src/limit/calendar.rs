//! Calendar windows: hours, days, weeks and months in the local time of a zone. Pure arithmetic on plain values.
//!
//! Windows are numbered, and every instant is in exactly one: [`LocalTime::index_of`] is monotonic, and
//! [`LocalTime::start_of`] is the first instant of a window. A day, week or month begins at the first instant at which
//! the local date has reached its first day. So where a clock is set back over midnight, the new day goes on; where it
//! is set forward over midnight, the new day begins with that.
//!
//! Everything here is total: garbage in the words gives a meaningless number, but no panic and no endless loop.
//!
//! Dates: Howard Hinnant, "chrono-compatible low-level date algorithms"
//! (<https://howardhinnant.github.io/date_algorithms.html>), `days_from_civil` and `civil_from_days`.

use std::fmt;
use std::time::Duration;

const SECOND_NS: u64 = 1_000_000_000;
const QUARTER_HOUR: i64 = 900;
const HOUR: i64 = 3_600;
const DAY: i64 = 86_400;
/// Offsets from UTC are shorter than a day. So local seconds plus a day are never negative.
const MAX_OFFSET: i64 = DAY - 60;
/// Window numbers beyond this begin after the last instant that 64 bits of nanoseconds can represent.
const MAX_INDEX: u64 = 10_000_000;

/// The changes of a zone's offset that a file has room for: 16 years with two a year.
const TRANSITIONS: usize = 32;
/// How long the table begins before the present: the current window may have begun under another offset.
#[cfg(any(feature = "zones", test))]
const LOOK_BACK: i64 = 40 * DAY;

/// The period of a calendar window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Calendar {
    /// 60 minutes. A window begins when the local clock shows a full hour. An hour that the local clock shows twice is
    /// two windows.
    Hour,
    /// From midnight to midnight: 23 or 25 hours when the local clock is changed.
    Day,
    /// From Monday to Monday.
    Week,
    /// From the first of a month to the first of the next.
    Month,
}

impl Calendar {
    pub(super) const ALL: [Calendar; 4] = [Calendar::Hour, Calendar::Day, Calendar::Week, Calendar::Month];

    /// The usual length: that of a rate per hour, day, week (7 days) or month (30.44 days).
    pub fn nominal(self) -> Duration {
        Duration::from_secs(match self {
            Calendar::Hour => 3_600,
            Calendar::Day => 86_400,
            Calendar::Week => 7 * 86_400,
            // As in the text form of rates: a twelfth of 365.25 days.
            Calendar::Month => 2_630_016,
        })
    }

    /// The period whose usual length is `per`.
    pub(super) fn of_nominal(per: Duration) -> Option<Calendar> {
        Calendar::ALL.into_iter().find(|period| period.nominal() == per)
    }

    pub(crate) fn code(self) -> u64 {
        match self {
            Calendar::Hour => 0,
            Calendar::Day => 1,
            Calendar::Week => 2,
            Calendar::Month => 3,
        }
    }

    /// Any code means a period.
    pub(crate) fn of_code(code: u64) -> Calendar {
        Calendar::ALL[(code % 4) as usize]
    }
}

impl fmt::Display for Calendar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Calendar::Hour => "hour",
            Calendar::Day => "day",
            Calendar::Week => "week",
            Calendar::Month => "month",
        })
    }
}

/// A zone's offsets from UTC from some instant on, packed as in the file. All zeros: UTC.
///
/// Word 0: bits 0–15 the first offset in minutes (signed), bits 16–23 the number of transitions, bits 32–63 the base in
/// quarter hours since 1970. Then a half word for each transition: bits 12–31 its quarter hours since the base, bits
/// 0–11 the offset from then on in minutes (signed). After the last transition, its offset holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Offsets([u64; Offsets::WORDS]);

/// A span of Unix time with one offset, in seconds.
#[derive(Clone, Copy, Debug)]
struct Segment {
    start: i64,
    /// Exclusive.
    end: i64,
    offset: i64,
}

impl Offsets {
    pub(crate) const WORDS: usize = 1 + TRANSITIONS / 2;
    #[cfg(test)]
    pub(crate) const UTC: Offsets = Offsets([0; Offsets::WORDS]);

    pub(crate) fn words(&self) -> [u64; Offsets::WORDS] {
        self.0
    }

    /// Any words: the result is total, but means something only if the words were written by [`words`](Self::words).
    pub(crate) fn from_words(words: [u64; Offsets::WORDS]) -> Offsets {
        Offsets(words)
    }

    fn len(&self) -> usize {
        ((self.0[0] >> 16 & 0xff) as usize).min(TRANSITIONS)
    }

    /// The segments in order. The first begins at 1970, and the last never ends.
    fn segments(&self) -> impl Iterator<Item = Segment> + '_ {
        let base = i64::from((self.0[0] >> 32) as u32) * QUARTER_HOUR;
        let clamped = |minutes: i64| (minutes * 60).clamp(-MAX_OFFSET, MAX_OFFSET);
        let transition = move |i: usize| {
            let half = (self.0[1 + i / 2] >> (32 * (i % 2))) as u32;
            // Shifted up and down again to extend the sign.
            let minutes = i64::from((half << 20) as i32 >> 20);
            (base + i64::from(half >> 12) * QUARTER_HOUR, clamped(minutes))
        };
        let mut start = 0;
        let mut offset = clamped(i64::from(self.0[0] as u16 as i16));
        (0..=self.len()).map(move |i| {
            // Garbage may be out of order; then a segment is empty.
            let (end, next) = if i < self.len() { transition(i) } else { (i64::MAX, offset) };
            let segment = Segment { start, end: end.max(start), offset };
            (start, offset) = (segment.end, next);
            segment
        })
    }

    /// The offset at this Unix time, in seconds.
    fn at(&self, unix: i64) -> i64 {
        self.segments().find(|s| unix < s.end).map_or(0, |s| s.offset)
    }

    /// The latest local time that was reached up to this Unix time, in seconds since the day before 1970.
    fn latest_local(&self, unix: i64) -> i64 {
        let reached = |s: Segment| unix.min(s.end.saturating_sub(1)) + s.offset + DAY;
        let begun = self.segments().take_while(|s| s.start <= unix).filter(|s| s.start < s.end);
        begun.map(reached).max().unwrap_or(0)
    }

    /// The first Unix time at which that local time is reached.
    fn first_at(&self, local: i64) -> i64 {
        let first = |s: Segment| (local.saturating_sub(DAY + s.offset)).max(s.start);
        self.segments().find_map(|s| Some(first(s)).filter(|&at| at < s.end)).unwrap_or(i64::MAX)
    }

    /// Where hours begin, in seconds after a full hour of UTC counted backwards.
    fn phase(&self) -> i64 {
        self.segments().next().map_or(0, |s| s.offset.rem_euclid(HOUR))
    }

    /// Whether [`pack`](Self::pack) can have packed it.
    pub(crate) fn is_sound(&self) -> bool {
        let count = (self.0[0] >> 16 & 0xffff) as usize;
        let half = |i: usize| (self.0[1 + i / 2] >> (32 * (i % 2))) as u32;
        let unused = |i: &usize| half(*i) == 0;
        if count > TRANSITIONS || !(count..TRANSITIONS).all(|i| unused(&i)) {
            return false;
        }
        let minutes = (0..count).map(|i| i64::from((half(i) << 20) as i32 >> 20));
        let offsets = std::iter::once(i64::from(self.0[0] as u16 as i16)).chain(minutes);
        let is_ordered = (1..count).all(|i| half(i - 1) >> 12 < half(i) >> 12);
        let mut last = None;
        is_ordered
            && offsets.into_iter().all(|minutes| {
                let before = last.replace(minutes);
                minutes.abs() * 60 <= MAX_OFFSET
                    && before.is_none_or(|before| minutes != before && (minutes - before).abs() * 60 < DAY)
            })
    }

    /// Whether windows of an hour are possible: the minutes of the offset never change.
    pub(crate) fn keep_minutes(&self) -> bool {
        self.segments().all(|s| s.offset.rem_euclid(HOUR) == self.phase())
    }

    /// Packs a table: the first offset in seconds, then transitions (Unix time, offset), as many as there is room for.
    /// The base is a quarter hour.
    ///
    /// # Errors
    /// Why the table cannot be represented exactly.
    #[cfg(any(feature = "zones", test))]
    pub(super) fn pack(
        base: i64,
        first: i64,
        transitions: impl Iterator<Item = (i64, i64)>,
    ) -> Result<Offsets, &'static str> {
        let whole_minutes = "its offset from UTC is not a whole number of minutes";
        let minutes = |seconds: i64| match seconds % 60 {
            0 if seconds.abs() <= MAX_OFFSET => Ok(seconds / 60),
            0 => Err("its offset from UTC is a day or more"),
            _ => Err(whole_minutes),
        };
        let base_quarters = u32::try_from(base / QUARTER_HOUR).map_err(|_| "the clock is out of range")?;
        let mut words = [0; Offsets::WORDS];
        let (mut count, mut last, mut last_at) = (0, first, base);
        for (at, offset) in transitions.take_while(|&(at, _)| (at - base) / QUARTER_HOUR < 1 << 20) {
            if offset == last {
                continue;
            }
            if count == TRANSITIONS {
                break;
            }
            if at % QUARTER_HOUR != 0 || at <= last_at {
                return Err("its offset from UTC changes at an instant that is not a quarter hour");
            }
            if (offset - last).abs() >= DAY {
                return Err("its calendar omits or repeats a day");
            }
            let half = ((at - base) / QUARTER_HOUR) as u64 & 0xf_ffff;
            let half = half << 12 | (minutes(offset)? as u64 & 0xfff);
            words[1 + count / 2] |= half << (32 * (count % 2));
            (count, last, last_at) = (count + 1, offset, at);
        }
        words[0] = (minutes(first)? as u64 & 0xffff) | (count as u64) << 16 | u64::from(base_quarters) << 32;
        Ok(Offsets(words))
    }

    /// The base of a table for this present, in Unix seconds.
    #[cfg(any(feature = "zones", test))]
    pub(super) fn base(now: i64) -> i64 {
        (now - LOOK_BACK).max(0) / QUARTER_HOUR * QUARTER_HOUR
    }
}

/// How local time follows from this crate's instants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LocalTime {
    /// Nanoseconds to add to an instant for nanoseconds since 1970.
    pub(crate) wall_ns: u64,
    pub(crate) offsets: Offsets,
}

impl LocalTime {
    /// The number of the window that contains `at`. Monotonic.
    pub(crate) fn index_of(&self, period: Calendar, at: u64) -> u64 {
        self.index_at_unix(period, at.saturating_add(self.wall_ns))
    }

    /// The same for an instant of the wall clock, in nanoseconds since 1970.
    pub(crate) fn index_at_unix(&self, period: Calendar, unix_ns: u64) -> u64 {
        let unix = (unix_ns / SECOND_NS) as i64;
        if period == Calendar::Hour {
            return ((unix + self.offsets.phase()) / HOUR) as u64;
        }
        // Since 31 December 1969, a Wednesday.
        let days = self.offsets.latest_local(unix) / DAY;
        let index = match period {
            Calendar::Hour | Calendar::Day => days,
            Calendar::Week => (days + 2) / 7,
            Calendar::Month => {
                let (year, month, _) = civil_from_days(days - 1);
                (year - 1_969) * 12 + month - 1
            }
        };
        index.max(0) as u64
    }

    /// The first instant of this window, clamped to the instants that can be represented.
    pub(crate) fn start_of(&self, period: Calendar, index: u64) -> u64 {
        if index > MAX_INDEX {
            return u64::MAX;
        }
        let index = index as i64;
        let unix = match period {
            Calendar::Hour => index * HOUR - self.offsets.phase(),
            Calendar::Day => self.offsets.first_at(index * DAY),
            Calendar::Week => self.offsets.first_at((index * 7 - 2) * DAY),
            Calendar::Month => {
                let days = days_from_civil(1_969 + index / 12, index % 12 + 1, 1);
                self.offsets.first_at((days + 1) * DAY)
            }
        };
        match u64::try_from(unix.max(0)).ok().and_then(|unix| unix.checked_mul(SECOND_NS)) {
            Some(unix_ns) => unix_ns.saturating_sub(self.wall_ns),
            None => u64::MAX,
        }
    }

    /// Date and time of the zone at `at`.
    pub(crate) fn date_time(&self, at: u64) -> LocalDateTime {
        let unix = (at.saturating_add(self.wall_ns) / SECOND_NS) as i64;
        LocalDateTime { unix, offset: self.offsets.at(unix) }
    }
}

/// A date and time in some zone, to the second.
///
/// `Display` writes it as `2026-12-01 00:00:00 +01:00`, and `{:#}` as `2026-12-01T00:00:00+01:00` (RFC 3339).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalDateTime {
    unix: i64,
    offset: i64,
}

impl LocalDateTime {
    /// Seconds since 1970, UTC.
    pub fn unix(self) -> i64 {
        self.unix
    }
}

impl fmt::Display for LocalDateTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let local = self.unix + self.offset;
        let (year, month, day) = civil_from_days(local.div_euclid(DAY));
        let second = local.rem_euclid(DAY);
        let (hour, minute, second) = (second / HOUR, second / 60 % 60, second % 60);
        let (sign, offset) = (if self.offset < 0 { '-' } else { '+' }, self.offset.abs());
        let (between, before) = if f.alternate() { ("T", "") } else { (" ", " ") };
        write!(f, "{year:04}-{month:02}-{day:02}{between}{hour:02}:{minute:02}:{second:02}{before}")?;
        write!(f, "{sign}{:02}:{:02}", offset / HOUR, offset / 60 % 60)
    }
}

/// Days since 1970-01-01 of a date in the proleptic Gregorian calendar.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    // Years begin in March, so that the leap day is the last of one.
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Year, month and day of a number of days since 1970-01-01.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day_of_year - (153 * shifted + 2) / 5 + 1)
}
