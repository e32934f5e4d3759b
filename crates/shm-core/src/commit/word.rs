//! A decision as one compare-and-swap on one word.

use super::generation::Generations;
use crate::clock::{Clock, NEARLY, Nanos};
use crate::layout::RETIRED;
use crate::limit::{MAX_WAIT, Outlook};
use crate::sync::{Ordering, back_off};

const TAT_END: u64 = crate::limit::gcra::TAT_END;
/// At least [`NEARLY`] in the ticks of any rate: they are longer than half a nanosecond.
const NEARLY_TICKS: u64 = 2 * NEARLY.as_nanos() as u64;

/// What the state word can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// `00…`: the theoretical arrival time, in ticks.
    Live(u64),
    /// `10…`: the same, for good; the generation is over.
    Frozen(u64),
    /// `11…`: nobody has computed the state of this epoch yet.
    Unset(u64),
    /// `01…`: never written.
    Invalid,
}

impl Word {
    pub(crate) const FREEZE: u64 = 1 << 63;
    const UNSET: u64 = 3 << 62;

    pub(crate) fn decode(word: u64) -> Word {
        let value = word & (TAT_END - 1);
        match word >> 62 {
            0b00 => Word::Live(value),
            0b10 => Word::Frozen(value),
            0b11 => Word::Unset(value),
            _ => Word::Invalid,
        }
    }

    pub(crate) fn encode(self) -> u64 {
        match self {
            Word::Live(tat) => tat,
            Word::Frozen(tat) => Self::FREEZE | tat,
            Word::Unset(epoch) => Self::UNSET | epoch,
            Word::Invalid => 1 << 62,
        }
    }

    /// A live word; a time that doesn't fit is the last one that does (and will be found absurd).
    pub(crate) fn live(tat: u64) -> u64 {
        tat.min(TAT_END - 1)
    }
}

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Committed: the tokens are taken, for the instant `at` (`now`, or a later turn).
    Admitted {
        /// When the tokens may be used.
        at: Nanos,
        /// The clock when it was decided.
        now: Nanos,
        /// The generation that was charged, and its state right after.
        epoch: u64,
        tat: u64,
    },
    /// Nothing was written.
    Denied {
        /// From when on the same request would conform, if nobody else asks.
        ready: Nanos,
        /// The clock when it was decided.
        now: Nanos,
    },
}

/// Why no decision is possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Halt {
    Retired,
    /// The current state is frozen: the same terms must be published again.
    Frozen,
    Damaged(&'static str),
    /// More tokens than the burst.
    NeverAdmissible {
        burst: u64,
    },
    /// The turn would come in more than [`MAX_WAIT`].
    TooFar {
        ready: Nanos,
        now: Nanos,
    },
}

