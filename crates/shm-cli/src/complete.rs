//! Shell completion: the script that a shell loads, and the candidates that the script asks this program for.
//!
//! The candidates come from this program, because the script does not know the limiters' names.
//! (clap_complete 4.6.11 can also write scripts that need no program, but for a name with a dash its bash script completes
//! nothing after the subcommand.)

use crate::args::Args;
use crate::help;
use clap::CommandFactory;
use clap_complete::engine::CompletionCandidate;
use clap_complete::env::{CompleteEnv, Shells};
use shm_lib::Directory;
use std::ffi::OsString;
use std::io;

/// The variable by which a completion script asks for candidates: its value is the shell's name.
const VARIABLE: &str = "SHM_LIMIT_COMPLETE";
/// The command's name.
const COMMAND: &str = "shm-limit";

/// If a completion script asks for candidates, prints them and returns true.
pub(crate) fn answer() -> clap::error::Result<bool> {
    CompleteEnv::with_factory(Args::command)
        .var(VARIABLE)
        .try_complete(std::env::args_os(), std::env::current_dir().ok().as_deref())
}

/// The script for a shell.
pub(crate) fn script(shell: clap_complete::Shell) -> io::Result<String> {
    let shell = shell.to_string();
    let completer = Shells::builtins().completer(&shell).map(|shell| {
        let mut script = Vec::new();
        shell.write_registration(VARIABLE, COMMAND, COMMAND, COMMAND, &mut script).map(|()| script)
    });
    match completer {
        Some(script) => Ok(String::from_utf8_lossy(&script?).into_owned()),
        None => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// The names of the limiters in the directory of the command line. Names with characters that a shell would interpret are
/// left out, because another user may have chosen them.
pub(crate) fn names() -> Vec<CompletionCandidate> {
    let plain = |c: char| c.is_alphanumeric() || "-_.:@%+=".contains(c);
    let names = directory(std::env::args_os()).names().unwrap_or_default();
    let names = names.into_iter().filter(|name| name.as_str().chars().all(plain));
    names.map(|name| CompletionCandidate::new(name.as_str())).collect()
}

/// The names of the commands and of the topic, for `help`.
pub(crate) fn commands() -> Vec<CompletionCandidate> {
    let command = Args::command();
    let shown = command.get_subcommands().filter(|command| !command.is_hide_set());
    let candidate = |command: &clap::Command| {
        CompletionCandidate::new(command.get_name()).help(command.get_about().cloned())
    };
    let topic = CompletionCandidate::new(help::KEYS_TOPIC).help(Some("Limits per key".into()));
    shown.map(candidate).chain([topic]).collect()
}

fn directory(words: impl IntoIterator<Item = OsString>) -> Directory {
    let mut words = words.into_iter();
    let mut directory = Directory::from_env();
    while let Some(word) = words.next() {
        let Some(word) = word.to_str() else { continue };
        let path = match word.strip_prefix("--dir") {
            Some("") => words.next(),
            Some(rest) => rest.strip_prefix('=').map(OsString::from),
            None => None,
        };
        if let Some(path) = path {
            directory = Directory::at(path);
        }
    }
    directory
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_the_directory_on_the_command_line() {
        let of = |words: &[&str]| directory(words.iter().map(OsString::from)).path().to_owned();
        assert_eq!(of(&["shm-limit", "--dir", "/a", "set", ""]), std::path::Path::new("/a"));
        assert_eq!(of(&["shm-limit", "set", "--dir=/b", ""]), std::path::Path::new("/b"));
        assert_eq!(of(&["shm-limit", "set", ""]), Directory::from_env().path());
        assert_eq!(of(&["shm-limit", "--directory"]), Directory::from_env().path());
    }
}
