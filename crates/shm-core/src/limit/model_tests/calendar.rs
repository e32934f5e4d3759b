//! Windows of the calendar: the partition of time, compared with `jiff` and with itself, and limits in such windows.

use super::{Costs, PlainLimiter};
use crate::limit::Calendar;
use crate::limit::calendar::{LocalTime, Offsets};
use crate::limit::rule::Rule;
use crate::limit::rule_set::Rules;
use crate::limit::window::{FixedWindow, WallClock, Windows};
use proptest::prelude::*;

const SECOND: u64 = 1_000_000_000;
const HOUR: u64 = 3_600 * SECOND;
const DAY: u64 = 24 * HOUR;
/// 2026-11-26, in Unix seconds.
const NOW: i64 = 1_795_651_200;

fn local(wall_ns: u64, offsets: Offsets) -> LocalTime {
    LocalTime { wall_ns, offsets }
}

/// Each instant is in exactly one window, and windows follow one another without a gap.
fn is_in_its_window(local: &LocalTime, period: Calendar, at: u64) -> Result<(), TestCaseError> {
    let index = local.index_of(period, at);
    let (start, end) = (local.start_of(period, index), local.start_of(period, index + 1));
    prop_assert!(start <= at && (at < end || end == u64::MAX), "{at} in {start}..{end}, {period} {index}");
    prop_assert!(start == 0 || local.index_of(period, start - 1) < index, "{start} begins no {period}");
    Ok(())
}

/// Transitions at random quarter hours, with offsets in minutes.
fn tables() -> impl Strategy<Value = Offsets> {
    let transitions = prop::collection::vec((1i64..20_000, -719i64..720), 0..40);
    (-719i64..720, transitions).prop_map(|(first, mut all)| {
        let base = Offsets::base(NOW);
        all.sort_unstable();
        all.dedup_by_key(|&mut (at, _)| at);
        let all = all.into_iter().map(|(quarters, minutes)| (base + quarters * 900, minutes * 60));
        let table = Offsets::pack(base, first * 60, all).expect("a table");
        assert!(table.is_sound());
        table
    })
}

fn periods() -> impl Strategy<Value = Calendar> {
    (0u64..4).prop_map(Calendar::of_code)
}

proptest! {
    #[test]
    fn every_instant_is_in_one_window(
        offsets in tables(), period in periods(), wall in 0u64..1 << 62, ats in prop::collection::vec(0u64..1 << 62, 40),
    ) {
        let local = local(wall, offsets);
        for &at in &ats {
            is_in_its_window(&local, period, at)?;
        }
        for pair in ats.windows(2) {
            let (a, b) = (pair[0].min(pair[1]), pair[0].max(pair[1]));
            prop_assert!(local.index_of(period, a) <= local.index_of(period, b));
        }
    }

    /// The same near the present, where the transitions are.
    #[test]
    fn every_instant_near_transitions_is_in_one_window(
        offsets in tables(), period in periods(), ats in prop::collection::vec(0u64..250 * DAY, 60),
    ) {
        let local = local((NOW as u64) * SECOND - 40 * DAY, offsets);
        for at in ats {
            is_in_its_window(&local, period, at)?;
        }
    }

    /// Words that nobody wrote.
    #[test]
    fn a_corrupt_table_still_partitions_time(
        words in prop::collection::vec(any::<u64>(), Offsets::WORDS), wall in any::<u64>(), period in periods(),
        ats in prop::collection::vec(any::<u64>(), 20), index in any::<u64>(),
    ) {
        let local = local(wall, Offsets::from_words(words.try_into().expect("as many")));
        local.start_of(period, index);
        for &at in &ats {
            local.date_time(at).to_string();
            let index = local.index_of(period, at);
            prop_assert!(local.start_of(period, index) <= at);
            prop_assert!(local.start_of(period, index) <= local.start_of(period, index + 1));
        }
        for pair in ats.windows(2) {
            let (a, b) = (pair[0].min(pair[1]), pair[0].max(pair[1]));
            prop_assert!(local.index_of(period, a) <= local.index_of(period, b));
        }
    }

    /// At most `max` in each window, as soon as the definition allows, also for turns in later windows and after a debt.
    #[test]
    fn a_calendar_limit_equals_its_definition(
        offsets in tables(), period in periods(), max in 1u64..6,
        steps in prop::collection::vec((0u64..40 * DAY, any::<bool>(), 1u64..6, prop::option::weighted(0.1, 1u64..30)), 1..30),
    ) {
        let local = local((NOW as u64) * SECOND - 40 * DAY, offsets);
        let mut host = PlainLimiter::new(rules(period, max, local), 1, DAY);
        // How much was admitted in each window, from brute force: the windows by their first instants.
        let (mut used, mut last, mut now) = (std::collections::BTreeMap::<u64, u64>::new(), 0, DAY);
        let start = |at| local.start_of(period, local.index_of(period, at));
        let end = |at| local.start_of(period, local.index_of(period, at) + 1);
        for (gap, wait, cost, debt) in steps {
            now += if gap % 3 == 0 { gap } else { gap / 500 };
            let admit = |used: &mut std::collections::BTreeMap<u64, u64>, from: u64, cost: u64, keep: bool| {
                let mut at = from;
                while used.get(&start(at)).copied().unwrap_or(0) + cost > max {
                    at = end(at);
                }
                if keep {
                    *used.entry(start(at)).or_default() += cost;
                }
                at
            };
            if let Some(amount) = debt {
                let from = now.max(last);
                let singly = (0..amount).fold(from, |from, _| admit(&mut used, from, 1, true));
                prop_assert_eq!(host.debt(one(amount), now), Some(singly));
                last = singly;
                continue;
            }
            let cost = cost.min(max);
            let first = admit(&mut used, now.max(last), cost, false);
            prop_assert_eq!(host.ready(one(cost), now), first);
            if first > now.max(last) {
                prop_assert_eq!(host.ready(one(cost), first - 1), first);
            }
            if wait || first == now {
                admit(&mut used, now.max(last), cost, true);
                prop_assert_eq!(host.take(one(cost), now), first);
                last = first;
            }
        }
    }
}

