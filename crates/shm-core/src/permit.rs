//! Permits: at most so many held at once, each a word that names its holder's seat.
//!
//! How many are held is never stored, only counted. A permit is free when its word is 0, and as good as free when the
//! seat that it names was left, taken by somebody else since, or held by somebody who died: then whoever looks for a
//! permit frees it first. Freeing is one swap from the very word that was found, so doing it twice, or dying in
//! between, is harmless.

use crate::error::Result;
use crate::layout::SEAT_LOCKS;
use crate::seat::Sitter;
use crate::segment::Segment;
use crate::sync::{Ordering, fence};
use crate::sys::fork::process_token;
use crate::sys::{futex, lock};
use std::collections::HashMap;
use std::fs::File;

const HELD: u64 = 1 << 63;
const TENURE_BITS: u32 = 48;
const TENURE: u64 = (1 << TENURE_BITS) - 1;

/// A permit that this process holds: where, and the word that says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    word: u64,
    /// `process token << 16 | index`: a forked child has a copy of this, and no right to the permit.
    place: u64,
}

impl Held {
    pub(crate) fn index(self) -> usize {
        self.place as usize & 0xffff
    }

    fn is_ours(self) -> bool {
        self.place >> 16 == process_token()
    }
}

fn word_of(sitter: Sitter) -> u64 {
    HELD | (sitter.seat as u64) << TENURE_BITS | sitter.tenure & TENURE
}

fn seat_of(word: u64) -> usize {
    (word & !HELD) as usize >> TENURE_BITS
}

/// Takes one of `n` permits; `ever` is the most there ever were. `hint` is where to look first.
pub(crate) fn take(segment: &Segment, n: usize, ever: usize, hint: usize, sitter: Sitter) -> Option<Held> {
    let all = segment.permits();
    let (n, ever) = (n.min(all.len()), ever.min(all.len()));
    let word = word_of(sitter);
    let mut places = all.iter().enumerate().take(n).cycle().skip(hint % n.max(1)).take(n);
    // SeqCst, here and in `give_back`: see `ring_for_one`.
    let index = places
        .find(|(_, place)| {
            place.load(Ordering::Relaxed) == 0
                && place.compare_exchange(0, word, Ordering::SeqCst, Ordering::Relaxed).is_ok()
        })?
        .0;
    let held = Held { word, place: process_token() << 16 | index as u64 };
    // There were more permits once, and some of those may still be held. Two takers who see each other both step back.
    // Pairs with the fence in `Generations::is_still`.
    fence(Ordering::SeqCst);
    if ever > n && all[..ever].iter().filter(|place| place.load(Ordering::SeqCst) != 0).count() > n {
        give_back(segment, held);
        return None;
    }
    Some(held)
}

/// Gives a permit back, and wakes somebody who waits for one. Does nothing if it was given back before, and in a forked
/// child of the holder.
pub(crate) fn give_back(segment: &Segment, held: Held) {
    let Some(place) = segment.permits().get(held.index()) else { return };
    if held.is_ours() && place.compare_exchange(held.word, 0, Ordering::SeqCst, Ordering::Relaxed).is_ok() {
        ring_for_one(segment);
    }
}

/// Wakes one waiter, if any announced itself.
///
/// A waiter makes the bell odd, then looks for a permit, then sleeps unless the bell has changed. A releaser frees the
/// permit, then looks at the bell. All four are SeqCst, so one of the two sees the other.
pub(crate) fn ring_for_one(segment: &Segment) {
    let bell = &segment.fixed().releases.bell;
    let seen = bell.load(Ordering::SeqCst);
    if seen & 1 == 1
        && bell.compare_exchange(seen, seen.wrapping_add(1), Ordering::SeqCst, Ordering::Relaxed).is_ok()
    {
        futex::wake_one(bell);
    }
}

/// Announces that somebody is about to wait, and says what the bell must still be when it goes to sleep.
pub(crate) fn announce(segment: &Segment) -> u64 {
    segment.fixed().releases.bell.fetch_or(1, Ordering::SeqCst) | 1
}

/// Frees the permits of those who are gone. Returns how many.
pub(crate) fn reclaim(segment: &Segment) -> Result<usize> {
    let mut freed = 0;
    let mut probe = None;
    // Not a list: damaged words may all be different.
    let mut known: HashMap<u64, bool> = HashMap::new();
    for place in segment.permits() {
        let word = place.load(Ordering::Acquire);
        if word == 0 {
            continue;
        }
        let gone = match known.get(&word) {
            Some(&gone) => gone,
            None => {
                let gone = is_gone(segment, word, &mut probe)?;
                known.insert(word, gone);
                gone
            }
        };
        // If its holder's seat was taken over in between, the word is as dead as before.
        if gone && place.compare_exchange(word, 0, Ordering::SeqCst, Ordering::Relaxed).is_ok() {
            freed += 1;
        }
    }
    Ok(freed)
}

/// Whether the holder that a permit's word names is gone. Once it is, it stays gone: a seat taken anew has another
/// tenure.
fn is_gone(segment: &Segment, word: u64, probe: &mut Option<File>) -> Result<bool> {
    let Some(seat) = segment.seats().get(seat_of(word)) else { return Ok(true) };
    let same = || seat.holder.tenure.load(Ordering::Acquire) & TENURE == word & TENURE;
    if word & HELD == 0 || word & 1 == 0 || !same() {
        return Ok(true);
    }
    let file = match probe {
        Some(file) => file,
        None => probe.insert(segment.reopen()?),
    };
    let at = SEAT_LOCKS + seat_of(word) as i64;
    // Not held by anybody, and still the same tenure: a new holder takes the lock first and then the next tenure.
    Ok(!lock::is_held(file, at).unwrap_or(true) || !same())
}

/// How many permits are held by each seat, the dead not counted, and how many in all.
pub(crate) fn holders(segment: &Segment) -> (Vec<(usize, u64)>, u64) {
    let mut by_seat: Vec<(usize, u64)> = Vec::new();
    let mut all = 0;
    let mut probe = None;
    for place in segment.permits() {
        let word = place.load(Ordering::Acquire);
        if word == 0 || is_gone(segment, word, &mut probe).unwrap_or(false) {
            continue;
        }
        all += 1;
        match by_seat.iter_mut().find(|(seat, _)| *seat == seat_of(word)) {
            Some((_, held)) => *held += 1,
            None => by_seat.push((seat_of(word), 1)),
        }
    }
    (by_seat, all)
}
