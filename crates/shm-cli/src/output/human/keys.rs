//! Limits per key on the page about a limiter, and the page about one key.

use super::{Page, ahead, free};
use crate::output::{STRONG, WARNING, keys, paint, printable, size};
use shm_lib::{Inspection, KeyInspection, KeyPolicy, KeyStatus, Name};
use std::fmt::Write;
use std::path::Path;

/// The state of a key that is not in the table and has used something all the same.
const INHERITS: &str = "not in the table, which is too full for it: the usage below is that of another key";

/// A page about one key.
pub(crate) fn describe_key(
    name: &Name,
    path: &Path,
    key_parts: &[String],
    seen: &Inspection,
    status: &[KeyStatus],
) -> String {
    let name = paint(STRONG, printable::word(name.as_str()));
    let mut page = Page(format!("{name}  key {}\n", paint(STRONG, key(key_parts))));
    page.line("file", printable::path(path));
    page.shadow(seen);
    if status.iter().all(|status| !status.known) {
        page.line(
            "state",
            if keys::inherits(status) {
                INHERITS
            } else {
                "not in the table: it has used nothing, or has recovered"
            },
        );
    }
    page.limits_per_key(seen, status);
    page.limits(seen);
    page.permits(seen);
    page.paused(seen);
    page.0
}

/// A key, by its parts.
pub(crate) fn key(parts: &[String]) -> String {
    let part = |part: &String| if part.is_empty() { "\"\"".to_owned() } else { printable::word(part) };
    parts.iter().map(part).collect::<Vec<_>>().join(" + ")
}

impl Page {
    /// Each limit per key, and below it the usage of a key if there is one. Numbered if there are several.
    pub(super) fn limits_per_key(&mut self, seen: &Inspection, status: &[KeyStatus]) {
        let Some(keys) = seen.policy.keys() else { return };
        let many = keys.limits().count() > 1;
        for (index, limit) in keys.limits().enumerate() {
            let label = if many { format!("per key {}", index + 1) } else { "per key".to_owned() };
            self.line(&label, limit);
            if let Some(status) = status.get(index) {
                let usage = free(limit, status.available, status.used, status.next_at.since(seen.now));
                match status.charged_ahead {
                    0 => self.line("", usage),
                    n => self.line("", format_args!("{usage}; {}", ahead(limit.unit(), n))),
                }
            }
        }
    }

    /// How full the table of keys is, what that leads to, and what to do about it.
    pub(super) fn keys(&mut self, seen: &Inspection, keys: &KeyInspection, name: &Name, path: &Path) {
        let table = &keys.table;
        let percent = keys::percent(table);
        let fill = format!("{} of {} in use ({percent}%, estimated)", table.live, table.capacity);
        let warning = keys::warning(table);
        self.line("keys", if warning.is_some() { paint(WARNING, fill) } else { fill });
        let (recent, all) = (table.forgotten.last_minute, table.forgotten.total);
        self.line("", format_args!("forgotten early: {recent} in the last minute, {all} in all"));
        let (recent, all) = keys::new_keys_denied(table);
        self.line("", format_args!("new keys denied: {recent} in the last minute, {all} in all"));
        self.line("memory", format_args!("{} of {}", size(table.allocated), size(table.bytes)));
        let Some(warning) = warning else { return };
        let refuses = seen.policy.keys().is_some_and(KeyPolicy::refuses_new_keys);
        let what = match (warning, refuses) {
            (keys::Warning::NearCapacity, _) if percent >= 100 => {
                "more keys are in use than the capacity; new keys are denied at times, although they used nothing"
            }
            (keys::Warning::NearCapacity, _) => {
                "the table is nearly full; soon new keys are denied, although they used nothing"
            }
            (keys::Warning::TableFull, true) => {
                "the table is too full: new keys are denied, although they used nothing"
            }
            (keys::Warning::TableFull, false) => {
                "the table is too full: new keys start with what other keys owe, and are denied for it"
            }
        };
        self.line("warning", paint(WARNING, what));
        let capacity = keys::advised_capacity(table);
        self.line(
            "",
            format_args!(
                "choose a capacity of {capacity}. All keys then start unused, and processes go over to it:"
            ),
        );
        let command = keys::command_for(capacity, name, path, seen);
        self.line("", command);
    }

    /// The keys that are denied most.
    pub(super) fn most_denied(&mut self, seen: &Inspection, keys: &KeyInspection, n: usize) {
        if seen.policy.keys().is_some_and(KeyPolicy::hides_names) {
            self.line("top", "the names of denied keys are not kept (--hide-names)");
            return;
        }
        let top = keys::top(keys, n);
        if top.is_empty() {
            return;
        }
        self.line("top", "keys by denials in the last minute, a sample:");
        let width = top.iter().map(|denied| denied.last_minute.to_string().len()).max().unwrap_or(0);
        for denied in top {
            let _ = writeln!(self.0, "    {:>width$}  {}", denied.last_minute, key(&denied.key));
        }
    }
}
