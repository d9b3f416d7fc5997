//! Text of any kind as what a page shows, and nothing that a page does.

use serde::Serialize;
use simmim_data::printable;

/// For the text between tags, and for values of attributes in double quotes. What steers a terminal or turns the direction of writing is
/// written out.
pub(crate) fn text(raw: &str) -> String {
    let mut shown = String::with_capacity(raw.len() + 8);
    for letter in printable(raw).chars() {
        match letter {
            '&' => shown.push_str("&amp;"),
            '<' => shown.push_str("&lt;"),
            '>' => shown.push_str("&gt;"),
            '"' => shown.push_str("&quot;"),
            '\'' => shown.push_str("&#39;"),
            letter => shown.push(letter),
        }
    }
    shown
}

/// For the inside of a `script` element that holds data: no text in it can end the element or begin a comment.
///
/// # Panics
/// When a value is no JSON, as a map whose keys are no strings.
pub(crate) fn json(value: &impl Serialize) -> String {
    let json = serde_json::to_string(value).expect("structs of texts and numbers are plain JSON");
    // These stand within strings alone, where JSON has another way to write them.
    json.replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_text_is_a_tag_an_attribute_or_a_mark_of_direction() {
        let raw = "</script><img src=x onerror='a(\"b\")'>&amp;\n\u{202e}gpj\u{1b}[0m";
        let shown = text(raw);
        for letter in ['<', '>', '"', '\'', '\n', '\u{202e}', '\u{1b}'] {
            assert!(!shown.contains(letter), "{letter:?} in {shown}");
        }
        assert!(
            shown.contains("&amp;amp;") && shown.contains("\\u202e"),
            "{shown}"
        );
        assert_eq!(text("été 猫"), "été 猫");
    }

    #[test]
    fn data_cannot_end_its_element_and_is_read_back_as_it_was() {
        let raw = "</script><!--\u{2028}&";
        let shown = json(&raw);
        assert!(
            !shown.contains('<') && !shown.contains('\u{2028}'),
            "{shown}"
        );
        let read: String = serde_json::from_str(&shown).unwrap();
        assert_eq!(read, raw);
    }
}
