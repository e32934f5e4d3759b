//! Fixed window counters, and the sliding window counter, which estimates from two of them.

use super::MAX_WAIT;
use super::calendar::{Calendar, LocalTime};

/// Words of state.
pub(crate) const FIXED_WORDS: usize = 2;
pub(crate) const SLIDING_WORDS: usize = 3;

/// The parameters of one fixed window limit: at most `max` in each window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FixedWindow {
    pub(crate) max: u64,
    pub(crate) windows: Windows,
}

/// A partition of time into windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Windows {
    /// Of `per`, without a gap since 1970. The wall clock is ahead of instants by `wall_ns`.
    Aligned { per: u64, wall_ns: u64 },
    /// Of `per`, each beginning with the first use after the previous one ended.
    FirstUse { per: u64 },
    /// Of the calendar in local time.
    Calendar(Calendar),
}

/// What windows need to know about the wall clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct WallClock {
    pub(crate) local: LocalTime,
    /// Tells zones apart.
    pub(crate) zone: u64,
    /// The earliest wall-clock time since the usage began to be counted, in nanoseconds since 1970.
    pub(crate) earliest_ns: u64,
    /// From this time on the wall clock has shown all times up to the present one: since then it was not set forward by
    /// as much as an hour.
    pub(crate) continuous_ns: u64,
}

/// The last window with an admission.
///
/// If it begins after the time of the last admission, the wall clock was set back: the windows before it were in use
/// already, and how much of them is unknown. Nothing is admitted until it begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FixedState {
    pub(crate) start: u64,
    pub(crate) used: u64,
}

impl FixedState {
    pub(crate) fn read(words: &[u64]) -> FixedState {
        FixedState { start: words[0], used: words[1] }
    }

    pub(crate) fn write(self, words: &mut [u64]) {
        (words[0], words[1]) = (self.start, self.used);
    }
}

impl Windows {
    /// The start of the window that contains `at`, if no window is open.
    fn start_of(&self, at: u64, local: &LocalTime) -> u64 {
        match *self {
            // A window that began before time 0 is clamped to begin at 0.
            Windows::Aligned { per, wall_ns } => at.saturating_sub(at.saturating_add(wall_ns) % per.max(1)),
            Windows::FirstUse { .. } => at,
            Windows::Calendar(period) => local.start_of(period, local.index_of(period, at)),
        }
    }

    /// The end of the window that begins at `start`.
    fn end_of(&self, start: u64, local: &LocalTime) -> u64 {
        match *self {
            Windows::Aligned { per, wall_ns } if start == 0 => per.saturating_sub(wall_ns % per.max(1)),
            Windows::Aligned { per, .. } | Windows::FirstUse { per } => start.saturating_add(per),
            Windows::Calendar(period) => local.start_of(period, local.index_of(period, start) + 1),
        }
    }

    /// The end of the window that contains `at`.
    pub(crate) fn end_after(&self, at: u64, local: &LocalTime) -> u64 {
        self.end_of(self.start_of(at, local), local)
    }

    /// The start of the window `n` windows after the one that begins at `start`; `None` if that is not representable.
    fn start_after(&self, start: u64, n: u64, local: &LocalTime) -> Option<u64> {
        match *self {
            Windows::Aligned { per, .. } | Windows::FirstUse { per } => {
                let Some(more) = n.checked_sub(1) else { return Some(start) };
                self.end_of(start, local).checked_add(more.checked_mul(per)?)
            }
            Windows::Calendar(period) => {
                let index = local.index_of(period, start).checked_add(n)?;
                Some(local.start_of(period, index)).filter(|&start| start < u64::MAX)
            }
        }
    }

    /// How many windows after that of `now` the one that begins at `start` is.
    fn distance(&self, now: u64, start: u64, local: &LocalTime) -> u64 {
        match *self {
            Windows::Aligned { per, .. } | Windows::FirstUse { per } => {
                start.saturating_sub(now).div_ceil(per.max(1))
            }
            Windows::Calendar(_) if start <= now => 0,
            Windows::Calendar(period) => {
                local.index_of(period, start).saturating_sub(local.index_of(period, now))
            }
        }
    }

