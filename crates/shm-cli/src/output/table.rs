//! `list` for people: one row per limiter, and the full ones stand out.

use crate::output::{BAD, GOOD, STRONG, Seen, json, paint, span};
use anstyle::Style;
use shm_lib::Inspection;

const HEAD: [&str; 11] =
    ["NAME", "RATE", "BURST", "USED", "FREE", "QUEUE", "NEXT", "ADMITTED", "DENIED", "PROCS", "STATE"];
const STATE: usize = HEAD.len() - 1;

/// The table, ready to print.
pub(crate) fn table(limiters: &[Seen]) -> String {
    let rows: Vec<([String; HEAD.len()], Style)> = limiters.iter().map(row).collect();
    let width = |column: usize| {
        let cells = rows.iter().map(|(cells, _)| cells[column].chars().count());
        cells.max().unwrap_or(0).max(HEAD[column].len())
    };
    let widths: [usize; HEAD.len()] = std::array::from_fn(width);
    let mut text = String::new();
    let mut line = |cells: &[String; HEAD.len()], style: Style| {
        for (column, cell) in cells.iter().enumerate() {
            let width = widths[column];
            match column {
                0 => text += &format!("{cell:<width$} "),
                STATE => text += &format!(" {}\n", paint(style, cell)),
                _ => text += &format!(" {cell:>width$}"),
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

fn row(seen: &Seen) -> ([String; HEAD.len()], Style) {
    let mut cells: [String; HEAD.len()] = std::array::from_fn(|_| "-".to_owned());
    cells[0] = seen.name.to_string();
    let (state, style) = match &seen.inspection {
        Ok(found) => {
            let next = found.outlook.next_at.since(found.now);
            let figures = [
                found.limit.rate().to_string(),
                found.limit.burst().to_string(),
                found.outlook.used.to_string(),
                found.outlook.available.to_string(),
                found.outlook.queued.to_string(),
                if next.is_zero() { "now".to_owned() } else { span::short(next) },
                found.counts.admitted.to_string(),
                found.counts.denied.to_string(),
                found.attached.len().to_string(),
            ];
            cells[1..STATE].clone_from_slice(&figures);
            state(found)
        }
        Err(e) => (json::health(e).replace('_', " "), BAD),
    };
    cells[STATE] = state;
    (cells, style)
}

/// What a person looks for first.
pub(crate) fn state(found: &Inspection) -> (String, Style) {
    match found.paused_until {
        Some(until) => (format!("paused {}", span::short(until.since(found.now))), BAD),
        None if found.outlook.available == 0 => ("full".to_owned(), BAD),
        None => ("ok".to_owned(), GOOD),
    }
}
