//! The manual pages: what `--help` says, in the form of man(7).

use crate::args::Args;
use crate::help;
use crate::output::human;
use clap::{Command, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};
use std::time::SystemTime;

/// How clap_mangen begins each section.
const APOSTROPHE: &str = ".ie \\n(.g .ds Aq \\(aq\n.el .ds Aq '\n";

const VERSION: &str = concat!("shm-limit ", env!("CARGO_PKG_VERSION"));

/// A manual page.
pub(crate) struct Page {
    /// Its file's name, for example `shm-limit-run.1`.
    pub(crate) file: String,
    pub(crate) text: String,
}

/// All pages: the program's, those of its commands, and the one about limits per key.
pub(crate) fn pages() -> Vec<Page> {
    let mut program = Args::command();
    program.build();
    let commands = program.get_subcommands().filter(|command| !command.is_hide_set());
    std::iter::once(&program).chain(commands).map(page).chain([topic()]).collect()
}

/// The page about limits per key.
fn topic() -> Page {
    let (title, text) = help::KEYS.split_once("\n\n").unwrap_or(("", help::KEYS));
    let name = format!("shm-limit-{}", help::KEYS_TOPIC);
    let head = format!(".TH {name} 7 {} \"{VERSION}\" \"shm-limit\"\n.SH NAME\n{name} \\- {title}\n", date());
    Page { file: format!("{name}.7"), text: format!("{APOSTROPHE}{head}{}", roff("DESCRIPTION", text)) }
}

fn page(command: &Command) -> Page {
    let man = Man::new(command.clone());
    let mut text = Vec::new();
    // Writing into memory does not fail.
    let _ = man.render_name_section(&mut text);
    let _ = man.render_synopsis_section(&mut text);
    let _ = man.render_description_section(&mut text);
    let _ = man.render_options_section(&mut text);
    if command.get_subcommands().any(|command| !command.is_hide_set()) {
        let _ = man.render_subcommands_section(&mut text);
    }
    let file = man.get_filename();
    // Each section begins with the definition of an apostrophe; and line breaks beside vertical space have no effect.
    let text = String::from_utf8_lossy(&text).replace(APOSTROPHE, "").replace(".br\n\n.br\n", ".sp\n");
    let title = file.strip_suffix(".1").unwrap_or(&file);
    let mut text = format!("{APOSTROPHE}.TH {title} 1 {} \"{VERSION}\" \"shm-limit\"\n{text}", date());
    if let Some(details) = command.get_after_help() {
        text += &roff("DETAILS", &details.to_string());
    }
    Page { file, text }
}

/// The date of the pages: today, or the one that a reproducible build gives.
fn date() -> String {
    let given = std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|seconds| seconds.parse().ok());
    let seconds = given.unwrap_or_else(|| {
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
    });
    human::date(seconds).split('T').next().unwrap_or_default().to_owned()
}

/// A heading, such as `Examples:` or `Exit status:`.
fn heading(line: &str) -> Option<String> {
    let words = line.strip_suffix(':')?;
    let is_heading = ["Examples", "Exit status"].contains(&words);
    is_heading.then(|| words.to_uppercase())
}

/// The text after the options: paragraphs are filled, and indented blocks (tables, examples) stay as they are.
fn roff(title: &str, details: &str) -> String {
    let mut page = Roff::new();
    page.control("SH", [title]);
    let mut in_block = false;
    let mut lines = details.lines().peekable();
    while let Some(line) = lines.next() {
        let is_block = line.starts_with("  ");
        if is_block != in_block {
            if is_block {
                // As far to the left as in `--help`, so that lines of the same length fit.
                page.control("in", ["2n"]).control("nf", []);
            } else {
                page.control("fi", []).control("in", []);
            }
            in_block = is_block;
        }
        match heading(line) {
            _ if line.is_empty() => {
                if lines.peek().is_some_and(|next| heading(next).is_none()) {
                    page.control("PP", []);
                }
            }
            Some(word) if !is_block => {
                page.control("SH", [word.as_str()]);
            }
            _ => {
                page.text([roman(line.strip_prefix("  ").unwrap_or(line))]);
            }
        }
    }
    if in_block {
        page.control("fi", []).control("in", []);
    }
    page.to_roff()
}