    /// The number, by the wall clock, of the window that contains `at`.
    fn index_of(&self, at: u64, local: &LocalTime) -> u64 {
        let wall_ns = if let Windows::Aligned { wall_ns, .. } = *self { wall_ns } else { local.wall_ns };
        self.index_at_unix(at.saturating_add(wall_ns), local)
    }

    /// The same for a time since 1970.
    fn index_at_unix(&self, unix_ns: u64, local: &LocalTime) -> u64 {
        match *self {
            Windows::Aligned { per, .. } => unix_ns / per.max(1),
            Windows::FirstUse { .. } => 0,
            Windows::Calendar(period) => local.index_at_unix(period, unix_ns),
        }
    }

    /// The start of the window with this number.
    fn start_of_index(&self, index: u64, local: &LocalTime) -> u64 {
        match *self {
            Windows::Aligned { per, wall_ns } => {
                index.checked_mul(per).map_or(u64::MAX, |unix_ns| unix_ns.saturating_sub(wall_ns))
            }
            Windows::FirstUse { .. } => 0,
            Windows::Calendar(period) => local.start_of(period, index),
        }
    }

    /// Whether both are the same windows of the same wall clock, whatever that shows.
    fn are_those_of(&self, other: &Windows) -> bool {
        match (self, other) {
            (Windows::Aligned { per: a, .. }, Windows::Aligned { per: b, .. })
            | (Windows::FirstUse { per: a }, Windows::FirstUse { per: b }) => a == b,
            (Windows::Calendar(a), Windows::Calendar(b)) => a == b,
            _ => false,
        }
    }
}

impl FixedWindow {
    /// Whether `at` lies beyond the state's window; true if there is none yet.
    fn is_over(&self, state: &FixedState, at: u64, local: &LocalTime) -> bool {
        at >= self.windows.end_of(state.start, local) || *state == FixedState::default()
    }

    /// The first instant at which `cost` more conform.
    pub(crate) fn ready(&self, state: &FixedState, cost: u64, local: &LocalTime) -> u64 {
        if state.used.saturating_add(cost) <= self.max {
            // Later than the last admission only after the wall clock was set back.
            state.start
        } else {
            self.windows.end_of(state.start, local)
        }
    }

    /// Charges `cost` at `at`.
    pub(crate) fn charge(&self, state: &mut FixedState, at: u64, cost: u64, local: &LocalTime) {
        if self.is_over(state, at, local) {
            *state = FixedState { start: self.windows.start_of(at, local), used: 0 };
        }
        state.used = state.used.saturating_add(cost);
    }

    /// Refunds up to `amount` of a charge at `at`, if that window is still the last one. Returns how much.
    pub(crate) fn refund(&self, state: &mut FixedState, at: u64, amount: u64, local: &LocalTime) -> u64 {
        if at >= state.start && !self.is_over(state, at, local) { take(&mut state.used, amount) } else { 0 }
    }

    /// A debt of `amount`, as if single calls had queued from `base` on: it fills this window, then whole future
    /// windows. Returns the instant of the last call; `None` if that is not representable.
    pub(crate) fn debt(
        &self,
        state: &mut FixedState,
        base: u64,
        amount: u64,
        local: &LocalTime,
    ) -> Option<u64> {
        let mut next = *state;
        if self.is_over(&next, base, local) {
            next = FixedState { start: self.windows.start_of(base, local), used: 0 };
        }
        let here = amount.min(self.max.saturating_sub(next.used));
        next.used = next.used.saturating_add(here);
        if let Some(before_last) = (amount - here).checked_sub(1) {
            let (windows, max) = (before_last / self.max.max(1), self.max.max(1));
            let start = self.windows.start_after(next.start, windows.checked_add(1)?, local)?;
            next = FixedState { start, used: before_last % max + 1 };
        }
        *state = next;
        Some(base.max(next.start))
    }

