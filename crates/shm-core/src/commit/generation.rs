//! Generations: every control operation is one move to a new configuration with its own state.
//!
//! A changer (under the control lock) fills the next place of the ring, leaves its state unset and publishes it by
//! the epoch word. Whoever meets the unset state helps: it freezes the old state, computes the new one from it and
//! swaps it in. A changer that dies has either not begun or is done. The invariants:
//!
//! 1. A place is written only while no epoch that names it is current, and only after every state of the epochs
//!    before is settled. So there is at most one unset state to help with.
//! 2. Nothing is committed to a frozen state, and what was committed before the freeze is in the frozen value.
//! 3. `unset(e)` contains `e` and is never the value of another generation. So a helper that slept through changes
//!    swaps in nothing.
//! 4. A helper that slept through a whole turn of the ring may freeze the *current* state. That loses nothing: the
//!    value is still there, and whoever meets it publishes the same terms again (`Halt::Frozen`).
//! 5. A decision that slept that long never goes uncharged: it notices, and starts over (`word::reserve`). To charge
//!    the wrong generation first it would have to meet the very word that it once read. All generations count from
//!    the same instant, so a word is a time: under the same rate the same word means the same, and the charge is one
//!    that could have been made; under two rates the words differ for all practical purposes. It stays charged.

use super::word::{Halt, Word};
use crate::clock::{Clock, Nanos};
use crate::layout::{Fixed, GENERATIONS, Generation, Hash, LimitWords, RETIRED};
use crate::limit::{Gcra, Limit, MAX_WAIT, Rate, Ticks};
use crate::sync::{AtomicU64, Ordering, fence};
use std::time::Duration;

/// A configuration, as somebody asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) limit: Limit,
    /// When it was asked for.
    pub(crate) since: Nanos,
    /// Admit nothing before this.
    pub(crate) not_before: Option<Nanos>,
    /// Start with nothing used.
    pub(crate) forget: bool,
}

impl Terms {
    pub(crate) fn gcra(&self) -> Gcra {
        Gcra::new(self.limit, self.not_before)
    }

    fn words(&self, number: u64) -> ([u64; 5], [u64; 7]) {
        let gcra = self.gcra();
        let about = [
            number,
            u64::from(self.forget),
            self.since.as_nanos(),
            self.not_before.map_or(0, Nanos::as_nanos),
            1,
        ];
        let limit = [
            self.limit.rate().max(),
            self.limit.rate().per().as_nanos() as u64,
            gcra.burst,
            u64::from(gcra.ticks.shift),
            gcra.ticks.per_ns,
            gcra.ticks.inverse,
            gcra.floor,
        ];
        (about, limit)
    }
}

fn about_words(g: &Generation) -> [&AtomicU64; 5] {
    let a = &g.about;
    [&a.number, &a.forget, &a.since_ns, &a.not_before_ns, &a.limits]
}

fn limit_words(l: &LimitWords) -> [&AtomicU64; 7] {
    [&l.max, &l.per_ns, &l.burst, &l.shift, &l.ticks_per_ns, &l.ns_per_tick, &l.floor]
}

fn checksum(about: [u64; 5], limit: [u64; 7]) -> u64 {
    about.into_iter().chain(limit).fold(Hash::new(), Hash::word).0
}

/// The epoch word and the ring it points into.
#[derive(Clone, Copy)]
pub(crate) struct Generations<'a> {
    pub(super) epoch: &'a AtomicU64,
    ring: &'a [Generation; GENERATIONS],
}

impl<'a> Generations<'a> {
    #[inline]
    pub(crate) fn of(fixed: &'a Fixed) -> Self {
        Generations { epoch: &fixed.news.epoch, ring: &fixed.generations }
    }

    #[cfg(loom)]
    pub(super) fn for_loom(epoch: &'a AtomicU64, ring: &'a [Generation; GENERATIONS]) -> Self {
        Generations { epoch, ring }
    }

