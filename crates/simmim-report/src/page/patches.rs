//! What the encoder sees: patches in colours, neighbours, a map.

use std::fmt::Write as _;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::content::{Look, Map, MapPoint, Neighbours, Part, Report, Sample};
use crate::escape;
use crate::page::data::figure;
use crate::page::parts::part;

/// Side of the map, in its own units.
const MAP: f64 = 1000.0;
/// Side of an image on it.
const THUMB: f64 = 44.0;

pub(super) fn tab(report: &Report) -> String {
    let mut html = "<h3>Patches</h3>\n".to_owned();
    html += &part(&report.looks, |looks| of_looks(looks));
    html.push_str("<h3>Nearest neighbours</h3>\n");
    html += &part(&report.neighbours, |all| of_neighbours(all));
    html.push_str("<h3>All on a map</h3>\n");
    html + &part(&report.map, of_map)
}

fn of_looks(looks: &[Look]) -> String {
    let mut html = "<p class=\"hint\">Click a patch of an image. In the first picture the others are then the brighter, the more alike \
        their features are (cosine); in the second, the more it attends to them (last block, mean of its heads). The third has the \
        patches in colours: the three directions in which the features of all these images vary most, as red, green and blue.</p>\n\
        <div class=\"looks\">"
        .to_owned();
    for (idx, look) in looks.iter().enumerate() {
        let [width, height] = look.image.image.size();
        let name = escape::text(&look.image.name);
        let _ = write!(
            html,
            "<div class=\"look\" title=\"{name}\" data-look=\"{idx}\">{}{}<img src=\"{}\" width=\"{width}\" height=\"{height}\" \
             alt=\"its patches in colours\"></div>",
            clicked("likeness", &look.image),
            clicked("attention", &look.image),
            look.colours.address()
        );
    }
    html + "</div>\n"
}

/// An image whose patches are clicked to see that of them.
fn clicked(what: &str, sample: &Sample) -> String {
    let [width, height] = sample.image.size();
    format!(
        "<div class=\"patches\" data-shows=\"{what}\"><img src=\"{}\" width=\"{width}\" height=\"{height}\" alt=\"{}\"></div>",
        sample.image.address(),
        escape::text(&sample.name)
    )
}

/// What the script shows of a clicked patch.
pub(super) fn data(looks: &Part<Vec<Look>>) -> Vec<Value> {
    let Part::Found(looks) = looks else {
        return Vec::new();
    };
    let of_look = |look: &Look| {
        let [likeness, attention] =
            [&look.likeness, &look.attention].map(|levels| STANDARD.encode(levels));
        json!({"grid": look.grid, "likeness": likeness, "attention": attention})
    };
    looks.iter().map(of_look).collect()
}

fn of_neighbours(all: &[Neighbours]) -> String {
    let mut html =
        "<p class=\"hint\">Left an image, then those whose features are nearest by cosine.</p>\n"
            .to_owned();
    for Neighbours { image, nearest } in all {
        let _ = write!(html, "<div class=\"row\">{}", figure(image));
        for image in nearest {
            html += &figure(image);
        }
        html.push_str("</div>\n");
    }
    html
}

fn of_map(map: &Map) -> String {
    let mut html = format!(
        "<p class=\"hint\">The two directions in which the features vary most ({:.0} % of all variance). Point at an image to see its \
         name.</p>\n<svg class=\"map\" viewBox=\"0 0 {MAP} {MAP}\" role=\"img\" aria-label=\"images by their features\">",
        100.0 * map.explained
    );
    for MapPoint { x, y, image } in &map.points {
        let span = MAP - THUMB;
        let (left, top) = (x * span, (1.0 - y) * span);
        let about = match &image.label {
            Some(label) => format!("{}: {label}", image.name),
            None => image.name.clone(),
        };
        let _ = write!(
            html,
            "<image x=\"{left:.0}\" y=\"{top:.0}\" width=\"{THUMB}\" height=\"{THUMB}\" href=\"{}\" data-about=\"{}\"/>",
            image.image.address(),
            escape::text(&about)
        );
    }
    html + "</svg>\n"
}