    /// The usage in the window of `now`. If a queue extends beyond a window, that window is full.
    pub(crate) fn used(&self, state: &FixedState, now: u64, local: &LocalTime) -> u64 {
        if state.start > now {
            self.max
        } else if self.is_over(state, now, local) {
            0
        } else {
            state.used.min(self.max)
        }
    }

    /// How many of the used calls are turns in future windows.
    pub(crate) fn queued(&self, state: &FixedState, now: u64, local: &LocalTime) -> u64 {
        let windows = self.windows.distance(now, state.start, local);
        windows.saturating_sub(1).saturating_mul(self.max).saturating_add(if windows > 0 {
            state.used
        } else {
            0
        })
    }

    /// The state in which `used` calls were admitted in the window of `now`. With zero usage, no window is open.
    pub(crate) fn as_if(&self, used: u64, now: u64, local: &LocalTime) -> FixedState {
        match used {
            0 => FixedState::default(),
            _ => FixedState { start: self.windows.start_of(now, local), used: used.min(self.max) },
        }
    }

    /// The state with which the same windows continue at `now` under another `max`. Usage is not clamped to the new
    /// `max`, because some of it may be refunded. If turns in future windows are dropped, this window is full. `last`:
    /// the time of the last admission.
    pub(crate) fn carry(&self, state: &FixedState, now: u64, last: u64, local: &LocalTime) -> FixedState {
        if state.start > now && state.start <= last {
            FixedState { start: self.windows.start_of(now, local), used: u64::MAX }
        } else {
            *state
        }
    }

    /// Whether the state of this limit can be [realigned](Self::realigned) for `next`.
    pub(crate) fn has_windows_of(&self, next: &FixedWindow, from: &WallClock, to: &WallClock) -> bool {
        let same_zone = !matches!(self.windows, Windows::Calendar(_)) || from.zone == to.zone;
        same_zone && self.windows.are_those_of(&next.windows)
    }

    /// The state with which the same windows continue at `now` if the wall clock was set: `from` before, `to` now.
    ///
    /// A call counts in the window in which the wall clock placed it when it was admitted. So usage continues if this is
    /// still the window of the last admission, by its number, and a later window starts with nothing used. If it is an
    /// earlier window than that of the last admission:
    ///
    /// - If the clock has already been in it since it was last set far forward: it was in all windows up to that of the
    ///   last admission. How much of them was used is unknown, so nothing is admitted until the window of the last
    ///   admission begins again, and there its usage continues.
    /// - If the clock has never been in it since usage is counted: the calls of the last window are taken to be of this
    ///   one. (The clock was ahead when the limiter was created.)
    /// - If the clock may have been in it before it was set far forward: it is full.
    pub(crate) fn realigned(
        &self,
        state: &FixedState,
        now: u64,
        next: &FixedWindow,
        from: &WallClock,
        to: &WallClock,
    ) -> FixedState {
        let is_same = self.windows == next.windows && from.local == to.local;
        if is_same || *state == FixedState::default() || matches!(self.windows, Windows::FirstUse { .. }) {
            return *state;
        }
        let (windows, local) = (&next.windows, &to.local);
        let (then, here) = (self.windows.index_of(state.start, &from.local), windows.index_of(now, local));
        let start = windows.start_of_index(then, local);
        let has_been_since = |unix_ns| windows.index_at_unix(unix_ns, local) <= here;
        if then <= here {
            // A window that is over is kept, in case that the clock is set back into it; if it ended before time 0, it
            // cannot be represented.
            let is_known = windows.index_of(start, local) == then;
            return if is_known { FixedState { start, used: state.used } } else { FixedState::default() };
        }
        let longest = now.saturating_add(MAX_WAIT.as_nanos() as u64);
        if has_been_since(from.continuous_ns) && start <= longest {
            return FixedState { start, used: state.used };
        }
        let used = if has_been_since(from.earliest_ns) { u64::MAX } else { state.used };
        FixedState { start: windows.start_of(now, local), used }
    }

