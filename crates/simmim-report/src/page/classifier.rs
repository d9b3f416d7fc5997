//! How good a classifier is.

use std::fmt::Write as _;

use crate::content::{Calibration, ClassRow, LabelPage, Mistake, Part};
use crate::escape;
use crate::page::data::figure;
use crate::page::overview::facts;
use crate::page::parts::{left_out, part, percent};
use crate::page::pictures;

/// Classes of a table: those with the lowest recall.
const MOST_CLASSES: usize = 200;

pub(super) fn tab(labels: &Part<LabelPage>) -> String {
    part(labels, |labels| {
        let mut html = facts(&labels.facts);
        if !labels.mistakes.is_empty() {
            html += &mistakes(&labels.mistakes);
        }
        if let Some(confusion) = &labels.confusion {
            html.push_str("<h3>What is taken for what</h3>\n");
            html += &pictures::picture(confusion, "confusion matrix");
        }
        html += &classes(&labels.classes);
        if labels.bins.iter().any(|bin| bin.n > 0) {
            html += &calibration(&labels.bins);
        }
        html
    })
}

fn mistakes(mistakes: &[Mistake]) -> String {
    let mut html = "<h3>Worst mistakes</h3>\n<p class=\"hint\">Images that are taken for another class with the most \
        confidence.</p>\n<div class=\"gallery mistakes\">"
        .to_owned();
    for mistake in mistakes {
        let mut image = mistake.image.clone();
        let truth = image.label.take().unwrap_or_default();
        image.label = Some(format!(
            "{truth} → {} {:.0} %",
            mistake.predicted,
            100.0 * mistake.confidence
        ));
        html += &figure(&image);
    }
    html + "</div>\n"
}

fn classes(classes: &[ClassRow]) -> String {
    let mut sorted: Vec<&ClassRow> = classes.iter().collect();
    // What goes wrong comes first; a class without images has no recall, and stands last.
    sorted.sort_by(|a, b| a.recall.unwrap_or(2.0).total_cmp(&b.recall.unwrap_or(2.0)));
    let mut html = "<h3>Class by class</h3>\n<div class=\"wide\"><table><thead><tr><th>class</th><th>images</th><th>precision</th>\
        <th>recall</th><th>F1</th></tr></thead><tbody>"
        .to_owned();
    for class in sorted.iter().take(MOST_CLASSES) {
        let _ = write!(
            html,
            "<tr><th>{}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            escape::text(&class.name),
            class.n_images,
            percent(class.precision),
            percent(class.recall),
            percent(class.f1)
        );
    }
    html.push_str("</tbody></table></div>\n");
    html.push_str(&left_out(
        sorted.len(),
        MOST_CLASSES,
        ", with a higher recall",
    ));
    html
}

/// Confidence across, accuracy up: on the diagonal both are the same.
fn calibration(bins: &[Calibration]) -> String {
    const SIDE: f64 = 240.0;
    let width = SIDE / bins.len() as f64;
    let mut html = format!(
        "<h3>Calibration</h3>\n<p class=\"hint\">Across how sure the model is, up how often it is right then; the line is where both are \
         the same.</p>\n<svg class=\"calibration\" viewBox=\"-44 -8 {0} {0}\" role=\"img\" aria-label=\"calibration\">",
        SIDE + 60.0
    );
    for (idx, bin) in bins.iter().enumerate().filter(|(_, bin)| bin.n > 0) {
        let height = SIDE * bin.accuracy;
        let about = format!(
            "{} predictions: {:.1} % sure, {:.1} % right",
            bin.n,
            100.0 * bin.confidence,
            100.0 * bin.accuracy
        );
        let _ = write!(
            html,
            "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{height:.1}\" data-about=\"{about}\"/>",
            idx as f64 * width + 1.0,
            SIDE - height,
            width - 2.0
        );
    }
    let _ = write!(
        html,
        "<path class=\"axis\" d=\"M0 0V{SIDE}H{SIDE}\"/><path class=\"even\" d=\"M0 {SIDE}L{SIDE} 0\"/>"
    );
    for share in [0.0, 0.5, 1.0] {
        let (across, up, text) = (SIDE * share, SIDE * (1.0 - share), 100.0 * share);
        let _ = write!(
            html,
            "<text x=\"{across}\" y=\"{}\" text-anchor=\"middle\">{text} %</text><text x=\"-6\" y=\"{}\" \
             text-anchor=\"end\">{text} %</text>",
            SIDE + 18.0,
            up + 4.0
        );
    }
    html + "</svg>\n"
}
