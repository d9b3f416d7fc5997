//! Lines over the steps. The script draws them; their last values are there without it.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::content::{Line, Plot};
use crate::escape;
use crate::thin::thin;

pub(super) fn tab(plots: &[Plot]) -> String {
    if shown(plots).next().is_none() {
        return "<p class=\"missing\">Not here: no step is logged yet.</p>\n".to_owned();
    }
    let mut html = "<p class=\"hint\">Drag across a plot to look closer; a double click shows all again.</p>\n".to_owned();
    for (idx, plot) in shown(plots).enumerate() {
        let unit = match plot.unit.as_str() {
            "" => String::new(),
            unit => format!(" <small>({})</small>", escape::text(unit)),
        };
        let _ = write!(
            html,
            "<figure class=\"plot\"><figcaption>{}{unit}<span class=\"legend\">",
            escape::text(&plot.title)
        );
        for (line_idx, line) in lines(plot).enumerate() {
            let last = line.points.last().map_or(0.0, |point| point.value);
            let _ = write!(
                html,
                "<span><i class=\"line-{}\"></i>{} <b>{}</b></span>",
                line_idx % 7,
                escape::text(&line.name),
                short(last)
            );
        }
        let _ = writeln!(
            html,
            "</span></figcaption><div class=\"canvas\" data-plot=\"{idx}\"></div></figure>"
        );
    }
    html
}

/// What the script draws.
pub(super) fn data(plots: &[Plot]) -> Vec<Value> {
    let of_line = |line: &Line| {
        let line = thin(line);
        json!({
            "name": line.name,
            "x": line.points.iter().map(|point| point.step).collect::<Vec<_>>(),
            "y": line.points.iter().map(|point| rounded(point.value)).collect::<Vec<_>>(),
        })
    };
    let of_plot = |plot: &Plot| {
        json!({
            "title": plot.title,
            "lines": lines(plot).map(of_line).collect::<Vec<_>>(),
        })
    };
    shown(plots).map(of_plot).collect()
}

fn shown(plots: &[Plot]) -> impl Iterator<Item = &Plot> {
    plots.iter().filter(|plot| lines(plot).next().is_some())
}

fn lines(plot: &Plot) -> impl Iterator<Item = &Line> {
    plot.lines.iter().filter(|line| !line.points.is_empty())
}

/// Five digits, which is more than can be seen.
fn rounded(value: f64) -> f64 {
    format!("{value:.4e}").parse().unwrap_or(value)
}

/// Four digits, in the way in which people write numbers.
fn short(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if !(1e-3..1e5).contains(&size) => format!("{value:.2e}"),
        size if size < 1.0 => format!("{value:.4}"),
        size if size < 100.0 => format!("{value:.3}"),
        _ => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_near_the_value() {
        assert_eq!(rounded(0.123456789), 0.12346);
        assert_eq!(rounded(1.0e-7), 1.0e-7);
        for (value, text) in [
            (0.0, "0"),
            (0.13452, "0.1345"),
            (1e-6, "1.00e-6"),
            (59.03, "59.030"),
            (5903.2, "5903"),
        ] {
            assert_eq!(short(value), text);
        }
    }

    #[test]
    fn a_line_without_a_point_is_not_shown() {
        let line = Line {
            name: "nothing".to_owned(),
            points: Vec::new(),
        };
        let plot = Plot {
            title: "t".to_owned(),
            unit: String::new(),
            lines: vec![line],
        };
        assert!(data(std::slice::from_ref(&plot)).is_empty());
        assert!(tab(&[plot]).contains("no step is logged"));
    }
}