    /// The same if a queue extends beyond the window of `now`, and `before` is the state before that queue: everything
    /// admitted in this window since then was admitted under this `max`. `is_alone`: the turns waited for this limit
    /// only, so each window of the queue began when its predecessor ended.
    pub(crate) fn without_queue(
        &self,
        state: &FixedState,
        before: &FixedState,
        now: u64,
        is_alone: bool,
        local: &LocalTime,
    ) -> FixedState {
        if state.start <= now || before.start > now {
            // In the second case the wall clock was set back, and all turns at this limit are later.
            return if state.start <= now { *state } else { *before };
        }
        if !self.is_over(before, now, local) {
            return FixedState { start: before.start, used: before.used.max(self.max) };
        }
        let start = match self.windows {
            Windows::Aligned { .. } | Windows::Calendar(_) => self.windows.start_of(now, local),
            Windows::FirstUse { per } if is_alone => {
                let windows = self.windows.distance(now, state.start, local);
                state.start.saturating_sub(windows.saturating_mul(per))
            }
            // Leaving room in a window that begins too early would make the next window begin too early, too.
            Windows::FirstUse { .. } => return self.carry(state, now, u64::MAX, local),
        };
        FixedState { start, used: self.max }
    }
}

/// Subtracts up to `amount` from a count, and returns how much.
fn take(count: &mut u64, amount: u64) -> u64 {
    let amount = amount.min(*count);
    *count -= amount;
    amount
}

/// The parameters of one sliding counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlidingCounter {
    pub(crate) max: u64,
    pub(crate) per: u64,
}

/// The count of the last window with an admission, and that of its predecessor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SlidingState {
    pub(crate) start: u64,
    pub(crate) used: u64,
    pub(crate) before: u64,
}

impl SlidingState {
    pub(crate) fn read(words: &[u64]) -> SlidingState {
        SlidingState { start: words[0], used: words[1], before: words[2] }
    }

    pub(crate) fn write(self, words: &mut [u64]) {
        (words[0], words[1], words[2]) = (self.start, self.used, self.before);
    }
}

impl SlidingCounter {
    /// The state advanced to the window of `at`.
    fn at(&self, state: &SlidingState, at: u64) -> SlidingState {
        let windows = at.saturating_sub(state.start) / self.per.max(1);
        let start = state.start.saturating_add(windows.saturating_mul(self.per));
        match windows {
            0 => *state,
            1 => SlidingState { start, used: 0, before: state.used },
            _ => SlidingState { start, used: 0, before: 0 },
        }
    }

    /// How far into a window `before` still weighs too much for `room` more.
    fn too_early(&self, before: u64, room: u64) -> u64 {
        if before <= room {
            return 0;
        }
        // before·(per − o)/per ≤ room, that is o ≥ per − room·per/before.
        self.per - (u128::from(room) * u128::from(self.per) / u128::from(before)) as u64
    }

    /// The first instant at which `cost` more conform.
    pub(crate) fn ready(&self, state: &SlidingState, cost: u64) -> u64 {
        match self.max.checked_sub(state.used.saturating_add(cost)) {
            Some(room) => match self.too_early(state.before, room) {
                0 => 0,
                wait => state.start.saturating_add(wait),
            },
            None => {
                let wait = self.too_early(state.used, self.max.saturating_sub(cost));
                state.start.saturating_add(self.per).saturating_add(wait)
            }
        }
    }

    /// Charges `cost` at `at`.
    pub(crate) fn charge(&self, state: &mut SlidingState, at: u64, cost: u64) {
        *state = self.at(state, at);
        state.used = state.used.saturating_add(cost);
    }

    /// Refunds up to `amount` of a charge at `at`, if it still counts. Returns how much.
    pub(crate) fn refund(&self, state: &mut SlidingState, at: u64, amount: u64) -> u64 {
        if at >= state.start.saturating_add(self.per) {
            0
        } else if at >= state.start {
            take(&mut state.used, amount)
        } else if at.saturating_add(self.per) >= state.start {
            take(&mut state.before, amount)
        } else {
            0
        }
    }

