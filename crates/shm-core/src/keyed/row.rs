//! The protocol of one row: see [`keyed`](super) for why it is never over.

use super::SLOTS;
use super::key_limit::{Charge, KeyLimit};
use super::slot::{Slot, Tag};
use crate::clock::Nanos;
use crate::sync::{AtomicPair, back_off};

/// A row of the table in the file. (Models use shorter rows.)
#[derive(Clone, Copy)]
pub(crate) struct Row<'a, const N: usize = SLOTS>(pub(crate) &'a [AtomicPair; N]);

/// A request for a key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    /// The key's tag, in life 0.
    pub(crate) key: Tag,
    pub(crate) now: Nanos,
    /// At most the burst.
    pub(crate) cost: u64,
    /// A bucket may be charged ahead, for an instant up to this one.
    pub(crate) latest: Nanos,
    /// Whether a new key may take the place of one that is not expired.
    pub(crate) may_forget: bool,
}

/// What a request led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Admitted {
        /// The instant for which it was charged.
        at: Nanos,
        /// Whether the place of a key that was not expired was taken: that key has been forgotten.
        has_forgotten: bool,
    },
    /// Nothing was charged; it would conform at this instant.
    TooEarly {
        ready: Nanos,
        /// Whether this is a new key, which inherited the debt of another one.
        is_inherited: bool,
    },
    /// Nothing was charged. The row is full of keys that are not expired, and none may be forgotten.
    Full,
}

/// What a key's state has become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Added {
    pub(crate) state: u64,
    /// As in [`Decision`].
    pub(crate) has_forgotten: bool,
}

/// What a reset of a key did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyReset {
    /// The key is as if never used, as far as its row has room.
    Done,
    /// It was in no slot: there was nothing to reset.
    Unknown,
}

/// What is known of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    /// Otherwise the state is what it would inherit.
    pub(crate) is_in_a_slot: bool,
    pub(crate) state: u64,
    /// Whether it has less left than an unused key.
    pub(crate) is_live: bool,
}

/// A key in its row.
struct Found {
    index: usize,
    slot: Slot,
}

/// A swap that admits a request.
struct Plan {
    index: usize,
    seen: Slot,
    by: Slot,
    outcome: Decision,
}

/// Why a request was not admitted.
enum Refused {
    For(Decision),
    /// Another process has changed the slot: decide again.
    Changed,
}

/// Where the state of a key is counted.
enum Place {
    Here(Found),
    /// It is in no slot. The one with the least state.
    Nowhere(Found),
}

