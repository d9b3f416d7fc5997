//! Tables for a terminal of any width.

use std::io::{stderr, stdout};

use comfy_table::{ColumnConstraint, ContentArrangement, Table, presets};
use simmim_data::printable;
use terminal_size::terminal_size_of;

/// Columns where nobody says how many there are: those of the help.
const USUAL_WIDTH: u16 = 100;
/// A narrower terminal gets lines that it breaks itself.
const LEAST_WIDTH: u16 = 40;

/// Something to say, with what it is about.
#[derive(Debug, Clone)]
pub(crate) struct Fact {
    name: String,
    text: String,
}

impl Fact {
    pub(crate) fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            text: text.into(),
        }
    }
}

/// What is written to.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Stream {
    /// Stdout.
    Data,
    /// Stderr.
    Talk,
}

/// Facts below each other for stdout, their texts broken where the terminal ends.
pub(crate) fn facts(facts: &[Fact]) -> String {
    facts_to(Stream::Data, facts)
}

/// Facts below each other, their texts broken where the terminal ends.
pub(crate) fn facts_to(stream: Stream, facts: &[Fact]) -> String {
    facts_within(facts, width_of(stream))
}

fn facts_within(facts: &[Fact], width: u16) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(width);
    for fact in facts {
        table.add_row([printable(&fact.name), printable(&fact.text)]);
    }
    if let Some(names) = table.column_mut(0) {
        names.set_padding((0, 1));
        // What it is about stands in one line.
        names.set_constraint(ColumnConstraint::ContentWidth);
    }
    if let Some(texts) = table.column_mut(1) {
        texts.set_padding((0, 0));
    }
    table.trim_fmt()
}

/// The columns of the terminal that the stream is; where it is none, those that `COLUMNS` says, or the usual ones.
fn width_of(stream: Stream) -> u16 {
    let asked = || std::env::var("COLUMNS").ok()?.parse().ok();
    let found = match stream {
        Stream::Data => terminal_size_of(stdout()),
        Stream::Talk => terminal_size_of(stderr()),
    };
    let found = found.map(|(width, _)| width.0);
    found.or_else(asked).unwrap_or(USUAL_WIDTH).max(LEAST_WIDTH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_broken_where_the_terminal_ends_and_names_are_not() {
        let said = [
            Fact::new(
                "a run uses",
                "one two three four five six seven eight nine ten eleven",
            ),
            Fact::new("gpu", "none \u{1b}[31m"),
        ];
        for width in [40, 50, 200] {
            let table = facts_within(&said, width);
            let lines: Vec<&str> = table.lines().collect();
            assert!(
                lines
                    .iter()
                    .all(|line| line.chars().count() <= width.into()),
                "{table}"
            );
            assert!(lines[0].starts_with("a run uses one two"), "{table}");
            assert_eq!(lines.len() == 2, width == 200, "{table}");
            assert!(!table.contains('\u{1b}'), "{table}");
            // Under the text before, not under the name.
            assert!(
                lines
                    .iter()
                    .all(|line| !line.starts_with("ten") && !line.starts_with("eleven")),
                "{table}"
            );
        }
    }
}