    /// A debt of `amount`, as if single calls had queued from `base` on. Returns the instant of the last call; `None`
    /// if that is not representable.
    ///
    /// A window in which the previous window still counts never reaches `max`: its last call conforms only when nothing
    /// of the previous window counts, which is in the next window. So after a few windows, each window (or each pair of
    /// windows if `max` is 1) holds the same number, and those are skipped in one step.
    pub(crate) fn debt(&self, state: &mut SlidingState, base: u64, amount: u64) -> Option<u64> {
        let per = self.per.max(1);
        let mut s = self.at(state, base);
        // Fills a window; returns the rest of the amount.
        let fill = |s: &mut SlidingState, amount: u64| {
            let most = self.max.saturating_sub(s.before.div_ceil(per));
            let here = amount.min(most.saturating_sub(s.used));
            s.used = s.used.saturating_add(here);
            amount - here
        };
        let next = |s: &SlidingState| {
            Some(SlidingState { start: s.start.checked_add(per)?, used: 0, before: s.used })
        };
        let mut left = fill(&mut s, amount);
        for round in 0..2 {
            for _ in 0..4 {
                if left > 0 {
                    s = next(&s)?;
                    left = fill(&mut s, left);
                }
            }
            if round == 0 && left > 0 {
                let two_windows = s.used.saturating_add(s.before);
                let times = (left - 1).checked_div(two_windows)?;
                s.start = s.start.checked_add(times.checked_mul(2)?.checked_mul(per)?)?;
                left -= times * two_windows;
            }
        }
        // A rest remains only with corrupt parameters.
        s.used = s.used.saturating_add(left);
        *state = s;
        let wait = self.too_early(s.before, self.max.saturating_sub(s.used));
        Some(base.max(s.start.checked_add(wait)?))
    }

    /// An upper bound of the turns in future windows.
    pub(crate) fn queued(&self, state: &SlidingState, now: u64) -> u64 {
        match state.start.saturating_sub(now).div_ceil(self.per.max(1)) {
            0 => 0,
            1 => state.used,
            windows => {
                (windows - 2).saturating_mul(self.max).saturating_add(state.before).saturating_add(state.used)
            }
        }
    }

    /// The estimate at `now`, rounded up.
    pub(crate) fn used(&self, state: &SlidingState, now: u64) -> u64 {
        if state.start > now {
            return self.max;
        }
        let s = self.at(state, now);
        let left = s.start.saturating_add(self.per).saturating_sub(now).min(self.per);
        let before = (u128::from(s.before) * u128::from(left)).div_ceil(u128::from(self.per.max(1))) as u64;
        s.used.saturating_add(before).min(self.max)
    }

    /// The state whose estimate at `now` is `used`.
    pub(crate) fn as_if(&self, used: u64, now: u64) -> SlidingState {
        SlidingState { start: now, used: used.min(self.max), before: 0 }
    }

    /// The state with which the same windows continue at `now` under another `max`. If turns in future windows are
    /// dropped, nothing more is admitted in the window of `now`.
    pub(crate) fn carry(&self, state: &SlidingState, now: u64) -> SlidingState {
        if state.start <= now {
            return *state;
        }
        let windows = (state.start - now).div_ceil(self.per.max(1));
        let start = state.start.saturating_sub(windows.saturating_mul(self.per));
        // The usage of that window is still known if it is the predecessor of the last one.
        let used = if windows == 1 { state.before } else { u64::MAX };
        SlidingState { start, used, before: u64::MAX }
    }

    /// The same if `before` is the state before the dropped queue: everything admitted since then was admitted under
    /// this `max`.
    pub(crate) fn without_queue(
        &self,
        state: &SlidingState,
        before: &SlidingState,
        now: u64,
    ) -> SlidingState {
        if state.start <= now {
            return *state;
        }
        let windows = (state.start - now).div_ceil(self.per.max(1));
        let start = state.start.saturating_sub(windows.saturating_mul(self.per));
        let here = self.at(before, start);
        let used = if windows == 1 { state.before } else { here.used.max(self.max) };
        let before = if here.start == before.start { here.before } else { here.before.max(self.max) };
        SlidingState { start, used, before }
    }
}
