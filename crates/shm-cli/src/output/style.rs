//! The styles of the output.

use anstyle::{AnsiColor, Style};
use std::fmt;

/// A problem.
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();
/// What deserves attention.
pub(crate) const WARNING: Style = AnsiColor::Yellow.on_default().bold();
/// A good state.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
/// Headings and names.
pub(crate) const STRONG: Style = Style::new().bold();
/// A minor detail.
pub(crate) const WEAK: Style = Style::new().dimmed();

/// The text in that style. Printing removes the style if the stream cannot show it.
pub(crate) fn paint(style: Style, text: impl fmt::Display) -> String {
    format!("{style}{text}{style:#}")
}
