//! The README's shell commands are true.

mod common;

use common::Place;

/// The lines of its `sh` blocks that begin with the command, as words; the network left out.
fn commands() -> Vec<Vec<String>> {
    let readme = include_str!("../../../README.md");
    let blocks = readme.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks
        .flat_map(str::lines)
        .filter_map(|line| line.strip_prefix("shm-limit "))
        .map(|line| {
            line.split('#').next().unwrap_or_default().replace("curl https://api.example.com/", "true")
        })
        .map(|line| line.split_whitespace().map(str::to_owned).collect())
        .collect()
}

#[test]
fn every_command_of_the_readme_works_in_its_order() {
    let place = Place::new();
    let commands = commands();
    assert!(commands.len() >= 7, "{commands:?}");
    for command in commands {
        let words: Vec<&str> = command.iter().map(String::as_str).collect();
        let ended = place.run(&words);
        assert_eq!(ended.status, 0, "{words:?}: {}", ended.err);
    }
}
