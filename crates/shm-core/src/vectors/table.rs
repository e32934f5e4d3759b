//! The text of the file of vectors: one row a line, so that a difference shows which.

use std::fmt::Display;

/// One vector: named values.
#[derive(Clone, Default)]
pub(super) struct Row(Vec<String>);

/// A row with these numbers.
macro_rules! row {
    ($($name:ident: $value:expr),* $(,)?) => {
        $crate::vectors::table::Row::default()$(.number(stringify!($name), $value))*
    };
}
pub(super) use row;

fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a string")
}

fn listed(values: impl IntoIterator<Item = impl Display>) -> String {
    let values: Vec<String> = values.into_iter().map(|value| format!("\"{value}\"")).collect();
    format!("[{}]", values.join(", "))
}

impl Row {
    fn with(mut self, name: &str, value: &str) -> Row {
        self.0.push(format!("\"{name}\": {value}"));
        self
    }

    pub(super) fn number(self, name: &str, value: impl Display) -> Row {
        self.with(name, &format!("\"{value}\""))
    }

    /// A number that may be missing.
    pub(super) fn maybe(self, name: &str, value: Option<u64>) -> Row {
        match value {
            Some(value) => self.number(name, value),
            None => self.with(name, "null"),
        }
    }

    pub(super) fn text(self, name: &str, text: &str) -> Row {
        self.with(name, &quoted(text))
    }

    pub(super) fn texts(self, name: &str, texts: impl IntoIterator<Item = impl AsRef<str>>) -> Row {
        let texts: Vec<String> = texts.into_iter().map(|text| quoted(text.as_ref())).collect();
        self.with(name, &format!("[{}]", texts.join(", ")))
    }

    pub(super) fn flag(self, name: &str, value: bool) -> Row {
        self.with(name, if value { "true" } else { "false" })
    }

    pub(super) fn list(self, name: &str, values: impl IntoIterator<Item = impl Display>) -> Row {
        self.with(name, &listed(values))
    }

    /// Pairs of numbers.
    pub(super) fn pairs(self, name: &str, pairs: impl IntoIterator<Item = (u64, u64)>) -> Row {
        let pairs: Vec<String> = pairs.into_iter().map(|(a, b)| listed([a, b])).collect();
        self.with(name, &format!("[{}]", pairs.join(", ")))
    }

    pub(super) fn row(self, name: &str, row: &Row) -> Row {
        self.with(name, &row.braced())
    }

    pub(super) fn rows(self, name: &str, rows: &[Row]) -> Row {
        let rows: Vec<String> = rows.iter().map(Row::braced).collect();
        self.with(name, &format!("[{}]", rows.join(", ")))
    }

    fn braced(&self) -> String {
        format!("{{{}}}", self.0.join(", "))
    }
}

/// The whole file.
pub(super) struct Table(Vec<String>);

impl Table {
    pub(super) fn new(about: &str) -> Table {
        Table(vec![format!("\"about\": {}", quoted(about))])
    }

    pub(super) fn number(&mut self, name: &str, value: u64) {
        self.0.push(format!("\"{name}\": \"{value}\""));
    }

    /// A section of rows.
    pub(super) fn section(&mut self, name: &str, rows: &[Row]) {
        let rows: Vec<String> = rows.iter().map(Row::braced).collect();
        self.0.push(format!("\"{name}\": [\n{}\n]", rows.join(",\n")));
    }

    /// A section of named rows.
    pub(super) fn named(&mut self, name: &str, rows: &[(&str, Row)]) {
        let rows: Vec<String> =
            rows.iter().map(|(name, row)| format!("\"{name}\": {}", row.braced())).collect();
        self.0.push(format!("\"{name}\": {{\n{}\n}}", rows.join(",\n")));
    }

    pub(super) fn finish(self) -> String {
        format!("{{\n{}\n}}\n", self.0.join(",\n"))
    }
}
