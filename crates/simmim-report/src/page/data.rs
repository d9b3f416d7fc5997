//! The images: counts, classes, samples, a batch.

use std::fmt::Write as _;

use crate::content::{ClassCount, DataPage, Part, Sample};
use crate::escape;
use crate::page::overview::facts;
use crate::page::parts::{left_out, part};
use crate::page::pictures;
use crate::shown::Shown;

/// Classes of a table; the rest is counted.
const MOST_CLASSES: usize = 200;

pub(super) fn tab(data: &Part<DataPage>, batch: &Part<Shown>) -> String {
    let mut html = part(data, |data| {
        let mut html = facts(&data.facts);
        if !data.samples.is_empty() {
            html.push_str("<h3>Some of them, as the model sees them</h3>\n");
            html += &gallery(&data.samples);
        }
        if !data.classes.is_empty() {
            html += &classes(&data.classes);
        }
        html
    });
    html.push_str("<h3>A batch as it is trained on</h3>\n");
    html += &part(batch, |batch| {
        pictures::picture(batch, "images of a training step")
    });
    html
}

/// Images with their names and labels.
pub(super) fn gallery(samples: &[Sample]) -> String {
    let mut html = "<div class=\"gallery\">".to_owned();
    for sample in samples {
        html += &figure(sample);
    }
    html + "</div>\n"
}

pub(super) fn figure(sample: &Sample) -> String {
    let name = escape::text(&sample.name);
    let [width, height] = sample.image.size();
    let label = sample
        .label
        .as_deref()
        .map(escape::text)
        .unwrap_or_default();
    let address = sample.image.address();
    format!(
        "<figure title=\"{name}\"><img src=\"{address}\" width=\"{width}\" height=\"{height}\" alt=\"{name}\">\
         <figcaption>{label}</figcaption></figure>"
    )
}

fn classes(classes: &[ClassCount]) -> String {
    let most = classes
        .iter()
        .map(|class| class.n_train + class.n_held_out)
        .max()
        .unwrap_or(0)
        .max(1);
    let mut html = format!(
        "<h3>{} classes</h3>\n<div class=\"wide\"><table><thead><tr><th>class</th><th>to train on</th><th>held out</th>\
         <th></th></tr></thead><tbody>",
        classes.len()
    );
    for class in classes.iter().take(MOST_CLASSES) {
        let (n_train, n_held_out) = (class.n_train, class.n_held_out);
        let width = 160.0 * (n_train + n_held_out) as f64 / most as f64;
        let _ = write!(
            html,
            "<tr><th>{}</th><td>{n_train}</td><td>{n_held_out}</td><td><svg class=\"bar\" width=\"160\" height=\"12\">\
             <rect width=\"{width:.1}\" height=\"12\"/></svg></td></tr>",
            escape::text(&class.name)
        );
    }
    html.push_str("</tbody></table></div>\n");
    html.push_str(&left_out(classes.len(), MOST_CLASSES, ""));
    html
}