fn one(cost: u64) -> Costs {
    [cost, 0, 0, 0]
}

fn rules(period: Calendar, max: u64, local: LocalTime) -> Rules {
    let rule = Rule::Fixed(FixedWindow { max, windows: Windows::Calendar(period) });
    let mut rules = Rules::new(1, |_| rule, [false; 4], 0);
    let now_ns = local.wall_ns + DAY;
    rules.set_wall(WallClock { local, zone: 0, earliest_ns: now_ns, continuous_ns: now_ns });
    rules
}

#[test]
fn windows_of_utc_begin_with_the_calendar() {
    let utc = local(0, Offsets::default());
    let begins = |period, at: u64| utc.date_time(utc.start_of(period, utc.index_of(period, at))).to_string();
    let at = NOW as u64 * SECOND + 13 * HOUR + 59;
    assert_eq!(begins(Calendar::Hour, at), "2026-11-26 13:00:00 +00:00");
    assert_eq!(begins(Calendar::Day, at), "2026-11-26 00:00:00 +00:00");
    // A Monday.
    assert_eq!(begins(Calendar::Week, at), "2026-11-23 00:00:00 +00:00");
    assert_eq!(begins(Calendar::Month, at), "2026-11-01 00:00:00 +00:00");
    let leap_day = 1_835_395_200 * SECOND;
    assert_eq!(begins(Calendar::Day, leap_day), "2028-02-29 00:00:00 +00:00");
    assert_eq!(format!("{:#}", utc.date_time(leap_day)), "2028-02-29T00:00:00+00:00");
    assert_eq!(begins(Calendar::Month, leap_day + DAY), "2028-03-01 00:00:00 +00:00");
    assert_eq!(begins(Calendar::Month, 0), "1970-01-01 00:00:00 +00:00");
}