impl Generations<'_> {
    /// Takes `cost` tokens for the first instant at which they conform, if that is now or at most `latest`.
    #[inline]
    pub(crate) fn reserve(&self, cost: u64, latest: Nanos, clock: &impl Clock) -> Result<Decision, Halt> {
        loop {
            let epoch = self.epoch();
            let gcra = self.gcra(epoch);
            // Read before the state: an older time charges no less, and the state is at hand for a shorter time.
            let (mut now, mut exact) = clock.quick();
            let mut tick = gcra.ticks.at(now.as_nanos());
            let state = &self.place(epoch).state.word;
            let mut word = state.load(Ordering::Acquire);
            if epoch >= RETIRED || word >= TAT_END || !self.is_current(epoch) || cost > gcra.burst {
                self.obstacle(epoch, cost, clock)?;
                continue;
            }
            loop {
                let slot = gcra.slot(word, cost);
                let at = if slot <= tick {
                    now
                } else {
                    if slot - tick < NEARLY_TICKS && !exact {
                        (now, exact) = (clock.exact(), true);
                        tick = gcra.ticks.at(now.as_nanos());
                        continue;
                    }
                    let ready = Nanos::from_nanos(gcra.ticks.first_ns(slot));
                    if ready.as_nanos().saturating_sub(now.as_nanos()) > MAX_WAIT.as_nanos() as u64 {
                        self.far_away(epoch, word, now, ready, latest)?;
                    }
                    if ready > latest {
                        return Ok(Decision::Denied { ready, now });
                    }
                    ready
                };
                let tat = gcra.charge(word, tick, cost);
                if tat >= TAT_END {
                    return Err(Halt::Damaged("the state is a time decades away"));
                }
                // AcqRel: see `still_in_place`.
                match state.compare_exchange_weak(word, tat, Ordering::AcqRel, Ordering::Acquire) {
                    Ok(_) if self.still_in_place(epoch) => {
                        return Ok(Decision::Admitted { at, now, epoch, tat });
                    }
                    // Asleep for a whole turn of the ring: perhaps it was another generation that was charged. Then it
                    // stays charged: by now the same state may be somebody else's turn.
                    Ok(_) => break,
                    Err(_) => {
                        back_off();
                        word = state.load(Ordering::Acquire);
                        if word >= TAT_END || !self.is_current(epoch) {
                            break;
                        }
                    }
                }
            }
        }
    }

    /// Clears the way for another try, or says why there is none.
    #[cold]
    fn obstacle(&self, epoch: u64, cost: u64, clock: &impl Clock) -> Result<(), Halt> {
        if epoch >= RETIRED {
            return Err(Halt::Retired);
        }
        self.settle(epoch, clock)?;
        let burst = self.gcra(epoch).burst;
        if cost > burst && self.is_current(epoch) {
            return Err(Halt::NeverAdmissible { burst });
        }
        Ok(())
    }

    /// A turn more than a year away: damage, a queue too long to join, or a very slow limiter.
    #[cold]
    fn far_away(&self, epoch: u64, tat: u64, now: Nanos, ready: Nanos, latest: Nanos) -> Result<(), Halt> {
        if self.gcra(epoch).is_absurd(tat, now) && self.is_current(epoch) {
            return Err(Halt::Damaged("the state is a time years away"));
        }
        if ready <= latest { Err(Halt::TooFar { ready, now }) } else { Ok(()) }
    }

    /// Gives the tokens of an [`Admitted`](Decision::Admitted) back, if nothing was taken after them. Otherwise
    /// they are forfeited: the turns behind them are already promised.
    pub(crate) fn cancel(&self, epoch: u64, tat: u64, cost: u64) -> bool {
        let before = self.gcra(epoch).refund(tat, cost);
        let state = &self.place(epoch).state.word;
        if !self.is_current(epoch)
            || state.compare_exchange(tat, before, Ordering::AcqRel, Ordering::Relaxed).is_err()
        {
            return false;
        }
        if self.still_in_place(epoch) {
            return true;
        }
        // Asleep for a whole turn of the ring: it was the same turn, but somebody else's.
        let _ = state.compare_exchange(before, tat, Ordering::AcqRel, Ordering::Relaxed);
        false
    }

    /// How full it is now. Takes nothing.
    pub(crate) fn outlook(&self, clock: &impl Clock) -> Result<(Outlook, Nanos), Halt> {
        loop {
            let epoch = self.epoch();
            if epoch >= RETIRED {
                return Err(Halt::Retired);
            }
            let gcra = self.gcra(epoch);
            let word = self.place(epoch).state.word.load(Ordering::Acquire);
            let now = clock.exact();
            if !self.is_current(epoch) {
                continue;
            }
            match Word::decode(word) {
                Word::Live(tat) if gcra.is_absurd(tat, now) => {
                    return Err(Halt::Damaged("the state is a time years away"));
                }
                Word::Live(tat) => return Ok((gcra.outlook(tat, now), now)),
                _ => self.settle(epoch, clock)?,
            }
        }
    }
}
