//! The tables of a limiter: one for each limit of its keys. A request takes from all limits of its key, or from none.
//!
//! Each limit has a table of its own, so that in a row all debts are of one kind, and of one magnitude: a limit per hour, whose
//! keys have debts of minutes, must not make new keys of a limit per second wait for minutes.
//!
//! # All or none, over two slots
//! One limit is one compare-and-swap. With several, the request first looks at all, and charges nothing if any refuses. Then it
//! charges one after the other, the one that recovers fastest first. A later one can still refuse, if another request took from
//! it since the look; and what was charged until then stays charged, since a state never decreases. So where several requests of
//! one key race for its last call, each loser may lose a call of the limits that recover faster: at most as many as there are
//! requests of that key at the same time, once for each time that the slower limit runs out. A process that is killed between
//! two charges loses what the first one took. No limit is ever over: a request is admitted only after all its charges.

use super::key::KeyHash;
use super::key_limit::{Charge, KeyLimit};
use super::row::{Decision, Request, Row};
use crate::clock::Nanos;
use crate::layout::RowSlots;
use crate::limit::MAX_LIMITS;

/// One limit of all keys.
#[derive(Clone, Copy)]
pub(crate) struct Table<'a> {
    pub(crate) limit: KeyLimit,
    pub(crate) rows: &'a [RowSlots],
}

/// All limits of all keys, those that recover fastest first.
pub(crate) struct Tables<'a> {
    tables: [Option<(usize, Table<'a>)>; MAX_LIMITS],
}

/// A request for a key, as in [`Request`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyRequest {
    /// For each limit, the key that it counts: in most cases the same.
    pub(crate) keys: [KeyHash; MAX_LIMITS],
    pub(crate) now: Nanos,
    /// For each limit, at most its burst. A limit of which a request takes nothing is left out.
    pub(crate) costs: [u64; MAX_LIMITS],
    pub(crate) latest: Nanos,
    pub(crate) may_forget: bool,
}

/// What a request led to. Which limit refused it, if one did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyDecision {
    Admitted { at: Nanos, has_forgotten: bool },
    TooEarly { limit: usize, ready: Nanos, is_inherited: bool },
    Full { limit: usize },
}

impl<'a> Table<'a> {
    #[inline(always)]
    pub(crate) fn row(&self, key: KeyHash) -> Row<'a> {
        Row(&self.rows[key.row(self.rows.len())].0)
    }

    #[inline(always)]
    fn admit(&self, index: usize, request: &KeyRequest) -> Decision {
        let &KeyRequest { keys, now, costs, latest, may_forget } = request;
        // It takes nothing from this limit, so this limit has no say.
        if costs[index] == 0 {
            return Decision::Admitted { at: now, has_forgotten: false };
        }
        self.row(keys[index]).admit(
            &self.limit,
            &Request { key: keys[index].tag, now, cost: costs[index], latest, may_forget },
        )
    }
}

