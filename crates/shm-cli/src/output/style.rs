//! The few styles there are.

use anstyle::{AnsiColor, Style};
use std::fmt;

/// What a person must see first.
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();
/// What is as it should be.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
/// Headings and names.
pub(crate) const STRONG: Style = Style::new().bold();
/// What is only there for completeness.
pub(crate) const WEAK: Style = Style::new().dimmed();

/// The text in that style; whoever prints it takes the style away where it can't be shown.
pub(crate) fn paint(style: Style, text: impl fmt::Display) -> String {
    format!("{style}{text}{style:#}")
}
