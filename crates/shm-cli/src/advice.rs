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

/// The command that this word may mean.
pub(crate) fn command_for(word: &str) -> Option<String> {
    let word = word.to_lowercase();
    let synonym = SYNONYMS.iter().find(|(words, _)| words.contains(&word.as_str()));
    synonym.map(|&(_, command)| command.to_owned()).or_else(|| similar_command(&word))
}

/// The visible command that differs least from a misspelt word: in at most a third of its letters.
fn similar_command(word: &str) -> Option<String> {
    let program = Args::command();
    let commands = program.get_subcommands().filter(|command| !command.is_hide_set());
    let distances =
        commands.map(|command| (strsim::osa_distance(word, command.get_name()), command.get_name()));
    let similar = distances.filter(|&(wrong, command)| wrong * 3 <= command.len());
    similar.min_by_key(|&(wrong, _)| wrong).map(|(_, command)| command.to_owned())
}

/// Replaces clap's guess, which goes by similar letters only: `status` would be `pause`.
pub(crate) fn improve(error: &mut clap::Error) {
    if error.kind() != ErrorKind::InvalidSubcommand {
        return;
    }
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand) else { return };
    if let Some(command) = command_for(word) {
        error.insert(ContextKind::SuggestedSubcommand, ContextValue::Strings(vec![command]));
        return;
    }
    let word = printable::word(word);
    let message = format!("unrecognized subcommand '{word}'\n\n  tip: `shm-limit help` lists the commands");
    *error = Args::command().error(ErrorKind::InvalidSubcommand, message);
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
            ("mna", Some("man")),
            ("hlep", Some("help")),
            ("demo-worke", None),
            ("frobnicate", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(command_for(word).as_deref(), command, "{word}");
        }
    }

    #[test]
    fn every_visible_command_is_suggested_for_a_misspelling_and_no_hidden_one() {
        for command in Args::command().get_subcommands() {
            // The last two letters exchanged, or the last one missing.
            let name = command.get_name();
            let (start, end) = name.split_at(name.len() - 2);
            let exchanged: String = start.chars().chain(end.chars().rev()).collect();
            let misspelt = if exchanged == name { name[..name.len() - 1].to_owned() } else { exchanged };
            let expected = (!command.is_hide_set()).then(|| name.to_owned());
            assert_eq!(command_for(&misspelt), expected, "{misspelt}");
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
    }
}
