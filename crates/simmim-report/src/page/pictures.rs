//! Pictures of reconstructions over the epochs.

use std::fmt::Write as _;

use crate::content::Shot;
use crate::escape;
use crate::shown::Shown;

pub(super) fn tab(shots: &[Shot]) -> String {
    let last = shots.len().saturating_sub(1);
    let mut html = format!(
        "<div class=\"slider\"><label>step <output></output><input type=\"range\" min=\"0\" max=\"{last}\" value=\"{last}\" \
         step=\"1\" aria-label=\"picture\"></label></div>\n<div class=\"shots\">"
    );
    for (idx, shot) in shots.iter().enumerate() {
        let epoch = shot
            .epoch
            .map_or_else(String::new, |epoch| format!(", epoch {epoch:.1}"));
        let when = format!("{}{epoch}", shot.step);
        let hidden = if idx == last { "" } else { " hidden" };
        let _ = write!(
            html,
            "<div class=\"shot\" data-when=\"{when}\"{hidden}>{}</div>",
            picture(&shot.picture, &format!("reconstructions at step {when}"))
        );
    }
    html + "</div>\n"
}

/// A picture in its full width.
pub(super) fn picture(shown: &Shown, about: &str) -> String {
    let [width, height] = shown.size();
    format!(
        "<div class=\"wide\"><img class=\"picture\" src=\"{}\" width=\"{width}\" height=\"{height}\" alt=\"{}\"></div>\n",
        shown.address(),
        escape::text(about)
    )
}