#[test]
fn a_table_that_cannot_be_exact_is_refused() {
    let base = Offsets::base(NOW);
    let pack = |first, changes: &[(i64, i64)]| Offsets::pack(base, first, changes.iter().copied());
    assert!(pack(3_600, &[(base + 900, 7_200)]).is_ok());
    assert!(pack(1_172, &[]).unwrap_err().contains("whole number of minutes"));
    assert!(pack(3_600, &[(base + 900, 3_601)]).unwrap_err().contains("whole number of minutes"));
    assert!(pack(3_600, &[(base + 901, 7_200)]).unwrap_err().contains("quarter hour"));
    assert!(pack(-36_000, &[(base + 900, 50_400)]).unwrap_err().contains("omits or repeats a day"));
    // Beyond its last transition, the last offset holds.
    let changes: Vec<_> = (1..100).map(|i| (base + i * 86_400, 3_600 * (i % 2))).collect();
    let full = local(0, pack(3_600, &changes).unwrap());
    let far = (base as u64 + 34 * 86_400 + 1) * SECOND;
    assert!(full.date_time(far).to_string().ends_with("+01:00"), "the 33rd change does not fit");
}

/// Every zone that a user can name, over the 16 years of the table.
#[cfg(feature = "zones-bundled")]
#[test]
fn every_zone_of_the_database_agrees_with_jiff() {
    use crate::limit::zone::database::offsets_of;
    use jiff::civil::Date;
    use jiff::tz::TimeZoneDatabase;
    use jiff::{Timestamp, ToSpan};

    let database = TimeZoneDatabase::bundled();
    let (mut zones, mut with_changes, mut without_hours) = (0, 0, Vec::new());
    for name in database.available() {
        let zone = database.get(name.as_str()).expect("a zone");
        let offsets = offsets_of(&zone, NOW).unwrap_or_else(|why| panic!("{name}: {why}"));
        assert!(offsets.is_sound(), "{name}");
        let local = local(0, offsets);
        let from = Timestamp::from_second(NOW - 35 * 86_400).unwrap();
        let changes: Vec<i64> = {
            let all = zone.following(from).map(|t| t.timestamp().as_second());
            all.take_while(|&at| at < NOW + 15 * 366 * 86_400).take(30).collect()
        };
        zones += 1;
        with_changes += usize::from(!changes.is_empty());
        let end = changes.last().map_or(NOW + 16 * 366 * 86_400, |&at| at);
        let begins = |period, date: Date| {
            let midnight = zone.to_timestamp(date.at(0, 0, 0, 0)).expect("a day").as_second() as u64 * SECOND;
            let index = local.index_of(period, midnight);
            assert_eq!(local.start_of(period, index), midnight, "{name}: {period} of {date}");
            assert!(local.index_of(period, midnight - 1) + 1 == index, "{name}: {period} before {date}");
        };
        let first = zone.to_datetime(from).date();
        let last = zone.to_datetime(Timestamp::from_second(end).unwrap()).date();
        let mut date = first;
        while date <= last {
            if date.day() == 1 {
                begins(Calendar::Month, date);
            }
            if date.weekday() == jiff::civil::Weekday::Monday {
                begins(Calendar::Week, date);
                begins(Calendar::Day, date);
            }
            date = date.tomorrow().unwrap();
        }
        let has_hours = offsets.keep_minutes();
        if !has_hours {
            without_hours.push(name.to_string());
        }
        for &change in &changes {
            let date = zone.to_datetime(Timestamp::from_second(change).unwrap()).date();
            (-2..=2).for_each(|days| begins(Calendar::Day, date.checked_add(days.days()).unwrap()));
            for seconds in [-7_200, -3_600, -1_800, -1, 0, 1, 1_799, 3_600, 7_200] {
                let at = Timestamp::from_second(change + seconds).unwrap();
                let ns = at.as_second() as u64 * SECOND;
                assert_eq!(
                    local.date_time(ns).to_string()[..19],
                    zone.to_datetime(at).strftime("%F %T").to_string()
                );
                for period in [Calendar::Day, Calendar::Week, Calendar::Month] {
                    is_in_its_window(&local, period, ns).unwrap();
                }
                if has_hours {
                    is_in_its_window(&local, Calendar::Hour, ns).unwrap();
                    let start = local.start_of(Calendar::Hour, local.index_of(Calendar::Hour, ns));
                    let shown = zone.to_datetime(Timestamp::from_second((start / SECOND) as i64).unwrap());
                    assert_eq!((shown.minute(), shown.second()), (0, 0), "{name}: an hour");
                }
            }
        }
    }
    assert!(zones > 400 && with_changes > 100, "{zones} zones, {with_changes} with changes");
    assert_eq!(without_hours, ["Australia/LHI", "Australia/Lord_Howe"]);
}