impl<'a> Tables<'a> {
    /// The tables of these limits, in the order of the policy. At least one, each with at least one row.
    pub(crate) fn new(limits: impl Iterator<Item = Table<'a>>) -> Tables<'a> {
        let (mut tables, mut len) = ([None; MAX_LIMITS], 0);
        for (slot, table) in tables.iter_mut().zip(limits.enumerate()) {
            *slot = Some(table);
            len += 1;
        }
        tables[..len].sort_by_key(|table| table.map(|(_, table)| table.limit.recovery_ns()));
        Tables { tables }
    }

    /// The table of the only limit.
    #[inline(always)]
    pub(crate) fn one(table: Table<'a>) -> Tables<'a> {
        Tables { tables: [Some((0, table)), None, None, None] }
    }

    #[inline(always)]
    fn all(&self) -> impl Iterator<Item = &(usize, Table<'a>)> {
        self.tables.iter().map_while(Option::as_ref)
    }

    /// The tables that this request takes something of.
    fn charged<'r>(&'r self, request: &'r KeyRequest) -> impl Iterator<Item = &'r (usize, Table<'a>)> {
        self.all().filter(|(index, _)| request.costs[*index] > 0)
    }

    /// Decides a request.
    #[inline]
    pub(crate) fn admit(&self, request: &KeyRequest) -> KeyDecision {
        if let [Some((index, table)), None, ..] = &self.tables {
            return decision(*index, table.admit(*index, request));
        }
        self.admit_all(request)
    }

    fn admit_all(&self, request: &KeyRequest) -> KeyDecision {
        if let Some(refused) = self.refused(request) {
            return refused;
        }
        let (mut admitted_at, mut any_forgotten) = (request.now, false);
        for (index, table) in self.charged(request) {
            match decision(*index, table.admit(*index, request)) {
                KeyDecision::Admitted { at, has_forgotten } => {
                    admitted_at = admitted_at.max(at);
                    any_forgotten |= has_forgotten;
                }
                refused => return refused,
            }
        }
        KeyDecision::Admitted { at: admitted_at, has_forgotten: any_forgotten }
    }

    /// What refuses a request as things are: the limit that does so for longest.
    pub(crate) fn refused(&self, request: &KeyRequest) -> Option<KeyDecision> {
        let mut longest: Option<(Nanos, KeyDecision)> = None;
        for (index, table) in self.charged(request) {
            let key = request.keys[*index];
            let known = table.row(key).known(&table.limit, key.tag, request.now);
            if !known.is_in_a_slot && known.is_live && !request.may_forget {
                return Some(KeyDecision::Full { limit: *index });
            }
            let charge = table.limit.charge(known.state, request.now, request.costs[*index], request.latest);
            if let Charge::TooEarly { ready } = charge
                && longest.is_none_or(|(at, _)| at < ready)
            {
                let is_inherited = !known.is_in_a_slot && known.is_live;
                longest = Some((ready, KeyDecision::TooEarly { limit: *index, ready, is_inherited }));
            }
        }
        longest.map(|(_, refused)| refused)
    }

    /// Charges what no limit denies. If a key could then make no request until `latest`, it is not charged; the error says when it
    /// could. (If only a debt that another process charges meanwhile makes it so long, the limits before that one have been
    /// charged.)
    pub(crate) fn charge(&self, request: &KeyRequest, latest: Nanos) -> Result<(), Nanos> {
        for (index, table) in self.charged(request) {
            let (key, limit) = (request.keys[*index], &table.limit);
            let state = table.row(key).known(limit, key.tag, request.now).state;
            let ready = limit.next_at(limit.debt(state, request.now, request.costs[*index]), request.now);
            if ready > latest {
                return Err(ready);
            }
        }
        for (index, table) in self.charged(request) {
            let (key, amount) = (request.keys[*index], request.costs[*index]);
            table.row(key).charge(&table.limit, key.tag, request.now, amount, latest)?;
        }
        Ok(())
    }
}

#[inline(always)]
fn decision(limit: usize, decision: Decision) -> KeyDecision {
    match decision {
        Decision::Admitted { at, has_forgotten } => KeyDecision::Admitted { at, has_forgotten },
        Decision::TooEarly { ready, is_inherited } => KeyDecision::TooEarly { limit, ready, is_inherited },
        Decision::Full => KeyDecision::Full { limit },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyed::SLOTS;
    use crate::keyed::key::HashKey;
    use crate::keyed::key_limit::KeyClock;
    use crate::limit::{KeyPolicy, Limit, Rate, audit};
    use proptest::prelude::*;
    use std::collections::HashMap;
    use std::sync::Mutex;
    use std::time::Duration;

    const SECOND: u64 = 1_000_000_000;
    const START: u64 = 1_000 * SECOND;
    const HASH_KEY: HashKey = HashKey([3, 4]);

    fn bucket(max: u64, per: u64, burst: u64) -> KeyLimit {
        let limit = Limit::with_burst(Rate::new(max, Duration::from_nanos(per)).unwrap(), burst).unwrap();
        let clock = KeyClock::new(&KeyPolicy::new(&[limit]).unwrap(), Nanos::from_nanos(SECOND), 0);
        KeyLimit::of(&KeyLimit::params_of(limit, 0, &clock, None))
    }

    fn rows(n: usize) -> Vec<RowSlots> {
        (0..n).map(|_| RowSlots::default()).collect()
    }

    fn request(key: u64, now: u64) -> KeyRequest {
        let now = Nanos::from_nanos(now);
        let key = HASH_KEY.hash(&[&key.to_le_bytes()]);
        KeyRequest { keys: [key; MAX_LIMITS], now, costs: [1; MAX_LIMITS], latest: now, may_forget: true }
    }

    fn used(table: &Table<'_>, key: KeyHash, now: u64) -> u64 {
        let now = Nanos::from_nanos(now);
        table.limit.usage(table.row(key).known(&table.limit, key.tag, now).state, now).0
    }

    fn is_kept(max: u64, per: u64, burst: u64, at: &[Nanos]) -> bool {
        let limit = Limit::with_burst(Rate::new(max, Duration::from_nanos(per)).unwrap(), burst).unwrap();
        audit::check(limit, &mut at.iter().map(|&at| audit::Admission { at, calls: 1 }).collect::<Vec<_>>())
            .is_ok()
    }

    proptest! {
        /// 5 a second in bursts of 3, and 20 a minute in bursts of 6: each key keeps both, and one that is refused loses nothing.
        #[test]
        fn a_key_takes_from_all_its_limits_or_from_none(steps in prop::collection::vec((0u64..60, 0u64..SECOND / 4), 1..300)) {
            let (fast, slow) = (rows(1), rows(2));
            // In the order of a policy, which is not that of the charges.
            let tables = [
                Table { limit: bucket(20, 60 * SECOND, 6), rows: &slow },
                Table { limit: bucket(5, SECOND, 3), rows: &fast },
            ];
            let all = Tables::new(tables.iter().copied());
            let (mut now, mut admitted) = (START, HashMap::<u64, Vec<Nanos>>::new());
            for (key, ns) in steps {
                now += ns;
                let request = request(key % 40, now);
                let before = tables.each_ref().map(|table| used(table, request.keys[0], now));
                match all.admit(&request) {
                    KeyDecision::Admitted { at, .. } => admitted.entry(key % 40).or_default().push(at),
                    KeyDecision::TooEarly { ready, .. } => {
                        prop_assert!(ready > request.now);
                        prop_assert_eq!(before, tables.each_ref().map(|table| used(table, request.keys[0], now)));
                    }
                    KeyDecision::Full { .. } => prop_assert!(false),
                }
            }
            for at in admitted.values() {
                prop_assert!(is_kept(5, SECOND, 3, at) && is_kept(20, 60 * SECOND, 6, at));
            }
        }
    }

    #[test]
    fn the_limit_that_refuses_for_longest_is_named() {
        let (fast, slow) = (rows(1), rows(1));
        let limits = [bucket(1, SECOND, 1), bucket(1, 60 * SECOND, 1)];
        let tables = [Table { limit: limits[0], rows: &fast }, Table { limit: limits[1], rows: &slow }];
        let all = Tables::new(tables.iter().copied());
        assert!(matches!(all.admit(&request(1, START)), KeyDecision::Admitted { .. }));
        let ready = Nanos::from_nanos(START + 60 * SECOND);
        let refused = KeyDecision::TooEarly { limit: 1, ready, is_inherited: false };
        assert_eq!(all.admit(&request(1, START)), refused);
    }

    #[test]
    fn a_debt_is_charged_to_all_limits_or_to_none() {
        let (fast, slow) = (rows(1), rows(1));
        let tables = [
            Table { limit: bucket(10, SECOND, 5), rows: &fast },
            Table { limit: bucket(1, 60 * SECOND, 2), rows: &slow },
        ];
        let all = Tables::new(tables.iter().copied());
        let debt = |calls| KeyRequest { costs: [calls; MAX_LIMITS], ..request(1, START) };
        let latest = Nanos::from_nanos(START + 3_600 * SECOND);
        assert!(all.charge(&debt(1_000), latest).is_err_and(|ready| ready > latest));
        let key = debt(1).keys[0];
        assert_eq!([used(&tables[0], key, START), used(&tables[1], key, START)], [0, 0]);
        all.charge(&debt(30), latest).unwrap();
        assert_eq!([used(&tables[0], key, START), used(&tables[1], key, START)], [5, 2]);
    }

    /// Tokens, of which a request may need none.
    #[test]
    fn a_request_that_takes_nothing_from_a_limit_is_not_denied_by_it() {
        let (calls, tokens) = (rows(1), rows(1));
        let limit = bucket(1, SECOND, 2);
        let tables = [Table { limit, rows: &calls }, Table { limit, rows: &tokens }];
        let all = Tables::new(tables.iter().copied());
        let costs = |calls, tokens| KeyRequest { costs: [calls, tokens, 0, 0], ..request(1, START) };
        let (used_up, one) = (costs(0, 2), costs(1, 0));
        for tables in [&all, &Tables::one(tables[0])] {
            assert!(matches!(tables.admit(&used_up), KeyDecision::Admitted { .. }));
        }
        assert!(matches!(all.admit(&costs(1, 1)), KeyDecision::TooEarly { limit: 1, .. }));
        assert_eq!(all.refused(&one), None);
        assert!(matches!(all.admit(&one), KeyDecision::Admitted { .. }));
        assert_eq!([used(&tables[0], one.keys[0], START), used(&tables[1], one.keys[0], START)], [1, 2]);
    }

    /// A full row refuses new keys, if it may forget none; those that it has go on.
    #[test]
    fn a_full_row_can_refuse_new_keys() {
        let (one, two) = (rows(1), rows(1));
        let limit = bucket(2, SECOND, 2);
        for tables in
            [&[Table { limit, rows: &one }][..], &[Table { limit, rows: &one }, Table { limit, rows: &two }]]
        {
            let all = Tables::new(tables.iter().copied());
            let strict = |key, now| KeyRequest { may_forget: false, ..request(key, now) };
            let later = START + tables.len() as u64 * 10 * SECOND;
            for key in 0..SLOTS as u64 {
                assert!(matches!(all.admit(&strict(key, later)), KeyDecision::Admitted { .. }));
            }
            assert!(matches!(all.admit(&strict(99, later)), KeyDecision::Full { .. }));
            assert!(matches!(all.admit(&strict(3, later)), KeyDecision::Admitted { .. }));
            assert!(matches!(all.admit(&strict(99, later + SECOND)), KeyDecision::Admitted { .. }));
        }
    }

    /// After a reset the key has no room for a new life, as all others of its row have greater debts.
    #[test]
    fn a_key_that_was_reset_is_not_a_new_one() {
        let (one, two) = (rows(1), rows(1));
        let limit = bucket(1, SECOND, 4);
        let tables = [Table { limit, rows: &one }, Table { limit, rows: &two }];
        let all = Tables::new(tables.iter().copied());
        let strict =
            |key, calls| KeyRequest { costs: [calls; MAX_LIMITS], may_forget: false, ..request(key, START) };
        for key in 0..SLOTS as u64 {
            assert!(matches!(
                all.admit(&strict(key, if key == 3 { 1 } else { 4 })),
                KeyDecision::Admitted { .. }
            ));
        }
        let (key, now) = (strict(3, 1).keys[0], strict(3, 1).now);
        for table in &tables {
            table.row(key).reset(&limit, key.tag, now);
            assert!(table.row(key).known(&limit, key.tag, now).is_in_a_slot);
        }
        assert!(matches!(all.admit(&strict(99, 1)), KeyDecision::Full { .. }));
        assert!(matches!(all.admit(&strict(3, 3)), KeyDecision::Admitted { .. }));
    }

    /// Threads race for a key's last calls: neither limit is over, and little of the fast one is lost.
    #[test]
    fn racing_requests_lose_no_more_than_they_are_many() {
        const THREADS: u64 = 4;
        let (fast, slow) = (rows(1), rows(1));
        let tables = [
            Table { limit: bucket(1_000, SECOND, 1_000), rows: &fast },
            Table { limit: bucket(100, 60 * SECOND, 100), rows: &slow },
        ];
        let admitted = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    for _ in 0..500 {
                        if let KeyDecision::Admitted { at, .. } =
                            Tables::new(tables.iter().copied()).admit(&request(1, START))
                        {
                            admitted.lock().unwrap().push(at);
                        }
                    }
                });
            }
        });
        let key = request(1, START).keys[0];
        assert_eq!(admitted.into_inner().unwrap().len(), 100);
        let lost = used(&tables[0], key, START) - 100;
        assert!(lost < THREADS, "{lost}");
    }
}
