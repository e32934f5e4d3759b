//! The page on the file format suffices: an implementation of that page alone computes every vector. (It reads the files of
//! live limiters in `crates/shm-cli/tests/format.rs`.)

use super::ROOT;
use harness::skip;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub(super) const READER: &str = "tests/docs/format_reader.py";

fn vectors() -> PathBuf {
    Path::new(ROOT).join("docs/format-vectors.json")
}

fn read(vectors: &Path) -> std::io::Result<Output> {
    Command::new("python3").arg(Path::new(ROOT).join(READER)).arg("vectors").arg(vectors).output()
}

#[test]
fn the_reader_agrees_with_every_vector() {
    let output = match read(&vectors()) {
        Ok(output) => output,
        Err(why) => skip!("python3 cannot be started: {why}"),
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let sections = String::from_utf8_lossy(&output.stdout).matches(':').count();
    assert!(sections > 20, "only {sections} sections were checked");
}

/// The last number of a row, one greater.
fn changed(row: &str) -> Option<String> {
    let end = row.rfind(|c: char| c.is_ascii_digit())? + 1;
    let start = row[..end].rfind(|c: char| !c.is_ascii_digit())? + 1;
    let number: u128 = row[start..end].parse().ok()?;
    Some(format!("{}{}{}", &row[..start], number + 1, &row[end..]))
}

/// Otherwise the test above could not fail: in each section one result is made wrong.
#[test]
fn the_reader_finds_one_wrong_number_in_any_section() {
    if let Err(why) = Command::new("python3").arg("--version").output() {
        skip!("python3 cannot be started: {why}");
    }
    let text = fs::read_to_string(vectors()).expect("the vectors");
    let lines: Vec<&str> = text.lines().collect();
    let dir = tempfile::tempdir().expect("a directory");
    let (mut section, mut tried) = ("", 0);
    for (i, line) in lines.iter().enumerate() {
        if line.ends_with("\": [") || line.ends_with("\": {") {
            section = line;
            continue;
        }
        // The first row of each section; of the configurations and offsets, whose last words mean nothing, none.
        let is_first = lines[i - 1.min(i)] == section && !section.is_empty();
        if !is_first
            || ["offsets", "numbers", "names", "configurations"].iter().any(|name| section.contains(name))
        {
            continue;
        }
        let Some(wrong) = changed(line) else { panic!("no number in {line}") };
        let mut all = lines.clone();
        all[i] = &wrong;
        let file = dir.path().join("vectors.json");
        fs::write(&file, all.join("\n")).expect("to write");
        let output = read(&file).expect("python3");
        let said = String::from_utf8_lossy(&output.stderr);
        let name = section.trim_matches(['"', ':', ' ', '[', '{']);
        assert!(!output.status.success() && said.contains(&format!("{name}[0]: ")), "{name}: {said}");
        tried += 1;
    }
    assert!(tried > 15, "only {tried} sections");
}
