//! The manual pages: what `--help` says, in the form of man(7).

use crate::args::Args;
use clap::{Command, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

/// A manual page.
pub(crate) struct Page {
    /// Its file's name, for example `shm-limit-run.1`.
    pub(crate) file: String,
    pub(crate) text: String,
}

/// All pages: the program's and those of its commands.
pub(crate) fn pages() -> Vec<Page> {
    let mut program = Args::command();
    program.build();
    let commands = program.get_subcommands().filter(|command| !command.is_hide_set());
    std::iter::once(&program).chain(commands).map(page).collect()
}

fn page(command: &Command) -> Page {
    let man = Man::new(command.clone()).source(concat!("shm-limit ", env!("CARGO_PKG_VERSION")));
    let mut text = Vec::new();
    // Writing into memory does not fail.
    let _ = man.render_title(&mut text);
    let _ = man.render_name_section(&mut text);
    let _ = man.render_synopsis_section(&mut text);
    let _ = man.render_description_section(&mut text);
    let _ = man.render_options_section(&mut text);
    if command.get_subcommands().any(|command| !command.is_hide_set()) {
        let _ = man.render_subcommands_section(&mut text);
    }
    let mut text = String::from_utf8_lossy(&text).into_owned();
    if let Some(details) = command.get_after_help() {
        text += &roff(&details.to_string());
    }
    Page { file: man.get_filename(), text }
}

/// The text after the options: paragraphs are filled, and indented blocks (tables, examples) stay as they are. A line that
/// ends with a colon and stands before a block is a heading if it has a single word, such as `Examples:`.
fn roff(details: &str) -> String {
    let mut page = Roff::new();
    page.control("SH", ["DETAILS"]);
    let mut in_block = false;
    let mut lines = details.lines().peekable();
    while let Some(line) = lines.next() {
        let is_block = line.starts_with("  ");
        if is_block != in_block {
            if is_block {
                page.control("RS", ["2n"]).control("nf", []);
            } else {
                page.control("fi", []).control("RE", []);
            }
            in_block = is_block;
        }
        let heading = line.strip_suffix(':').filter(|word| !word.is_empty() && !word.contains([' ', ',']));
        match heading {
            _ if line.is_empty() => {
                if lines.peek().is_some_and(|next| !next.is_empty()) {
                    page.control("PP", []);
                }
            }
            Some(word) if !is_block => {
                page.control("SH", [word.to_uppercase().as_str()]);
            }
            _ => {
                page.text([roman(line.strip_prefix("  ").unwrap_or(line))]);
            }
        }
    }
    if in_block {
        page.control("fi", []).control("RE", []);
    }
    page.to_roff()
}
