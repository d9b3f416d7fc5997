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
