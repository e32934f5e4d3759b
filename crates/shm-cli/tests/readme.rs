//! The shell commands of the README, the guide and the pages on migration work.

mod common;

use common::Sandbox;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

const README: &str = include_str!("../../../README.md");
const GUIDE: &str = include_str!("../../../docs/guide.md");
const MIGRATION: &str = include_str!("../../../docs/migration.md");
const PYRATE: &str = include_str!("../../../docs/python/pyrate.md");
const RATELIMIT: &str = include_str!("../../../docs/python/ratelimit.md");
const AIOLIMITER: &str = include_str!("../../../docs/python/aiolimiter.md");
const POLICY: &str = include_str!("../../../docs/policy.toml");

/// The `sh` blocks of a text.
fn blocks(text: &str) -> impl Iterator<Item = &str> {
    text.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next())
}

/// The lines of a text's `sh` blocks that begin with the command, as words; the network left out.
fn commands(text: &str) -> Vec<Vec<String>> {
    blocks(text)
        .flat_map(str::lines)
        .filter_map(|line| line.strip_prefix("shm-limit "))
        .map(|line| {
            let command = line.split('#').next().unwrap_or_default();
            // The process of the shell is this one.
            let command = command.replace("$$", &std::process::id().to_string());
            command.replace("curl https://api.example.com/", "true").replace("docs/", "../../docs/")
        })
        .map(|line| line.split_whitespace().map(str::to_owned).collect())
        .collect()
}

fn all_work_in_their_order(text: &str, at_least: usize) {
    all_work_in(&Sandbox::new(), text, at_least);
}

fn all_work_in(place: &Sandbox, text: &str, at_least: usize) {
    let commands = commands(text);
    assert!(commands.len() >= at_least, "{commands:?}");
    for command in commands {
        let words: Vec<&str> = command.iter().map(String::as_str).collect();
        let ended = place.run(&words);
        assert_eq!(ended.status, 0, "{words:?}: {}", ended.err);
    }
}

#[test]
fn every_command_of_the_readme_works_in_its_order() {
    all_work_in_their_order(README, 6);
}

#[test]
fn every_command_of_the_guide_works_in_its_order() {
    all_work_in_their_order(GUIDE, 26);
}

#[test]
fn every_command_of_the_migration_page_works_in_its_order() {
    all_work_in_their_order(MIGRATION, 5);
}

/// The programs on these pages create the limiters, and run in the tests of the Python package.
#[test]
fn every_command_of_the_python_pages_on_migration_works_in_its_order() {
    let place = Sandbox::new();
    for create in [
        "create crawl --rate 5/s --greedy --guard 1ms --rate 100/m --greedy --guard 1ms",
        "create users --keyed --rate 5/s --burst 10",
        "create calls --rate 3/500ms --window first-use",
        "create uploads --rate 10/m --burst 10",
    ] {
        let words: Vec<&str> = create.split_whitespace().collect();
        let ended = place.run(&words);
        assert_eq!(ended.status, 0, "{words:?}: {}", ended.err);
    }
    for (page, at_least) in [(PYRATE, 5), (RATELIMIT, 3), (AIOLIMITER, 3)] {
        all_work_in(&place, page, at_least);
    }
}

/// Runs the one block of the guide that contains `word` with `sh`, the command in its PATH after the programs in `stubs`.
fn run_block(place: &Sandbox, word: &str, stubs: &Path) -> Output {
    let found: Vec<&str> = blocks(GUIDE).filter(|block| block.contains(word)).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    let command = Path::new(env!("CARGO_BIN_EXE_shm-limit")).parent().unwrap();
    let path = std::env::var("PATH").unwrap();
    Command::new("sh")
        .args(["-euc", found[0]])
        .env("PATH", format!("{}:{}:{path}", stubs.display(), command.display()))
        .env("SHM_LIMIT_DIR", place.path())
        .env("URL", "https://api.example.com/")
        .current_dir(stubs)
        .output()
        .unwrap()
}

#[test]
fn parallel_jobs_of_the_guide_all_run_under_the_limit() {
    let (place, stubs) = (Sandbox::new(), tempfile::tempdir().unwrap());
    let output = run_block(&place, "xargs", stubs.path());
    let text = String::from_utf8(output.stdout).unwrap();
    let mut pages: Vec<&str> = text.lines().collect();
    pages.sort_unstable();
    assert_eq!(pages, ["page 1", "page 2", "page 3", "page 4"]);
    let seen = place.json(&["inspect", "crawl", "--json"]);
    assert_eq!((&seen["admitted"], &seen["waited"]), (&4.into(), &3.into()));
}

#[test]
fn the_loop_of_the_guide_pauses_the_limiter_after_a_429_and_tries_again() {
    let (place, stubs) = (Sandbox::new(), tempfile::tempdir().unwrap());
    let curl = stubs.path().join("curl");
    let answers = r#"#!/bin/sh
echo call >> calls
if [ "$(wc -l < calls)" = 1 ]; then
    printf 'HTTP/1.1 429 Too Many Requests\r\nRetry-After: 2\r\n\r\n' > headers; printf 429
else
    printf 'HTTP/1.1 200 OK\r\n\r\n' > headers; printf 200
fi
"#;
    fs::write(&curl, answers).unwrap();
    fs::set_permissions(&curl, fs::Permissions::from_mode(0o755)).unwrap();
    let output = run_block(&place, "curl -sS -o answer", stubs.path());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8(output.stdout).unwrap().starts_with("api: paused for 2"));
    assert_eq!(fs::read_to_string(stubs.path().join("calls")).unwrap(), "call\ncall\n");
    let seen = place.json(&["inspect", "api", "--json"]);
    // The second call waited for what was left of the pause.
    assert_eq!((&seen["admitted"], &seen["waited"], &seen["changes"]), (&2.into(), &1.into(), &1.into()));
    assert!(seen["waited_total_s"].as_f64().unwrap() > 1.0, "{seen}");
}

#[test]
fn the_policy_in_the_guide_is_the_file_beside_it() {
    assert!(GUIDE.contains(&format!("```toml\n{POLICY}```")));
}

/// What a heading is called in a link, as GitHub does it.
fn anchor(heading: &str) -> String {
    let plain = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    plain.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
}

/// A text without its code blocks.
fn prose(text: &str) -> String {
    text.split("```").step_by(2).collect()
}

#[test]
fn links_between_the_pages_lead_to_files_and_headings() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut links = 0;
    for page in [
        "README.md",
        "docs/guide.md",
        "docs/operations.md",
        "docs/troubleshooting.md",
        "docs/migration.md",
        "docs/comparison.md",
        "docs/python.md",
        "docs/python/pyrate.md",
        "docs/python/ratelimit.md",
        "docs/python/aiolimiter.md",
    ] {
        let page = root.join(page);
        let text = prose(&fs::read_to_string(&page).unwrap());
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.starts_with("https://") {
                continue;
            }
            links += 1;
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            assert!(target.exists(), "{link} in {}", page.display());
            if !heading.is_empty() {
                let text = prose(&fs::read_to_string(&target).unwrap());
                let headings = text.lines().filter(|line| line.starts_with('#'));
                let is_there =
                    headings.map(|line| line.trim_start_matches('#').trim()).any(|h| anchor(h) == heading);
                assert!(is_there, "{link} in {}", page.display());
            }
        }
    }
    assert!(links > 100, "{links}");
}
