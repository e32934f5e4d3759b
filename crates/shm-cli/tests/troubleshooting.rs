//! The page on troubleshooting has a heading for each kind of error and for each STATE; the fields to monitor exist.

mod common;

use common::Sandbox;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;

const PAGE: &str = include_str!("../../../docs/troubleshooting.md");
const OPERATIONS: &str = include_str!("../../../docs/operations.md");
const KINDS: &str = include_str!("../../shm-core/src/error.rs");
const HEALTH: &str = include_str!("../src/output/json/mod.rs");
const STATE: &str = include_str!("../src/output/table.rs");
const INSPECT: &str = include_str!("../src/output/human/mod.rs");

/// What stands between the two, which must be there.
fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    let rest = text.split_once(start).unwrap_or_else(|| panic!("no {start:?} in the source")).1;
    rest.split_once(end).unwrap_or_else(|| panic!("no {end:?} after {start:?} in the source")).0
}

fn has_heading(what: &str) -> bool {
    PAGE.lines().any(|line| line == format!("### `{what}`"))
}

/// The string literals of a function's source that are words of a STATE.
fn words(source: &str) -> Vec<&str> {
    let literals = source
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| line.split('"').skip(1).step_by(2));
    literals.collect()
}

#[test]
fn every_kind_of_error_has_a_heading() {
    let lines = between(KINDS, "pub enum ErrorKind {\n", "\n}").lines().map(str::trim);
    let kinds: Vec<&str> = lines
        .filter(|line| !line.is_empty() && !line.starts_with("//") && !line.starts_with('#'))
        .map(|line| line.trim_end_matches(','))
        .collect();
    assert!(kinds.len() >= 21, "{kinds:?}");
    let missing: Vec<&&str> = kinds.iter().filter(|kind| !has_heading(kind)).collect();
    assert!(missing.is_empty(), "docs/troubleshooting.md has no heading for {missing:?}");
}

#[test]
fn the_page_quotes_what_inspect_says_of_a_late_process() {
    let late = between(INSPECT, "const LATE: &str = \", ", " (");
    assert!(PAGE.contains(&format!("`{late}`")), "docs/troubleshooting.md does not quote {late:?}");
}

#[test]
fn every_state_has_a_heading() {
    let health = words(between(HEALTH, "fn health(", "\n}"));
    // In `format!` the word is followed by what belongs to one limiter.
    let state = words(between(STATE, "fn state(", "\n}"));
    let states: Vec<String> = health
        .iter()
        .map(|word| word.replace('_', " "))
        .chain(state.iter().map(|word| {
            let plain = word.replace("{}", "").replace("{state}", "");
            plain.trim().to_owned()
        }))
        .collect();
    assert!(health.len() >= 8 && state.len() >= 4, "{states:?}");
    let missing: Vec<&String> = states.iter().filter(|state| !has_heading(state)).collect();
    assert!(missing.is_empty(), "docs/troubleshooting.md has no heading for {missing:?}");
}

/// The fields that the page on operations says to watch.
#[test]
fn fields_to_monitor_exist() {
    let place = Sandbox::new();
    place.ok(&["create", "api", "--rate", "5/s", "--permits", "4"]);
    let list = place.json(&["list", "--json"]);
    let rows = between(OPERATIONS, "| field | what it tells |\n", "\n\n").lines().skip(1);
    let fields: Vec<&str> = rows
        .filter_map(|row| row.split('|').nth(1))
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .collect();
    assert!(fields.len() >= 13, "{fields:?}");
    for field in fields {
        let found = field
            .split('.')
            .fold(&list[0], |value, name| value.get(name).unwrap_or_else(|| panic!("no {field} in {list}")));
        assert!(!found.is_object(), "{field}");
    }
}

/// What `list` really prints, for the states that any user can bring about.
#[test]
fn states_are_printed_as_the_page_names_them() {
    let place = Sandbox::new();
    for name in ["ok", "full", "paused", "corrupt", "incompatible", "untrusted"] {
        place.ok(&["create", name, "--rate", "1/h"]);
    }
    place.ok(&["create", "shadow", "--rate", "1/h", "--shadow"]);
    place.ok(&["acquire", "full"]);
    place.ok(&["pause", "paused", "1h"]);
    let open = |name: &str| OpenOptions::new().write(true).open(place.path().join(name)).unwrap();
    open("corrupt").set_len(10_000).unwrap();
    // Version and layout. (If only one word differs, the checksum tells that it is damaged.)
    open("incompatible").write_all_at(&[255; 16], 8).unwrap();
    for link in [".second", ".third"] {
        fs::hard_link(place.path().join("untrusted"), place.path().join(link)).unwrap();
    }
    fs::write(place.path().join("junk"), "junk").unwrap();

    let table = place.ok(&["list"]);
    let row = |name: &str| table.lines().find(|line| line.starts_with(name)).unwrap();
    for (name, state) in [
        ("ok", "ok"),
        ("full", "full"),
        ("paused", "paused"),
        ("shadow", "(shadow)"),
        ("corrupt", "corrupt"),
        ("incompatible", "incompatible"),
        ("untrusted", "untrusted"),
        ("junk", "not a limiter"),
    ] {
        assert!(has_heading(state), "{state}");
        let shown = row(name);
        let is_shown = if state == "paused" { shown.contains(" paused ") } else { shown.ends_with(state) };
        assert!(is_shown, "{state}: {shown}");
    }
}
