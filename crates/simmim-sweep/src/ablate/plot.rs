//! The score against AvgDist, as in the paper's figure.

use plotters::element::{DynElement, IntoDynElement};
use plotters::prelude::{
    BLACK, ChartBuilder, Circle, Color, Cross, DrawingBackend, PathElement, Polygon, RGBColor,
    Rectangle, ShapeStyle, Text, TriangleMarker, WHITE,
};
use simmim_config::auto::good_avg_dist_px;
use simmim_picture::Picture;
use simmim_picture::chart::{self, COLOURS, Canvas, Fault, measure, text};

use super::labels::{self, Area, Marked};
use super::point::Ablation;
use super::table::{Row, groups};
use crate::error::Error;
use crate::sweep::statistics::{mean, spread};

const SIZE: (u32, u32) = (1440, 900);
/// Pixels at the right for the legend.
const LEGEND_PX: u32 = 300;
const TEXT_PX: i32 = 26;
const MARKER_PX: i32 = 10;
/// Height of the letters beside a point.
const LABEL_PX: i32 = 18;
const BAND: RGBColor = RGBColor(226, 238, 226);

/// A point of the plot.
struct Dot {
    avg_dist_px: f64,
    score: f64,
    spread: Option<f64>,
    /// The values of the keys by which it differs from others of its series.
    label: String,
    /// Which of the legend's entries it belongs to.
    series_idx: usize,
}

/// What is drawn.
struct Figure {
    title: String,
    axis: String,
    dots: Vec<Dot>,
    /// The key that tells the series apart.
    key: String,
    /// Its values.
    series: Vec<String>,
    band: [f64; 2],
    /// What the labels of the points say, line by line.
    labelled: Vec<String>,
}

