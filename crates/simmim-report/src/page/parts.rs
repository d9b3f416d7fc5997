//! What several tabs have.

use crate::content::Part;
use crate::escape;

/// The part, or the reason why there is none.
pub(super) fn part<T>(part: &Part<T>, show: impl FnOnce(&T) -> String) -> String {
    match part {
        Part::Found(found) => show(found),
        Part::Missing(reason) => {
            format!(
                "<p class=\"missing\">Not here: {}.</p>\n",
                escape::text(reason)
            )
        }
    }
}

/// A share in percent, or a dash.
pub(super) fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "–".to_owned(), |share| format!("{:.1} %", 100.0 * share))
}

/// A line under a table that shows `most` of `n` rows, and which the others are; nothing where it shows all.
pub(super) fn left_out(n: usize, most: usize, which: &str) -> String {
    match n.checked_sub(most) {
        None | Some(0) => String::new(),
        Some(n_left) => format!("<p class=\"hint\">and {n_left} more{which}.</p>\n"),
    }
}
