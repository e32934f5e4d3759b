//! Which command a user may have meant by a word that is not a command.

use crate::args::Args;
use crate::output::printable;
use clap::CommandFactory;
use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Words of other programs, and the commands of this program that do the same.
const SYNONYMS: [(&[&str], &str); 10] = [
    (&["status", "stat", "stats", "info", "get", "describe", "view", "state", "who", "peek"], "inspect"),
    (&["delete", "del", "destroy", "drop", "unlink", "retire", "erase"], "remove"),
    (&["new", "add", "make", "open", "init"], "create"),
    (&["change", "update", "modify", "edit", "config", "configure", "replace"], "set"),
    (&["clear", "zero", "flush", "repair"], "reset"),
    (&["stop", "block", "suspend", "disable", "freeze"], "pause"),
    (&["start", "continue", "unpause", "unblock", "enable"], "resume"),
    (&["exec", "wrap", "execute"], "run"),
    (&["wait", "try", "request"], "acquire"),
    (&["settle", "refund"], "run --settle"),
];
/// The commands that a misspelt word may mean.
const COMMANDS: [&str; 17] = [
    "create",
    "list",
    "inspect",
    "set",
    "reset",
    "pause",
    "resume",
    "remove",
    "acquire",
    "run",
    "hold",
    "charge",
    "reserve",
    "schedule",
    "demo",
    "completions",
    "help",
];

/// The command that this word may mean.
pub(crate) fn command_for(word: &str) -> Option<&'static str> {
    let word = word.to_lowercase();
    let synonym = SYNONYMS.iter().find(|(words, _)| words.contains(&word.as_str()));
    let misspelt = || {
        // A third of the word may be wrong; of a word of three letters one.
        let near = COMMANDS.iter().map(|&command| (distance(&word, command), command));
        let near = near.filter(|&(wrong, command)| wrong * 3 <= command.len());
        near.min_by_key(|&(wrong, _)| wrong).map(|(_, command)| command)
    };
    synonym.map(|&(_, command)| command).or_else(misspelt)
}

/// Replaces clap's guess, which goes by similar letters only: `status` would be `pause`.
pub(crate) fn improve(error: &mut clap::Error) {
    if error.kind() != ErrorKind::InvalidSubcommand {
        return;
    }
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand) else { return };
    if let Some(command) = command_for(word) {
        error.insert(ContextKind::SuggestedSubcommand, ContextValue::Strings(vec![command.to_owned()]));
        return;
    }
    let word = printable::word(word);
    let message = format!("unrecognized subcommand '{word}'\n\n  tip: `shm-limit help` lists the commands");
    *error = Args::command().error(ErrorKind::InvalidSubcommand, message);
}

/// The number of letters to insert, delete, replace or exchange with the next one.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_of_another_program_means_the_command_that_does_it_here() {
        for (word, command) in [
            ("status", Some("inspect")),
            ("delete", Some("remove")),
            ("Delete", Some("remove")),
            ("settle", Some("run --settle")),
            ("lst", Some("list")),
            ("crate", Some("create")),
            ("rnu", Some("run")),
            ("shedule", Some("schedule")),
            ("inspekt", Some("inspect")),
            ("frobnicate", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(command_for(word), command, "{word}");
        }
    }

    #[test]
    fn every_suggestion_is_a_command_and_no_command_is_a_synonym() {
        let program = Args::command();
        let known = |name: &str| program.find_subcommand(name.split(' ').next().unwrap()).is_some();
        for (words, command) in SYNONYMS {
            assert!(known(command), "{command}");
            assert!(words.iter().all(|word| !known(word)), "{words:?}");
        }
        assert!(COMMANDS.iter().all(|command| known(command)));
    }
}
