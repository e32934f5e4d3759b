//! Whether the documentation is right about the sources: each test, module and file that the pages and the tables of modules
//! name exists, each module of tests with real processes is named, and figures that are quoted are those of the benchmark.

mod format;
mod keyed_files;

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const DOCUMENTS: [&str; 2] = ["docs/guarantees.md", "docs/security.md"];
/// Folders of `tests` without tests of promises.
const NO_PROMISE: [&str; 2] = ["docs", "harness"];

/// Modules and the tests in them, as `folder::module::test`: the last parts of a path say which one is meant.
struct Sources(HashSet<String>);

impl Sources {
    fn read() -> Sources {
        let mut names = HashSet::new();
        for folder in ["crates", "tests"] {
            add_folder(&Path::new(ROOT).join(folder), folder, &mut names);
        }
        Sources(names)
    }

    /// Whether there is a module or a test with this name, or with these last parts of its name.
    fn has(&self, name: &str) -> bool {
        let end = format!("::{name}");
        self.0.iter().any(|known| known.ends_with(&end))
    }

    /// Modules of tests with real processes, as `folder::module`.
    fn modules_of_promises(&self) -> Vec<String> {
        let mut modules: Vec<String> = Vec::new();
        for name in &self.0 {
            if let ["tests", folder, module] = name.split("::").collect::<Vec<_>>()[..]
                && !NO_PROMISE.contains(&folder)
                && Path::new(ROOT).join(format!("tests/{folder}/{module}.rs")).exists()
            {
                modules.push(format!("{folder}::{module}"));
            }
        }
        modules.sort();
        modules
    }
}

fn add_folder(folder: &Path, module: &str, names: &mut HashSet<String>) {
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        let Some(stem) = path.file_stem().and_then(|stem| stem.to_str()) else { continue };
        let inside = match stem {
            "main" | "mod" | "lib" => module.to_owned(),
            _ => format!("{module}::{stem}"),
        };
        if path.is_dir() {
            names.insert(inside.clone());
            add_folder(&path, &inside, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a source");
            names.extend(tests_in(&text).map(|test| format!("{inside}::{test}")));
            names.insert(inside);
        }
    }
}

/// The functions with the attribute of a test, properties included.
fn tests_in(source: &str) -> impl Iterator<Item = &str> {
    let mut is_test = false;
    source.lines().map(str::trim_start).filter_map(move |line| {
        is_test |= line == "#[test]" || line.starts_with("#[tokio::test");
        let name = line.trim_start_matches("async ").strip_prefix("fn ")?.split(['(', '<']).next()?;
        std::mem::take(&mut is_test).then_some(name)
    })
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

fn is_source(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == "rs")
}

/// What is wrong with a name in the documentation, if it is the name of a test, a module of tests or a file.
fn wrong(name: &str, sources: &Sources) -> Option<String> {
    let is_identifier = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_lowercase())
            && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    let is_path = ["crates/", "tests/"].iter().any(|folder| name.starts_with(folder)) || is_source(name);
    if is_path {
        let exists = Path::new(ROOT).join(name).exists();
        return (!exists).then(|| format!("there is no file `{name}`"));
    }
    // Names of functions in the library are shorter.
    let is_test =
        name.split("::").all(is_identifier) && (name.contains("::") || name.matches('_').count() > 2);
    (is_test && !sources.has(name)).then(|| format!("there is no test or module `{name}`"))
}

#[test]
fn every_test_that_the_documentation_names_exists() {
    let sources = Sources::read();
    for document in DOCUMENTS {
        let text = fs::read_to_string(Path::new(ROOT).join(document)).expect("a document");
        let wrong: Vec<String> = quoted(&text).filter_map(|name| wrong(name, &sources)).collect();
        assert!(wrong.is_empty(), "{document}:\n{}", wrong.join("\n"));
    }
}

/// Where file names on these pages begin.
const PARTS: [&str; 5] =
    ["", "crates", "crates/shm-core/src", "crates/shm-core/src/limit", "crates/shm-core/src/limiter/wait"];

/// A page that leads a newcomer to files and folders must lead to files and folders.
#[test]
fn every_source_file_and_folder_that_a_page_names_exists() {
    for document in ["docs/architecture.md", "docs/format.md", "CONTRIBUTING.md"] {
        let text = fs::read_to_string(Path::new(ROOT).join(document)).expect("a document");
        let is_folder = |name: &str| name.ends_with('/');
        let files =
            quoted(&text).filter(|name| (is_source(name) || is_folder(name)) && !name.contains([' ', '*']));
        let exists = |file: &str| PARTS.iter().any(|part| Path::new(ROOT).join(part).join(file).exists());
        let missing: Vec<&str> = files.filter(|file| !exists(file)).collect();
        assert!(missing.is_empty(), "{document} names files that do not exist: {missing:?}");
    }
}

/// What keeps the page on the format true exists: tests, and the reader.
#[test]
fn every_test_that_the_page_on_the_format_names_exists() {
    let sources = Sources::read();
    let text = fs::read_to_string(Path::new(ROOT).join("docs/format.md")).expect("a document");
    let names = || quoted(&text).filter(|name| !is_source(name));
    let wrong: Vec<String> = names().filter_map(|name| wrong(name, &sources)).collect();
    assert!(wrong.is_empty(), "docs/format.md:\n{}", wrong.join("\n"));
    for named in
        ["the_vectors_match_the_code", "the_reader_agrees_with_every_vector", "tests/docs/format_reader.py"]
    {
        assert!(names().any(|name| name == named), "docs/format.md does not name `{named}`");
    }
}

