//! Concurrency permits of a limiter.

use super::Limiter;
use crate::clock;
use crate::denied::{Denied, DeniedBy};
use crate::error::Result;
use crate::intervals::HOLDER_PROBE_INTERVAL;
use crate::limit::Cost;
use crate::permit::{PermitToken, Permits, word_of};
use crate::seat::Probe;
use crate::sync::Ordering;
use crate::sys::process_token::process_token;

impl Limiter {
    pub(super) fn permits(&self) -> Permits<'_> {
        let segment = &self.segment;
        Permits {
            slots: segment.permits(),
            seats: segment.seats(),
            is_process: |token| token == process_token(),
        }
    }

    /// Whether a caller must hold a permit.
    #[inline]
    pub fn has_permits(&self) -> bool {
        let epoch = self.segment.generations().epoch();
        epoch != self.epoch_without_permits.load(Ordering::Relaxed) && self.has_permits_now()
    }

    /// Reads the generation, and remembers its epoch if it has no permits.
    #[cold]
    fn has_permits_now(&self) -> bool {
        let (permits, _, epoch) = self.segment.generations().permits();
        if permits == 0 {
            self.epoch_without_permits.store(epoch, Ordering::Relaxed);
        }
        permits > 0
    }

    /// Takes a permit, if the limiter has permits, and then what `decide` takes. Returns a denial if no permit is
    /// available.
    ///
    /// # Errors
    /// Those of [`try_cost`](Self::try_cost), and those of `decide`.
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
            // If not, a signal handler forked in between and this is the child: the permit is its parent's.
            if permit.is_none_or(|permit| self.is_holder(permit)) {
                if decision.is_err() {
                    permit.into_iter().for_each(|permit| self.give_back(permit));
                }
                return decision.map(|decision| Ok((decision, permit)));
            }
        }
    }

    /// Takes a permit, if the limiter has permits; or says why none is available.
    fn permit_for(&self, cost: &Cost) -> Result<std::result::Result<Option<PermitToken>, Denied>> {
        if !self.has_permits() {
            return Ok(Ok(None));
        }
        // Check the limits first: a caller that they deny must not keep a permit from others, not even for a moment.
        if let Some(denied) = self.denial(cost)? {
            return Ok(Err(denied));
        }
        if let Some(permit) = self.take_permit()? {
            return Ok(Ok(Some(permit)));
        }
        self.check(cost)?;
        Ok(Err(Denied::new(DeniedBy::Permits, clock::now())))
    }

    /// Takes a permit; `None` if living processes hold all. The permits of a process that died are found free at most
    /// 10 ms after this handle's last probe.
    ///
    /// # Errors
    /// [`ErrorKind::NoSeat`](crate::ErrorKind), [`ErrorKind::Removed`](crate::ErrorKind).
    pub(super) fn take_permit(&self) -> Result<Option<PermitToken>> {
        // Free permits belong to waiting callers, if those are alive.
        if self.has_awake_waiters()
            && (!self.reap_front(clock::now().as_nanos(), None) || self.has_awake_waiters())
        {
            return Ok(None);
        }
        self.take_permit_in_line()
    }

    /// Like [`take_permit`](Self::take_permit), for the first caller in line.
    pub(super) fn take_permit_in_line(&self) -> Result<Option<PermitToken>> {
        let segment = &self.segment;
        let permits = self.permits();
        let mut probed = false;
        loop {
            let process = process_token();
            let Some(id) = self.process.seat.holder_id(segment)? else {
                return Err(self.no_seat_error());
            };
            let hint = self.permit_hint.load(Ordering::Relaxed);
            let word = word_of(id, self.process.seat.next_permit_serial());
            let taken = permits.take(&segment.generations(), hint, word, process);
            if process != process_token() {
                // A signal handler forked, and this is the child: what was taken names its parent.
                continue;
            }
            match taken {
                Some(held) => {
                    self.permit_hint.store(held.index(), Ordering::Relaxed);
                    return Ok(Some(held));
                }
                None if probed || !self.holder_probe_due() => return Ok(None),
                None => {
                    probed = true;
                    if permits.reclaim(&mut Probe::of(segment))? == 0 {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// Frees the permits of dead holders, if the last probe is long enough ago. Tells whether any was freed.
    pub(super) fn reclaim_dead_permits(&self) -> bool {
        self.holder_probe_due()
            && self.permits().reclaim(&mut Probe::of(&self.segment)).is_ok_and(|freed| freed > 0)
    }

    /// Whether the next probe of permit holders is due. If so, the caller makes it.
    fn holder_probe_due(&self) -> bool {
        let now = clock::now();
        let is_time = now.as_nanos() >= self.next_holder_probe_ns.load(Ordering::Relaxed);
        if is_time {
            self.next_holder_probe_ns.store(now.plus(HOLDER_PROBE_INTERVAL).as_nanos(), Ordering::Relaxed);
        }
        is_time
    }

    /// Whether this process took the permit; false in a forked child with a copy.
    pub fn is_holder(&self, held: PermitToken) -> bool {
        held.is_of(process_token())
    }

    /// Returns a permit and wakes a caller that waits for one. Does nothing if the permit was already returned, or in a
    /// forked child of its holder.
    pub fn give_back(&self, held: PermitToken) {
        if self.permits().give_back(held, process_token()) {
            self.wake_first_now();
        }
    }
}
