//! `list` for humans: one row per limiter, with the usage of the tightest of its limits. Full limiters stand out.

use crate::output::{
    BAD, GOOD, STRONG, Snapshot, WARNING, WEAK, duration, json, keys, paint, printable, usage,
};
use anstyle::Style;
use shm_lib::limit::{LimitKind, LimitSpec};
use shm_lib::{Inspection, Limit};
use unicode_width::UnicodeWidthStr;

const HEAD: [&str; 13] = [
    "NAME", "LIMIT", "BURST", "USED", "FREE", "QUEUE", "NEXT", "PERMITS", "KEYS", "ADMITTED", "DENIED",
    "PROCS", "STATE",
];
const QUEUE: usize = 5;
const KEYS: usize = 8;
const STATE: usize = HEAD.len() - 1;

/// The table, ready to print.
pub(crate) fn table(limiters: &[Snapshot]) -> String {
    let rows: Vec<([String; HEAD.len()], Style)> = limiters.iter().map(row).collect();
    let width = |column: usize| {
        let cells = rows.iter().map(|(cells, _)| cells[column].width());
        cells.max().unwrap_or(0).max(HEAD[column].len())
    };
    let widths: [usize; HEAD.len()] = std::array::from_fn(width);
    // Most directories have no limiter with limits per key.
    let has_keys = rows.iter().any(|(cells, _)| cells[KEYS] != NOTHING);
    let mut text = String::new();
    let mut line = |cells: &[String; HEAD.len()], style: Style| {
        for (column, cell) in cells.iter().enumerate() {
            let width = widths[column];
            match column {
                KEYS if !has_keys => {}
                0 => text += &format!("{} ", left(cell, width)),
                STATE => text += &format!(" {}\n", paint(style, cell)),
                _ => text += &format!(" {}", right(cell, width)),
            }
        }
    };
    line(&HEAD.map(str::to_owned), Style::new());
    for (cells, style) in &rows {
        line(cells, *style);
    }
    match text.split_once('\n') {
        Some((head, rest)) => format!("{}\n{rest}", paint(STRONG, head)),
        None => text,
    }
}

/// The text, padded to this number of cells of a terminal: a wide character takes two cells, a combining mark none.
pub(crate) fn left(text: &str, cells: usize) -> String {
    format!("{text}{}", gap(text, cells))
}

fn right(text: &str, cells: usize) -> String {
    format!("{}{text}", gap(text, cells))
}

fn gap(text: &str, cells: usize) -> String {
    " ".repeat(cells.saturating_sub(text.width()))
}

/// A cell without a value.
const NOTHING: &str = "-";

fn row(seen: &Snapshot) -> ([String; HEAD.len()], Style) {
    let mut cells: [String; HEAD.len()] = std::array::from_fn(|_| NOTHING.to_owned());
    cells[0] = printable::word(seen.name.as_str());
    let (state, style) = match &seen.inspection {
        Ok(found) => {
            if let Some(per_key) = found.policy.keys()
                && let Some(first) = per_key.limits().next()
            {
                let others = per_key.limits().count() - 1 + found.limits.len();
                cells[1..3].clone_from_slice(&[short(first, " per key", others), first.burst().to_string()]);
            } else if let Some((limit, status)) =
                usage::tightest(found).and_then(|index| usage::of(found).nth(index))
            {
                let figures = [
                    short(limit, "", found.limits.len() - 1),
                    limit.burst().to_string(),
                    status.used.to_string(),
                    status.available.to_string(),
                ];
                cells[1..QUEUE].clone_from_slice(&figures);
            }
            let next = usage::next_in(found);
            let figures = [
                found.callers_waiting().to_string(),
                match found.policy.permits() {
                    // When a permit will be free is not known.
                    Some(n) if found.permits_held >= n.into() => NOTHING.to_owned(),
                    _ if next.is_zero() => "now".to_owned(),
                    _ => duration::short(next),
                },
                found.policy.permits().map_or(NOTHING.to_owned(), |n| format!("{}/{n}", found.permits_held)),
                found
                    .keys
                    .as_ref()
                    .map_or(NOTHING.to_owned(), |keys| format!("{}%", keys::percent(&keys.table))),
                found.counts.admitted.to_string(),
                found.counts.denied.to_string(),
                found.attached.len().to_string(),
            ];
            cells[QUEUE..STATE].clone_from_slice(&figures);
            state(found)
        }
        Err(e) => (json::health(e).replace('_', " "), BAD),
    };
    cells[STATE] = state;
    (cells, style)
}

/// A limit in a few words, and how many others there are.
fn short(limit: Limit, of: &str, others: usize) -> String {
    let unit = if limit.unit().is_calls() { String::new() } else { format!("{} ", limit.unit()) };
    let kind = match LimitSpec::from(limit).kind {
        LimitKind::Bucket => String::new(),
        kind => format!(" {kind}"),
    };
    let more = if others > 0 { format!(" +{others}") } else { String::new() };
    format!("{unit}{}{kind}{of}{more}", limit.rate())
}

/// The state of a limiter, which a human looks at first.
pub(crate) fn state(found: &Inspection) -> (String, Style) {
    let (state, style) = match (found.paused_until, keys::warning_of(found)) {
        (Some(until), _) => (format!("paused {}", duration::short(until.since(found.now))), BAD),
        (None, Some(keys::Warning::TableFull)) => ("table full".to_owned(), BAD),
        (None, Some(keys::Warning::NearCapacity)) => ("near capacity".to_owned(), WARNING),
        (None, None) if usage::is_full(found) => ("full".to_owned(), BAD),
        (None, None) => ("ok".to_owned(), GOOD),
    };
    // No request is denied, so nothing is urgent.
    if found.policy.is_shadow() { (format!("{state} (shadow)"), WEAK) } else { (state, style) }
}