#[test]
fn every_file_in_the_table_of_a_module_exists() {
    let mut tables = 0;
    for part in ["crates", "tests", "xtask", "benches"] {
        for source in sources_below(&Path::new(ROOT).join(part)) {
            let text = fs::read_to_string(&source).expect("a source");
            let stem = source.file_stem().and_then(|stem| stem.to_str()).expect("a name");
            let parent = source.parent().expect("a folder");
            let folder =
                if ["mod", "lib", "main"].contains(&stem) { parent.to_owned() } else { parent.join(stem) };
            let exists = |name: &str| {
                name == stem
                    || folder.join(format!("{name}.rs")).exists()
                    || folder.join(name).join("mod.rs").exists()
            };
            let rows =
                text.lines().filter_map(|line| line.strip_prefix("//! | `")).filter_map(row_of_a_table);
            let rows: Vec<&str> = rows.flatten().collect();
            let missing: Vec<&&str> = rows.iter().filter(|name| !exists(name)).collect();
            assert!(missing.is_empty(), "{} lists files that do not exist: {missing:?}", source.display());
            tables += usize::from(!rows.is_empty());
        }
    }
    assert!(tables > 10, "only {tables} tables of files");
}

/// The names in the first cell of such a row, after its first backtick.
fn row_of_a_table(rest: &str) -> Option<impl Iterator<Item = &str>> {
    let (cell, _) = rest.split_once(" |")?;
    Some(cell.split('`').step_by(2).filter(|name| !name.is_empty()))
}

fn sources_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            found.extend(sources_below(&path));
        } else if is_source(&path.to_string_lossy()) {
            found.push(path);
        }
    }
    found
}

#[test]
fn the_comparison_quotes_the_benchmarks() {
    let read = |page: &str| fs::read_to_string(Path::new(ROOT).join(page)).expect("a document");
    let (benchmarks, comparison) = (read("docs/benchmarks.md"), read("docs/comparison.md"));
    let (_, admitted) = benchmarks.split_once("| admitted | ns |").expect("a table of admitted calls");
    let ns = |subject: &str| -> f64 {
        let row = admitted.lines().find_map(|line| line.strip_prefix(&format!("| {subject} | ")));
        let figure = row.and_then(|rest| rest.split(' ').next()?.parse().ok());
        figure.unwrap_or_else(|| panic!("no figure for {subject}"))
    };
    let peers = ["governor, quanta clock", "governor, monotonic clock", "ratelimit", "leaky-bucket"].map(ns);
    let (least, most) =
        (peers.iter().copied().fold(f64::MAX, f64::min), peers.iter().copied().fold(0.0, f64::max));
    for (row, figure) in [
        ("| shm-limit |", format!("{:.0} ns", ns("shm-limit, admitted"))),
        ("| governor, ", format!("{least:.0} to {most:.0} ns")),
        ("| a bucket behind a robust ", format!("{:.0} ns", ns("robust mutex in shared memory, by hand"))),
        ("| a bucket behind `flock` ", format!("{:.1} µs", ns("flock on a file, by hand") / 1e3)),
    ] {
        let line = comparison.lines().find(|line| line.starts_with(row)).expect("a row");
        assert!(line.ends_with(&format!(": {figure} |")), "benchmarks.md says {figure}: {line}");
    }
}

#[test]
fn every_module_of_tests_with_real_processes_is_named_in_the_documentation() {
    let texts =
        DOCUMENTS.map(|document| fs::read_to_string(Path::new(ROOT).join(document)).expect("a document"));
    let named: HashSet<&str> = texts.iter().flat_map(|text| quoted(text)).collect();
    let is_named = |module: &String| {
        let folder = module.split("::").next().expect("a folder");
        let inside = format!("{module}::");
        // These test all promises at once: their modules are parts of one test.
        ["storm", "faults", "fuzz", "conformance"].contains(&folder) && named.contains(folder)
            || named.iter().any(|name| name == module || name.starts_with(&inside))
    };
    let modules = Sources::read().modules_of_promises();
    assert!(modules.len() > 30, "{modules:?}");
    let missing: Vec<&String> = modules.iter().filter(|module| !is_named(module)).collect();
    assert!(missing.is_empty(), "not named in {DOCUMENTS:?}: {missing:?}");
}

#[test]
fn a_name_that_leads_nowhere_is_found() {
    let sources = Sources::read();
    for right in [
        "docs::a_name_that_leads_nowhere_is_found",
        "a_name_that_leads_nowhere_is_found",
        "no_leaks::permits",
        "tests/docs",
        "crates/shm-lib/src/lib.rs",
        // No names of tests.
        "try_acquire",
        "Admission::at",
        "5/s",
    ] {
        assert_eq!(wrong(right, &sources), None);
    }
    for nowhere in [
        "docs::a_name_that_was_renamed",
        "no_waste::permits",
        "harness::a_name_that_leads_nowhere_is_found",
        "a_name_that_was_renamed_meanwhile",
        "tests/adversary.rs",
        "limit/nowhere.rs",
    ] {
        assert!(wrong(nowhere, &sources).is_some(), "{nowhere}");
    }
}
