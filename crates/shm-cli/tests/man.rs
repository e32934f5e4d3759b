//! The manual pages: one for each command, which man(1)'s formatters render without a warning.

mod common;

use common::Sandbox;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

fn pages(sandbox: &Sandbox) -> Vec<PathBuf> {
    let said = sandbox.ok(&["man", sandbox.path().to_str().unwrap()]);
    said.lines().map(PathBuf::from).collect()
}

/// `None` if there is no such program here.
fn run(program: &str, args: &[&str], page: &PathBuf) -> Option<Output> {
    let output = Command::new(program).args(args).arg(page).stdin(Stdio::null()).output();
    if output.is_err() {
        eprintln!("skipped: there is no {program} here");
    }
    output.ok()
}

#[test]
fn there_is_a_page_for_the_program_and_for_each_command() {
    let sandbox = Sandbox::new();
    let pages = pages(&sandbox);
    let names: Vec<&str> = pages.iter().map(|page| page.file_name().unwrap().to_str().unwrap()).collect();
    let help = sandbox.ok(&["--help"]);
    let (_, commands) = help.split_once("Commands:\n").unwrap();
    let (commands, _) = commands.split_once("\n\n").unwrap();
    let commands = commands.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let mut expected = vec!["shm-limit.1".to_owned()];
    expected.extend(commands.map(|line| format!("shm-limit-{}.1", line.split_whitespace().next().unwrap())));
    expected.push("shm-limit-keys.7".to_owned());
    assert_eq!(names, expected);
    assert!(names.len() > 15);
    let topic = fs::read_to_string(pages.last().unwrap()).unwrap();
    assert!(topic.contains(".TH shm-limit-keys 7 2") && topic.contains("\\-\\-keyed"), "{topic}");
    for (page, name) in pages.iter().zip(&names).take(names.len() - 1) {
        let text = fs::read_to_string(page).unwrap();
        assert!(text.contains(&format!(".TH {} 1 2", name.trim_end_matches(".1"))), "{text}");
        assert!(text.contains(".SH EXAMPLES\n"), "{name}");
        // What the options mean, and nothing of what is hidden.
        assert!(text.contains(".SH OPTIONS\n") && !text.contains("demo\\-worker"), "{name}");
    }
}

#[test]
fn a_reproducible_build_chooses_the_date() {
    let sandbox = Sandbox::new();
    let mut command = sandbox.command(&["man", sandbox.path().to_str().unwrap()]);
    assert!(command.env("SOURCE_DATE_EPOCH", "86400").stdout(Stdio::null()).status().unwrap().success());
    let text = fs::read_to_string(sandbox.path().join("shm-limit.1")).unwrap();
    assert!(text.contains(".TH shm-limit 1 1970-01-02 "), "{text}");
}

#[test]
fn all_pages_render_without_warnings() {
    let sandbox = Sandbox::new();
    for page in pages(&sandbox) {
        for (program, args) in [
            ("groff", &["-man", "-ww", "-b", "-Tutf8", "-z"][..]),
            ("mandoc", &["-T", "lint", "-W", "warning"]),
        ] {
            let Some(output) = run(program, args, &page) else { continue };
            let said = [output.stdout, output.stderr].concat();
            assert!(said.is_empty(), "{program} {page:?}: {}", String::from_utf8_lossy(&said));
        }
    }
}

/// Examples and tables are not filled, so they must be narrow enough.
#[test]
fn no_line_of_a_rendered_page_is_wider_than_a_terminal() {
    let sandbox = Sandbox::new();
    for page in pages(&sandbox) {
        let Some(output) = run("groff", &["-man", "-Tutf8", "-P-cbou", "-rLL=78n"], &page) else { return };
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("EXAMPLES") || text.contains("shm-limit-keys(7)"));
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{page:?}: {line}");
        }
    }
}

#[test]
fn a_directory_that_does_not_exist_is_an_error() {
    let sandbox = Sandbox::new();
    let nowhere = sandbox.path().join("nowhere");
    let ended = sandbox.run(&["man", nowhere.to_str().unwrap()]);
    assert!(ended.status == 1 && ended.err.contains("nowhere"), "{}", ended.err);
}