/// Draws the points whose score is known.
pub(super) fn draw(ablation: &Ablation, rows: &[Row<'_>]) -> Result<Picture, Error> {
    let figure = Figure::of(ablation, rows);
    Ok(chart::picture(SIZE, |canvas| paint(canvas, &figure))?)
}

impl Figure {
    fn of(ablation: &Ablation, rows: &[Row<'_>]) -> Self {
        const KIND: &str = "mask.kind";
        let keys = ablation.keys();
        // The paper tells its series apart by the kind of mask. A grid that does not vary it does by its first key.
        let key_idx = keys.iter().position(|key| key == KIND).unwrap_or(0);
        let series_of = |row: &Row<'_>| row.point.values.get(key_idx).cloned().unwrap_or_default();
        let fits: Vec<&Row<'_>> = rows.iter().filter(|row| row.point.fit.is_ok()).collect();
        let mut series: Vec<String> = Vec::new();
        for row in &fits {
            if !series.contains(&series_of(row)) {
                series.push(series_of(row));
            }
        }
        let dot = |group: Vec<&Row<'_>>| {
            let scores: Vec<f64> = group.iter().filter_map(|row| row.score()).collect();
            let distances = group.iter().map(|row| row.avg_dist_px());
            Some(Dot {
                avg_dist_px: mean(&distances.collect::<Option<Vec<_>>>()?)?,
                score: mean(&scores)?,
                spread: spread(&scores),
                label: label(&group[0].point.values, key_idx),
                series_idx: series
                    .iter()
                    .position(|name| *name == series_of(group[0]))?,
            })
        };
        Self {
            title: format!("Ablation {}", ablation.name()),
            axis: ablation.score().axis().to_owned(),
            dots: groups(&fits).into_iter().filter_map(dot).collect(),
            key: keys.get(key_idx).cloned().unwrap_or_default(),
            labelled: labelled(keys, key_idx),
            band: good_avg_dist_px(ablation.first().config.data.image_size),
            series,
        }
    }

    /// The ends of the axes: from 0 and past the band across, a little more than the values upwards.
    fn ranges(&self) -> ([f64; 2], [f64; 2]) {
        let right = self.dots.iter().map(|dot| dot.avg_dist_px);
        let right = right.fold(self.band[1], f64::max) * 1.08;
        let ends = self.dots.iter().flat_map(|dot| {
            let spread = dot.spread.unwrap_or(0.0);
            [dot.score - spread, dot.score + spread]
        });
        let (low, high) = ends.fold((f64::MAX, f64::MIN), |(low, high), end| {
            (low.min(end), high.max(end))
        });
        if low > high {
            return ([0.0, right], [0.0, 1.0]);
        }
        // The two floors are for equal scores, where the axis would have no length.
        let room = ((high - low) * 0.08).max(high.abs() * 0.01).max(1e-9);
        ([0.0, right], [low - room, high + room])
    }
}

/// The values of all keys but the one whose colour tells it.
fn label(values: &[String], key_idx: usize) -> String {
    let others = values.iter().enumerate().filter(|(idx, _)| *idx != key_idx);
    let others: Vec<&str> = others.map(|(_, value)| value.as_str()).collect();
    others.join(", ")
}

/// Which keys the labels have the values of; nothing where there are none.
fn labelled(keys: &[String], key_idx: usize) -> Vec<String> {
    let others = keys.iter().enumerate().filter(|(idx, _)| *idx != key_idx);
    let others: Vec<&String> = others.map(|(_, key)| key).collect();
    if others.is_empty() {
        return Vec::new();
    }
    let head = "beside the points:".to_owned();
    std::iter::once(head)
        .chain(others.into_iter().cloned())
        .collect()
}

fn paint(canvas: &Canvas<'_>, figure: &Figure) -> Result<(), Fault> {
    let (x, y) = figure.ranges();
    let (left, right) = canvas.split_horizontally(SIZE.0 - LEGEND_PX);
    let mut chart = ChartBuilder::on(&left)
        .caption(&figure.title, text(TEXT_PX + 8))
        .margin(24)
        .x_label_area_size(80)
        .y_label_area_size(110)
        .build_cartesian_2d(x[0]..x[1], y[0]..y[1])?;
    let [low, high] = figure.band;
    // Drawn first, so that the lines and the points lie over it.
    let band = Rectangle::new([(low, y[0]), (high, y[1])], BAND.filled());
    chart.draw_series([band])?;
    chart
        .configure_mesh()
        .light_line_style(WHITE.mix(0.0))
        .bold_line_style(BLACK.mix(0.12))
        .x_desc("AvgDist: mean distance of a hidden pixel to a visible one (px)")
        .y_desc(&figure.axis)
        .label_style(text(TEXT_PX - 4))
        .axis_desc_style(text(TEXT_PX))
        .draw()?;
    // Markers are drawn in pixels: in units of the axes, squares would be stretched.
    let place = |at: (f64, f64)| chart.backend_coord(&at);
    for dot in &figure.dots {
        let colour = COLOURS[dot.series_idx % COLOURS.len()];
        if let Some(spread) = dot.spread {
            let ends = [dot.score - spread, dot.score + spread];
            let line = ends.map(|score| place((dot.avg_dist_px, score)));
            canvas.draw(&PathElement::new(line, colour.stroke_width(2)))?;
        }
        canvas.draw(&marker(dot.series_idx, place((dot.avg_dist_px, dot.score))))?;
    }
    let at = |dot: &Dot| place((dot.avg_dist_px, dot.score));
    paint_labels(canvas, figure, &at)?;
    paint_legend(&right, figure)
}

/// What tells each point from the others of its colour, beside it.
fn paint_labels(
    canvas: &Canvas<'_>,
    figure: &Figure,
    at: &dyn Fn(&Dot) -> (i32, i32),
) -> Result<(), Fault> {
    let marked = |dot: &Dot| -> Result<Marked, Fault> {
        let ((x, y), (width, height)) = (at(dot), measure(&dot.label, LABEL_PX)?);
        Ok(Marked {
            marker: Area {
                left: x - MARKER_PX,
                top: y - MARKER_PX,
                width: 2 * MARKER_PX,
                height: 2 * MARKER_PX,
            },
            width: width as i32,
            height: height as i32,
        })
    };
    let marked: Vec<Marked> = figure.dots.iter().map(marked).collect::<Result<_, _>>()?;
    for (dot, area) in figure.dots.iter().zip(labels::place(&marked)) {
        let style = text(LABEL_PX);
        canvas.draw(&Text::new(dot.label.clone(), (area.left, area.top), style))?;
    }
    Ok(())
}

fn paint_legend(canvas: &Canvas<'_>, figure: &Figure) -> Result<(), Fault> {
    const TOP_PX: i32 = 100;
    const LINE_PX: i32 = 40;
    const TEXT_AT: i32 = 44;
    // The middle of small letters lies above that of their line.
    const RISE_PX: i32 = 5;
    canvas.draw(&Text::new(
        figure.key.clone(),
        (0, TOP_PX - LINE_PX),
        text(TEXT_PX),
    ))?;
    let mut top = TOP_PX;
    for (series_idx, name) in figure.series.iter().enumerate() {
        canvas.draw(&marker(series_idx, (16, top + TEXT_PX / 2 - RISE_PX)))?;
        canvas.draw(&Text::new(name.clone(), (TEXT_AT, top), text(TEXT_PX)))?;
        top += LINE_PX;
    }
    top += LINE_PX;
    let corners = [(4, top - RISE_PX), (28, top + TEXT_PX - RISE_PX)];
    canvas.draw(&Rectangle::new(corners, BAND.filled()))?;
    let [low, high] = figure.band;
    let lines = [
        "good in the paper".to_owned(),
        format!("{low:.1} to {high:.1} px"),
        "at this image size".to_owned(),
    ];
    for line in lines {
        canvas.draw(&Text::new(line, (TEXT_AT, top), text(TEXT_PX - 2)))?;
        top += LINE_PX - 8;
    }
    top += LINE_PX;
    for line in &figure.labelled {
        canvas.draw(&Text::new(line.clone(), (4, top), text(LABEL_PX)))?;
        top += LINE_PX - 12;
    }
    Ok(())
}

/// The sign of a series: five shapes in seven colours, so that 35 series differ.
fn marker<'a, DB: DrawingBackend + 'a>(
    series_idx: usize,
    (x, y): (i32, i32),
) -> DynElement<'a, DB, (i32, i32)> {
    let style: ShapeStyle = COLOURS[series_idx % COLOURS.len()].filled();
    let (at, r) = ((x, y), MARKER_PX);
    match series_idx % 5 {
        0 => Circle::new(at, r, style).into_dyn(),
        1 => Rectangle::new([(x - r + 1, y - r + 1), (x + r - 1, y + r - 1)], style).into_dyn(),
        2 => TriangleMarker::new(at, r + 3, style).into_dyn(),
        3 => Polygon::new(
            vec![
                (x - r - 2, y),
                (x, y - r - 2),
                (x + r + 2, y),
                (x, y + r + 2),
            ],
            style,
        )
        .into_dyn(),
        _ => Cross::new(at, r, style.stroke_width(4)).into_dyn(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::ablate::Grid;
    use crate::ablate::table::tests::{finished, rows};

    fn picture(scores: &[f64]) -> Picture {
        let text = "[grid]\nmask.kind = ['random', 'square', 'blockwise']\nmask.ratio = [0.3, 0.6]\n[set]\n\
            data.image_size = 192\nmodel.variant = 'vit-t/16'\n[[also]]\nmask.ratio = 1.0";
        let grid = Grid::text("mine", "mine.toml", text).unwrap();
        let ablation = Ablation::new(&grid, &[], None).unwrap();
        let results: Vec<_> = scores.iter().map(|&score| Some(finished(score))).collect();
        draw(&ablation, &rows(&ablation, &results)).unwrap()
    }

    fn colours(picture: &Picture) -> BTreeSet<[u8; 3]> {
        let pixels = picture.pixels.chunks_exact(3);
        pixels.map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect()
    }

    fn count(picture: &Picture, RGBColor(r, g, b): RGBColor) -> usize {
        let pixels = picture.pixels.chunks_exact(3);
        pixels.filter(|pixel| **pixel == [r, g, b]).count()
    }

    #[test]
    fn every_series_has_its_colour_and_text_is_drawn_without_a_font_of_the_system() {
        let full = picture(&[0.5, 0.4, 0.6, 0.7, 0.45, 0.55]);
        // More of each than in the legend alone; a mask that hides everything has no place.
        let empty = picture(&[]);
        for colour in &COLOURS[..3] {
            assert!(count(&full, *colour) > 2 * count(&empty, *colour));
        }
        assert!(count(&empty, BAND) > 10_000);
        // Letters have soft edges.
        assert!(colours(&empty).len() > 50, "{}", colours(&empty).len());
    }

    #[test]
    fn one_point_alone_is_drawn_inside_the_axes() {
        let figure = |score| picture(&[score]);
        assert!(count(&figure(0.0), COLOURS[0]) > count(&picture(&[]), COLOURS[0]));
        assert!(count(&figure(0.5), COLOURS[0]) > count(&picture(&[]), COLOURS[0]));
    }
}