    /// The current epoch. Acquire: pairs with the Release in `publish`.
    #[inline]
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// The place of this epoch's generation.
    #[inline]
    pub(super) fn place(&self, epoch: u64) -> &'a Generation {
        &self.ring[(epoch % GENERATIONS as u64) as usize]
    }

    /// The numbers for a decision. Possibly rubbish: the caller checks that the epoch is still current
    /// (`is_current`), and the arithmetic on them can't fail.
    #[inline]
    pub(super) fn gcra(&self, epoch: u64) -> Gcra {
        let l = &self.place(epoch).limits[0];
        let get = |w: &AtomicU64| w.load(Ordering::Relaxed);
        Gcra {
            ticks: Ticks {
                shift: get(&l.shift) as u32 & 63,
                per_ns: get(&l.ticks_per_ns),
                inverse: get(&l.ns_per_tick),
            },
            burst: get(&l.burst),
            floor: get(&l.floor),
        }
    }

    /// Whether what was read from `epoch`'s place before this call is that generation's.
    #[inline]
    pub(super) fn is_current(&self, epoch: u64) -> bool {
        // Pairs with the Release fence in `publish`: who read a word of the next tenant of a place also sees the
        // epoch that was current when it was written.
        fence(Ordering::Acquire);
        self.epoch.load(Ordering::Relaxed) == epoch
    }

    /// Whether a swap that succeeded in `epoch`'s place, just before this call, was in that generation.
    #[inline]
    pub(super) fn still_in_place(&self, epoch: u64) -> bool {
        // The swap was an Acquire; a new tenant's state is stored with Release after the epoch before it was
        // published. So if the swap met a new tenant, this load sees an epoch at least GENERATIONS - 1 further.
        let later = self.epoch.load(Ordering::Relaxed) & !RETIRED;
        later.wrapping_sub(epoch) < GENERATIONS as u64 - 1
    }

    /// The terms in force, fully checked.
    pub(crate) fn terms(&self) -> Result<(u64, Terms), Halt> {
        loop {
            let epoch = self.epoch();
            let g = self.place(epoch);
            let about = about_words(g).map(|w| w.load(Ordering::Relaxed));
            let limit = limit_words(&g.limits[0]).map(|w| w.load(Ordering::Relaxed));
            let sum = g.about.checksum.load(Ordering::Relaxed);
            if !self.is_current(epoch) {
                continue;
            }
            let [number, forget, since, not_before, _] = about;
            let terms = || {
                let rate = Rate::new(limit[0], Duration::from_nanos(limit[1])).ok()?;
                let terms = Terms {
                    limit: Limit::with_burst(rate, limit[2]).ok()?,
                    since: Nanos::from_nanos(since),
                    not_before: (not_before != 0).then_some(Nanos::from_nanos(not_before)),
                    forget: forget != 0,
                };
                // The numbers for decisions must be those that follow from the terms.
                let pause_is_possible = terms.not_before.is_none_or(|at| at <= terms.since.plus(MAX_WAIT));
                (pause_is_possible && terms.words(number) == (about, limit)).then_some(terms)
            };
            if number != epoch & !RETIRED || sum != checksum(about, limit) {
                return Err(Halt::Damaged("the configuration does not match its checksum"));
            }
            let terms = terms().ok_or(Halt::Damaged("the configuration is not one that can be asked for"))?;
            return Ok((epoch, terms));
        }
    }

    /// Fills a segment that nobody else sees yet.
    pub(crate) fn initialise(&self, terms: &Terms) {
        self.fill(1, terms);
        self.place(1).state.word.store(Word::live(terms.gcra().unused(terms.since)), Ordering::Relaxed);
        self.epoch.store(1, Ordering::Relaxed);
    }

    fn fill(&self, number: u64, terms: &Terms) {
        let g = self.place(number);
        let (about, limit) = terms.words(number);
        for (word, value) in about_words(g).into_iter().zip(about) {
            word.store(value, Ordering::Relaxed);
        }
        for (word, value) in limit_words(&g.limits[0]).into_iter().zip(limit) {
            word.store(value, Ordering::Relaxed);
        }
        g.about.checksum.store(checksum(about, limit), Ordering::Relaxed);
    }

    /// Makes `terms` the ones in force, in place of those of `epoch`. The caller holds the control lock.
    ///
    /// Killed before the last store nothing has happened; after it, it is done.
    pub(crate) fn publish(&self, epoch: u64, terms: &Terms, clock: &impl Clock) -> Result<(), Halt> {
        match self.settle(epoch, clock) {
            Ok(()) | Err(Halt::Frozen) => {}
            Err(halt) => return Err(halt),
        }
        let next = epoch + 1;
        // Pairs with the Acquire fence in `is_current`.
        fence(Ordering::Release);
        self.fill(next, terms);
        // Release: pairs with the Acquire swap before `still_in_place`. A swap and no store, so that it and the freeze
        // of a helper that overslept have one order for loom too (it takes stores and swaps for unordered).
        self.place(next).state.word.swap(Word::Unset(next).encode(), Ordering::AcqRel);
        // Release: pairs with the Acquire in `epoch`. A swap, because a second changer here means a lost lock.
        if self.epoch.compare_exchange(epoch, next, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            return Err(Halt::Damaged("two changes at once, though one held the lock"));
        }
        Ok(())
    }

    /// Replaces a state that can't be, before it is forgotten. The caller holds the control lock.
    pub(crate) fn clear_damage(&self, epoch: u64) {
        let state = &self.place(epoch).state.word;
        let word = state.load(Ordering::Acquire);
        if let Word::Unset(_) | Word::Invalid = Word::decode(word)
            && (word != Word::Unset(epoch).encode() || epoch == 1)
        {
            let _ =
                state.compare_exchange(word, Word::Frozen(0).encode(), Ordering::AcqRel, Ordering::Relaxed);
        }
    }

    /// Retires the limiter for good. The caller holds the control lock.
    pub(crate) fn retire(&self) {
        self.epoch.fetch_or(RETIRED, Ordering::AcqRel);
    }

    /// Makes sure that the state of `epoch` is set, if `epoch` is still current; does what a dead or slow changer
    /// left undone.
    #[cold]
    pub(crate) fn settle(&self, epoch: u64, clock: &impl Clock) -> Result<(), Halt> {
        let state = &self.place(epoch).state.word;
        let word = state.load(Ordering::Acquire);
        if self.epoch() != epoch {
            return Ok(());
        }
        match Word::decode(word) {
            Word::Live(_) => Ok(()),
            Word::Frozen(_) => Err(Halt::Frozen),
            Word::Unset(e) if e == epoch && epoch > 1 => self.take_over(epoch, clock),
            Word::Unset(_) | Word::Invalid => Err(Halt::Damaged("the state is not a time")),
        }
    }

    /// Freezes the state of the generation before `epoch` and starts this one from it.
    fn take_over(&self, epoch: u64, clock: &impl Clock) -> Result<(), Halt> {
        let (old, new) = (self.place(epoch - 1), self.place(epoch));
        // AcqRel: what was committed before is in the value, what comes after fails.
        let frozen = old.state.word.fetch_or(Word::FREEZE, Ordering::AcqRel);
        let forget = new.about.forget.load(Ordering::Relaxed) != 0;
        let (from, to) = (self.gcra(epoch - 1), self.gcra(epoch));
        // Read after the epoch was: whoever acted on a turn before it saw the news has an earlier time.
        let now = clock.exact();
        let start = match Word::decode(frozen) {
            _ if forget => to.unused(now),
            Word::Live(tat) | Word::Frozen(tat) => from.carry(tat, now, &to),
            Word::Unset(_) | Word::Invalid if self.epoch() != epoch => return Ok(()),
            Word::Unset(_) | Word::Invalid => return Err(Halt::Damaged("the state before is not a time")),
        };
        // If this succeeds, the state was unset until now, so no place that was read here has changed (invariant 1).
        let _ = new.state.word.compare_exchange(
            Word::Unset(epoch).encode(),
            Word::live(start),
            Ordering::AcqRel,
            Ordering::Relaxed,
        );
        Ok(())
    }
}