impl<const N: usize> Row<'_, N> {
    /// Finds a tag, or the slot with the least state (of equal ones, the first).
    #[inline(always)]
    fn find(self, tag: Tag) -> Place {
        let mut least = Found { index: 0, slot: Slot { state: u64::MAX, tag: Tag::default() } };
        for (index, pair) in self.0.iter().enumerate() {
            let slot = Slot::load(pair);
            if slot.tag.is_same_key(tag) {
                return Place::Here(Found { index, slot });
            }
            if slot.state < least.slot.state || index == 0 {
                least = Found { index, slot };
            }
        }
        Place::Nowhere(least)
    }

    fn states(self) -> impl Iterator<Item = u64> {
        self.0.iter().map(|pair| Slot::load(pair).state)
    }

    /// Decides a request. Lock-free: it looks again only if another process has changed the slot meanwhile.
    #[inline(always)]
    pub(crate) fn admit(self, limit: &KeyLimit, request: &Request) -> Decision {
        loop {
            let decision = match self.find(request.key) {
                Place::Here(own) if own.slot.tag.life() > 0 => self.admit_in_later_life(limit, request, &own),
                place => {
                    self.plan(limit, request, request.key, &place).and_then(|plan| self.carry_out(&plan))
                }
            };
            match decision {
                Ok(decision) | Err(Refused::For(decision)) => return decision,
                Err(Refused::Changed) => back_off(),
            }
        }
    }

    /// How a request would be admitted, for a key that is counted at this place under this tag.
    #[inline(always)]
    fn plan(self, limit: &KeyLimit, request: &Request, tag: Tag, place: &Place) -> Result<Plan, Refused> {
        let (index, seen, base, is_live) = match *place {
            Place::Here(Found { index, slot }) => (index, slot, slot.state, false),
            Place::Nowhere(Found { index, slot }) => {
                let is_live = limit.is_live(slot.state, request.now);
                if is_live && !request.may_forget && !slot.tag.is_same_key(tag) {
                    return Err(Refused::For(Decision::Full));
                }
                (index, slot, limit.inherited(slot.state, self.states(), request.now), is_live)
            }
        };
        match limit.charge(base, request.now, request.cost, request.latest) {
            Charge::TooEarly { ready } => {
                Err(Refused::For(Decision::TooEarly { ready, is_inherited: is_live }))
            }
            // With sound parameters a charge makes the state grow. With others it must not pass as a charge.
            Charge::Conforms { state, .. } if state <= seen.state => {
                let ready = Nanos::from_nanos(u64::MAX);
                Err(Refused::For(Decision::TooEarly { ready, is_inherited: is_live }))
            }
            Charge::Conforms { at, state } => {
                let by = Slot { state, tag };
                Ok(Plan { index, seen, by, outcome: Decision::Admitted { at, has_forgotten: is_live } })
            }
        }
    }

    #[inline(always)]
    fn carry_out(self, plan: &Plan) -> Result<Decision, Refused> {
        let done = Slot::replace(&self.0[plan.index % N], plan.seen, plan.by);
        if done { Ok(plan.outcome) } else { Err(Refused::Changed) }
    }

    /// A request for a key that was reset while it was in use. Its later lives are counted in slots of their own. Its own slot
    /// names the current one, and has at least its state: so it does not expire before that life does, and if it is forgotten,
    /// the key returns with at least that state.
    #[cold]
    fn admit_in_later_life(
        self,
        limit: &KeyLimit,
        request: &Request,
        own: &Found,
    ) -> Result<Decision, Refused> {
        let tag = own.slot.tag.of_life(own.slot.tag.life());
        let place = self.find(tag);
        let is_least = matches!(&place, Place::Nowhere(least) if least.index == own.index);
        if is_least || !limit.is_live(own.slot.state, request.now) {
            // Its lives have all expired; or the row is full of debts of which its own is the least, so that a new life would have
            // to take its place and inherit it. Either way it is counted in its own slot again.
            let own = Place::Nowhere(Found { index: own.index, slot: own.slot });
            return self.plan(limit, request, request.key, &own).and_then(|plan| self.carry_out(&plan));
        }
        let plan = self.plan(limit, request, tag, &place)?;
        // Its own slot first: a process that is killed between the two leaves it greater than it has to be.
        if own.slot.state < plan.by.state {
            let by = Slot { state: plan.by.state, ..own.slot };
            let raise = Plan { index: own.index, seen: own.slot, by, outcome: plan.outcome };
            self.carry_out(&raise)?;
        }
        self.carry_out(&plan)
    }

    /// Charges what nothing denies, unless the key could then make no request until `latest`: the error says when it could.
    pub(crate) fn charge(
        self,
        limit: &KeyLimit,
        key: Tag,
        now: Nanos,
        amount: u64,
        latest: Nanos,
    ) -> Result<(), Nanos> {
        let debt = |base, _| {
            let state = limit.debt(base, now, amount);
            let ready = limit.next_at(state, now);
            if ready > latest { Err(ready) } else { Ok(state) }
        };
        self.add(limit, key, now, debt).map(|_| ())
    }

    /// Replaces a key's state by what `next` makes of it, which is not less. `next` also gets whether the state is one that a new
    /// key inherits; its error leaves the key as it is.
    pub(crate) fn add<E>(
        self,
        limit: &KeyLimit,
        key: Tag,
        now: Nanos,
        next: impl Fn(u64, bool) -> Result<u64, E>,
    ) -> Result<Added, E> {
        let next_at = |place: &Place| {
            let (is_inherited, base) = match place {
                Place::Here(own) => (false, own.slot.state),
                Place::Nowhere(least) => {
                    let base = limit.inherited(least.slot.state, self.states(), now);
                    (limit.is_live(least.slot.state, now), base)
                }
            };
            next(base, is_inherited).map(|state| Added { state, has_forgotten: is_inherited })
        };
        loop {
            let mut place = self.find(key);
            let mut tag = key;
            if let Place::Here(own) = &place
                && own.slot.tag.life() > 0
                && limit.is_live(own.slot.state, now)
            {
                // A later life. The debt goes to both: a key whose slots are forgotten returns with it.
                tag = own.slot.tag.of_life(own.slot.tag.life());
                let (index, slot) = (own.index, own.slot);
                place = self.find(tag);
                if matches!(&place, Place::Nowhere(least) if least.index == index) {
                    // The row is full of debts of which its own is the least: as in `admit_in_later_life`.
                    tag = key;
                    place = Place::Nowhere(Found { index, slot });
                } else {
                    let state = next_at(&place)?.state;
                    if slot.state < state && !Slot::replace(&self.0[index % N], slot, Slot { state, ..slot })
                    {
                        continue;
                    }
                }
            }
            let added = next_at(&place)?;
            let (Place::Here(Found { index, slot }) | Place::Nowhere(Found { index, slot })) = place;
            // With sound parameters the state grows, unless the key has all that its state can hold already.
            if added.state <= slot.state {
                return Ok(Added { has_forgotten: false, ..added });
            }
            if Slot::replace(&self.0[index % N], slot, Slot { state: added.state, tag }) {
                return Ok(added);
            }
        }
    }

    /// The greatest state that requests and debts can have led to. Others are damage, and cleared. For a reset.
    pub(crate) fn greatest_plausible(self, limit: &KeyLimit, now: Nanos, created_ns: u64) -> u64 {
        let plausible = |pair: &AtomicPair| {
            let slot = Slot::load(pair);
            if limit.is_plausible(slot.state, now, created_ns) {
                return slot.state;
            }
            Slot::clear(pair, slot);
            0
        };
        self.0.iter().map(plausible).max().unwrap_or(0)
    }

    /// How many slots hold a key with a debt.
    pub(crate) fn live_slots(self, limit: &KeyLimit, now: Nanos) -> u64 {
        self.states().filter(|&state| limit.is_live(state, now)).count() as u64
    }

    /// What is known of a key. It counts as inherited what it would inherit.
    pub(crate) fn known(self, limit: &KeyLimit, key: Tag, now: Nanos) -> Known {
        let inherited = |from: Slot| limit.inherited(from.state, self.states(), now);
        let in_place = |place| match place {
            Place::Here(own) => (true, own.slot.state),
            Place::Nowhere(least) => (false, inherited(least.slot)),
        };
        let (is_in_a_slot, state) = match self.find(key) {
            Place::Here(own) if own.slot.tag.life() > 0 => {
                let place = self.find(own.slot.tag.of_life(own.slot.tag.life()));
                let is_least = matches!(&place, Place::Nowhere(least) if least.index == own.index);
                // Then it is counted in its own slot again: see `admit_in_later_life`.
                let is_there = is_least || !limit.is_live(own.slot.state, now);
                if is_there { (true, inherited(own.slot)) } else { in_place(place) }
            }
            place => in_place(place),
        };
        Known { is_in_a_slot, state, is_live: limit.is_live(state, now) }
    }

    /// Resets a key that is in use: it begins a new life. (Its slot's state may not decrease: that would also lower what
    /// forgotten keys return with.) Until its old debt has expired, it takes the room of one more key.
    pub(crate) fn reset(self, limit: &KeyLimit, key: Tag, now: Nanos) -> KeyReset {
        loop {
            let Place::Here(own) = self.find(key) else { return KeyReset::Unknown };
            if !limit.is_live(own.slot.state, now) {
                return KeyReset::Done;
            }
            let tag = own.slot.tag.in_next_life();
            if Slot::replace(&self.0[own.index % N], own.slot, Slot { tag, ..own.slot }) {
                return KeyReset::Done;
            }
        }
    }
}
