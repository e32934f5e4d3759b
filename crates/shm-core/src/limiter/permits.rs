//! Holding one of so many permits.

use super::Limiter;
use crate::clock;
use crate::denied::{Denied, DeniedBy};
use crate::error::Result;
use crate::limit::Cost;
use crate::permit::{PermitToken, Permits, word_of};
use crate::seat::Probe;
use crate::sync::Ordering;
use crate::sys::process_token::process_token;
use std::time::Duration;

/// How often a process that finds no free permit looks whether the holders live. That opens the file.
const LOOK_FOR_DEAD_EVERY: Duration = Duration::from_millis(10);

impl Limiter {
    pub(super) fn permits(&self) -> Permits<'_> {
        let segment = &self.segment;
        Permits {
            places: segment.permits(),
            seats: segment.seats(),
            is_process: |token| token == process_token(),
        }
    }

    /// Whether permits are to be held here.
    #[inline]
    pub fn has_permits(&self) -> bool {
        let epoch = self.segment.generations().epoch();
        epoch != self.epoch_without_permits.load(Ordering::Relaxed) && self.has_permits_now()
    }

    /// Asks the generation, and remembers its epoch if there are none.
    #[cold]
    fn has_permits_now(&self) -> bool {
        let (permits, _, epoch) = self.segment.generations().permits();
        if permits == 0 {
            self.epoch_without_permits.store(epoch, Ordering::Relaxed);
        }
        permits > 0
    }

    /// A permit, if there are permits, and what `decide` takes; or why no permit is to be had.
    ///
    /// # Errors
    /// As [`try_cost`](Self::try_cost), and those of `decide`.
    pub fn permit_and<D>(
        &self,
        cost: &Cost,
        decide: impl Fn() -> Result<D>,
    ) -> Result<std::result::Result<(D, Option<PermitToken>), Denied>> {
        loop {
            let permit = match self.permit_for(cost)? {
                Ok(permit) => permit,
                Err(denied) => return Ok(Err(denied)),
            };
            let decision = decide();
            // Otherwise a signal handler forked in between, and this is the child: the permit is its parent's.
            if permit.is_none_or(|permit| self.is_holder(permit)) {
                if decision.is_err() {
                    permit.into_iter().for_each(|permit| self.give_back(permit));
                }
                return decision.map(|decision| Ok((decision, permit)));
            }
        }
    }

    /// A permit, if there are permits; or why none is to be had.
    fn permit_for(&self, cost: &Cost) -> Result<std::result::Result<Option<PermitToken>, Denied>> {
        if !self.has_permits() {
            return Ok(Ok(None));
        }
        // The limits first: a caller that they deny keeps no permit from others, not even for a moment.
        if let Some(denied) = self.denial(cost)? {
            return Ok(Err(denied));
        }
        if let Some(permit) = self.take_permit()? {
            return Ok(Ok(Some(permit)));
        }
        self.check(cost)?;
        Ok(Err(Denied::new(DeniedBy::Permits, clock::now())))
    }

    /// Takes a permit; `None` if all are held by the living. The permits of a process that has died since this one looked
    /// last are found free after 10 ms at most.
    ///
    /// # Errors
    /// [`ErrorKind::NoSeat`](crate::ErrorKind), [`ErrorKind::Removed`](crate::ErrorKind).
    pub(super) fn take_permit(&self) -> Result<Option<PermitToken>> {
        // What is free is for those who wait, if they live.
        if self.is_waited_for() && (!self.bury(clock::now().as_nanos()) || self.is_waited_for()) {
            return Ok(None);
        }
        self.take_permit_in_line()
    }

    /// The same for the first in line.
    pub(super) fn take_permit_in_line(&self) -> Result<Option<PermitToken>> {
        let segment = &self.segment;
        let permits = self.permits();
        let mut looked = false;
        loop {
            let process = process_token();
            let Some(id) = self.process.seat.holder_id(segment)? else {
                return Err(self.seatless());
            };
            let hint = self.permit_hint.load(Ordering::Relaxed);
            let word = word_of(id, self.process.seat.next_taking());
            let taken = permits.take(&segment.generations(), hint, word, process);
            if process != process_token() {
                // A signal handler forked, and this is the child: what was taken has its parent's name.
                continue;
            }
            match taken {
                Some(held) => {
                    self.permit_hint.store(held.index(), Ordering::Relaxed);
                    return Ok(Some(held));
                }
                None if looked || !self.is_time_to_look_for_dead() => return Ok(None),
                None => {
                    looked = true;
                    if permits.reclaim(&mut Probe::of(segment))? == 0 {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// Frees the permits of holders that have died since they were looked at last, if that is some time ago. Whether there
    /// were any.
    pub(super) fn free_those_of_the_dead(&self) -> bool {
        self.is_time_to_look_for_dead()
            && self.permits().reclaim(&mut Probe::of(&self.segment)).is_ok_and(|freed| freed > 0)
    }

    /// Whether enough time has passed since the holders were looked at last; then the caller looks.
    fn is_time_to_look_for_dead(&self) -> bool {
        let now = clock::now();
        let is_time = now.as_nanos() >= self.next_holder_probe_ns.load(Ordering::Relaxed);
        if is_time {
            self.next_holder_probe_ns.store(now.plus(LOOK_FOR_DEAD_EVERY).as_nanos(), Ordering::Relaxed);
        }
        is_time
    }

    /// Whether this process took the permit, and is no forked child with a copy.
    pub fn is_holder(&self, held: PermitToken) -> bool {
        held.is_of(process_token())
    }

    /// Gives a permit back and wakes somebody who waits for one. Harmless if it was given back before, and in a forked child
    /// of the holder.
    pub fn give_back(&self, held: PermitToken) {
        if self.permits().give_back(held, process_token()) {
            self.wake_first_now();
        }
    }
}
