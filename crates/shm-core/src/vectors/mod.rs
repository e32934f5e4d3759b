//! The test vectors of the file format, `docs/format-vectors.json`: what this code computes, for other implementations and for
//! an independent reader (`tests/docs/format_reader.py`). `cargo xtask check vectors --bless` writes them.
//!
//! | file | content |
//! |---|---|
//! | `table` | the text of the file |
//! | `offsets` | where every word is |
//! | `words` | how words are packed, hashed and checked |
//! | `limits` | what each kind of limit decides |
//! | `records` | several limits at once |
//! | `keys` | what limits per key decide, and what happens to the slots of a row |
//! | `key_counts` | what is counted about keys |

mod key_counts;
mod keys;
mod limits;
mod offsets;
mod records;
mod table;
mod words;

use std::path::Path;
use table::Table;

/// Set to write the file instead of comparing it.
const BLESS: &str = "SHM_LIMIT_BLESS";

const ABOUT: &str = "Inputs and results for docs/format.md. The code generates this file: cargo xtask check vectors --bless. \
                     Every number is a decimal string, because many parsers round numbers above 2^53.";

fn generated() -> String {
    let mut table = Table::new(ABOUT);
    offsets::add(&mut table);
    words::add(&mut table);
    limits::add(&mut table);
    records::add(&mut table);
    keys::add(&mut table);
    key_counts::add(&mut table);
    table.finish()
}

#[test]
fn the_vectors_match_the_code() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    if !docs.is_dir() {
        eprintln!("SKIPPED the_vectors_match_the_code: the packaged crate has no docs/format-vectors.json");
        return;
    }
    let (file, text) = (docs.join("format-vectors.json"), generated());
    let parsed: serde_json::Value = serde_json::from_str(&text).expect("valid JSON");
    assert!(parsed.as_object().is_some_and(|sections| sections.len() > 10));
    if std::env::var_os(BLESS).is_some_and(|value| value == "1") {
        std::fs::write(&file, text).expect("to write docs/format-vectors.json");
        return;
    }
    let kept = std::fs::read_to_string(&file).unwrap_or_default();
    let differing =
        text.lines().zip(kept.lines().chain(std::iter::repeat(""))).find(|(now, then)| now != then);
    assert!(
        kept == text,
        "docs/format-vectors.json differs from the code, first in\n{differing:?}\nIf the format was meant to change: change \
         docs/format.md and tests/docs/format_reader.py, then cargo xtask check vectors --bless"
    );
}
