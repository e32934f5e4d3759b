//! Text that a user or another process wrote, made safe for a terminal: control sequences are escaped, so that the text
//! cannot colour, move or reverse what is written beside it.

use std::fmt::Write;
use std::path::Path;

/// Whether a terminal only shows the character. Control characters (C0, C1, DEL), line separators and marks that change the
/// direction of the text have other effects.
fn is_shown(c: char) -> bool {
    let turns =
        matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    !c.is_control() && !turns
}

fn escaped(text: &str, keep: impl Fn(char) -> bool) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_shown(c) || keep(c) {
            shown.push(c);
        } else {
            shown.extend(c.escape_unicode());
        }
    }
    shown
}

/// A word, which stays on its line.
pub(crate) fn word(text: &str) -> String {
    escaped(text, |_| false)
}

/// A path.
pub(crate) fn path(path: impl AsRef<Path>) -> String {
    word(&path.as_ref().to_string_lossy())
}

/// A message, which may have several lines.
pub(crate) fn lines(text: &str) -> String {
    escaped(text, |c| matches!(c, '\n' | '\t'))
}

/// A page of this program, with the styles that this program sets. Foreign text is escaped before it is put into the page;
/// this is a second line of defence.
pub(crate) fn page(text: &str) -> String {
    let mut parts = text.split("\u{1b}[");
    let mut shown = lines(parts.next().unwrap_or_default());
    for part in parts {
        let end = part.find(|c: char| !c.is_ascii_digit() && c != ';').unwrap_or(part.len());
        let (style, rest) = part.split_at(end);
        shown += if rest.starts_with('m') { "\u{1b}[" } else { "\\u{1b}[" };
        shown += style;
        shown += &lines(rest);
    }
    shown
}

/// JSON text: the same characters, as JSON escapes. They occur in strings only.
pub(crate) fn json(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_shown(c) || c == '\n' {
            shown.push(c);
        } else {
            // None of these characters needs a surrogate pair.
            let _ = write!(shown, "\\u{:04x}", u32::from(c));
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(word("日本 é\u{301}👩\u{200d}💻 a-b"), "日本 é\u{301}👩\u{200d}💻 a-b");
        assert_eq!(word("\u{1b}[31m\n\u{9b}"), r"\u{1b}[31m\u{a}\u{9b}");
        assert_eq!(lines("a\tb\nc\r\u{202e}"), "a\tb\nc\\u{d}\\u{202e}");
        assert_eq!(json("\"\u{9b}\u{7f}\","), r#""\u009b\u007f","#);
    }

    #[test]
    fn a_page_keeps_only_styles() {
        assert_eq!(page("\u{1b}[1;31mred\u{1b}[0m\n"), "\u{1b}[1;31mred\u{1b}[0m\n");
        assert_eq!(page("\u{1b}[2Jx\u{1b}]0;t\u{7}\u{1b}["), r"\u{1b}[2Jx\u{1b}]0;t\u{7}\u{1b}[");
    }
}
