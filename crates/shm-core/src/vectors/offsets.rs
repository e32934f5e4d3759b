//! Where every word is: sizes and offsets in bytes, from the layout's own types.

use super::table::{Row, Table};
use crate::commit::in_memory;
use crate::layout::{
    CELL_PAIR, CELL_WORDS, CHUNK, CalendarWords, Cell, Counters, DENIED_KEYS, DENIED_NAME, DeniedKeyWords,
    EVENT_SECONDS, EpochLine, EventWords, FINGERPRINT, GENERATIONS, Generation, GenerationHeader, Geometry,
    Header, Holder, Identity, KeyLimitDetails, KeyLimitParams, KeyLimitWords, KeyStatsWords, LIMITS,
    LimitDetails, LimitParams, LimitWords, LineHeader, MAGIC, PLACES, Place, RINGS, RowSlots, SEATS_OFFSET,
    SLOTS, Seat, State, TURNS, TurnSlot, TurnTable, VERSION,
};
use std::mem::offset_of;

/// The size of a type, and the offsets of these fields in it.
macro_rules! offsets {
    ($type:ty; $($field:ident),*) => {
        Row::default().number("size", size_of::<$type>())$(.number(stringify!($field), offset_of!($type, $field)))*
    };
}

pub(super) fn add(table: &mut Table) {
    table.number("magic", MAGIC);
    table.number("version", VERSION);
    table.number("fingerprint", FINGERPRINT);
    let parts = [
        (
            "file",
            offsets!(Header; identity, geometry, name, epoch_line, line, seatless, coherence_probe, generations, turns),
        ),
        (
            "identity",
            offsets!(Identity; magic, version, layout, file_size, boot_id, time_namespace, checksum),
        ),
        (
            "geometry",
            offsets!(
                Geometry;
                seats, name_len, created_ns, created_unix, cells, permits, rings, wall_ns, key_tables, key_rows, hash_key
            ),
        ),
        ("epoch_line", offsets!(EpochLine; epoch)),
        ("line", offsets!(LineHeader; probed_ns, unordered, probed_all_ns, dead_found_ns)),
        ("generation", offsets!(Generation; header, limits, key_limits, calendar, state)),
        (
            "generation_header",
            offsets!(
                GenerationHeader;
                number, origin, since_ns, not_before_ns, shape, max_waiters, checksum, wall_ns
            ),
        ),
        ("limit", offsets!(LimitWords; params, details)),
        ("limit_params", offsets!(LimitParams; kind, burst, ticks_per_ns, ns_per_tick, floor, fast_burst)),
        ("limit_details", offsets!(LimitDetails; max, per_ns, guard_ns, unit)),
        ("key_limit", offsets!(KeyLimitWords; params, details)),
        (
            "key_limit_params",
            offsets!(KeyLimitParams; kind, burst, speed, inverse, floor, anchor_ns, anchor_ticks),
        ),
        ("key_limit_details", offsets!(KeyLimitDetails; max, per_ns, unit)),
        ("calendar", offsets!(CalendarWords; zone, offsets, earliest_ns, continuous_ns)),
        ("state", offsets!(State; word, reserved)),
        ("turns", offsets!(TurnTable; states, instants, turns)),
        ("turn", offsets!(TurnSlot; number, epoch, before, after, costs, charged)),
        ("seat", offsets!(Seat; holder, before, own, shared)),
        ("holder", offsets!(Holder; tenure, pid, pid_namespace, since_ns, command)),
        ("counters", offsets!(Counters; admitted, extra_calls, denied, waited, waited_ns)),
        ("place", offsets!(Place; ticket, plan, bell, behind, newest, epoch, costs, holder)),
        ("cell", offsets!(Cell; words)),
        ("key_stats", offsets!(KeyStatsWords; forgotten, inherited, refused, denied)),
        ("events", offsets!(EventWords; total, seconds)),
        ("denied_key", offsets!(DeniedKeyWords; tag, recent, before, name_len, check, name)),
        ("row", Row::default().number("size", size_of::<RowSlots>())),
    ];
    table.named("offsets", &parts);
    table.section("numbers", &[numbers()]);
}

fn numbers() -> Row {
    Row::default()
        .number("generations", GENERATIONS)
        .number("limits", LIMITS)
        .number("rings", RINGS)
        .number("turns", TURNS)
        .number("least_places", PLACES.start())
        .number("most_places", PLACES.end())
        .number("cell_words", CELL_WORDS)
        .number("cells_of_an_owner", CELL_PAIR)
        .number("seats_offset", SEATS_OFFSET)
        .number("slots_of_a_row", SLOTS)
        .number("chunk", CHUNK)
        .number("event_seconds", EVENT_SECONDS)
        .number("denied_keys", DENIED_KEYS)
        .number("denied_name", DENIED_NAME)
        // The words of a generation that its checksum covers, in this order.
        .list("summed_in_generation", in_memory::summed_offsets())
}
