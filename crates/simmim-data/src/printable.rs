//! Text of files as it may be shown: names, headers and messages hold whatever somebody has put there.

use std::borrow::Cow;
use std::fmt::Write as _;

/// The text in one line, without anything that steers a terminal: control characters, and marks that turn the direction of
/// writing, are written as `\n`, `\t` or `\u001b`, as JSON writes them.
pub fn printable(text: &str) -> Cow<'_, str> {
    escaped(text, steers)
}

/// The same of text in several lines, whose line breaks and tabulators stay.
pub fn printable_lines(text: &str) -> Cow<'_, str> {
    escaped(text, |letter| {
        !matches!(letter, '\n' | '\t') && steers(letter)
    })
}

/// Whether a letter does something to a terminal or a page instead of being shown.
fn steers(letter: char) -> bool {
    // Line and paragraph separators; embeddings, overrides and isolates of the direction of writing.
    letter.is_control() || matches!(letter, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn escaped(text: &str, is_escaped: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_escaped) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for letter in text.chars() {
        match letter {
            _ if !is_escaped(letter) => shown.push(letter),
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            '\t' => shown.push_str("\\t"),
            // Writing to a String cannot fail.
            _ => _ = write!(shown, "\\u{:04x}", u32::from(letter)),
        }
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_escaped_and_letters_of_any_language_stay() {
        for (text, line, lines) in [
            ("été 猫 👩‍🔬 a\\b", "été 猫 👩‍🔬 a\\b", "été 猫 👩‍🔬 a\\b"),
            (
                "\x1b]0;title\x07",
                "\\u001b]0;title\\u0007",
                "\\u001b]0;title\\u0007",
            ),
            ("a\nb\tc\rd", "a\\nb\\tc\\rd", "a\nb\tc\\rd"),
            ("\u{9b}31m\u{7f}", "\\u009b31m\\u007f", "\\u009b31m\\u007f"),
            ("a\u{202e}gpj.b", "a\\u202egpj.b", "a\\u202egpj.b"),
        ] {
            assert_eq!(printable(text), line);
            assert_eq!(printable_lines(text), lines);
        }
    }
}
