//! The shell commands of the README and the guide work.

mod common;

use common::Sandbox;

const README: &str = include_str!("../../../README.md");
const GUIDE: &str = include_str!("../../../docs/guide.md");
const POLICY: &str = include_str!("../../../docs/policy.toml");

/// The lines of a text's `sh` blocks that begin with the command, as words; without network access.
fn commands(text: &str) -> Vec<Vec<String>> {
    let blocks = text.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks
        .flat_map(str::lines)
        .filter_map(|line| line.strip_prefix("shm-limit "))
        .map(|line| {
            let command = line.split('#').next().unwrap_or_default();
            command.replace("curl https://api.example.com/", "true").replace("docs/", "../../docs/")
        })
        .map(|line| line.split_whitespace().map(str::to_owned).collect())
        .collect()
}

fn all_commands_work_in_order(text: &str, at_least: usize) {
    let sandbox = Sandbox::new();
    let commands = commands(text);
    assert!(commands.len() >= at_least, "{commands:?}");
    for command in commands {
        let words: Vec<&str> = command.iter().map(String::as_str).collect();
        let ended = sandbox.run(&words);
        assert_eq!(ended.status, 0, "{words:?}: {}", ended.err);
    }
}

#[test]
fn every_command_of_the_readme_works() {
    all_commands_work_in_order(README, 9);
}

#[test]
fn every_command_of_the_guide_works() {
    all_commands_work_in_order(GUIDE, 15);
}

#[test]
fn the_policy_in_the_guide_is_the_file_beside_it() {
    assert!(GUIDE.contains(&format!("```toml\n{POLICY}```")));
}
