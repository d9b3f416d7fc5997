//! The results of a comparison as a plot.

use plotters::coord::types::RangedCoordf64;
use plotters::prelude::{
    BLACK, BitMapBackend, Cartesian2d, ChartBuilder, ChartContext, Color, PathElement, RGBColor,
    Rectangle, Text, WHITE,
};
use plotters::style::TextStyle;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use simmim_picture::Picture;
use simmim_picture::chart::{self, COLOURS, Canvas, Fault, measure, text};

use super::comparison::LowShotResult;
use super::lines::{Group, Line, groups};
use crate::error::Error;

const SIZE: (u32, u32) = (1200, 800);
const TEXT_PX: i32 = 24;
/// Height below the axis: the shares, what they are, two rows of names.
const BELOW_PX: i32 = 170;
/// The part of the room of a share that its bars take.
const BARS: f64 = 0.86;

type Chart<'a, 'b> =
    ChartContext<'a, BitMapBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// Accuracy by the share of the labels: a bar for each start and for what pixels come to, with the standard deviation of the seeds.
pub(super) fn draw(results: &[&LowShotResult]) -> Result<Picture, Error> {
    let groups = groups(results);
    Ok(chart::picture(SIZE, |canvas| paint(canvas, &groups))?)
}

fn paint(canvas: &Canvas<'_>, groups: &[Group]) -> Result<(), Fault> {
    let mut shares: Vec<f64> = groups.iter().map(|group| group.share).collect();
    // They come in order.
    shares.dedup();
    let high = groups
        .iter()
        .map(|group| 100.0 * (group.mean() + group.spread().unwrap_or(0.0)))
        .fold(0.0, f64::max);
    // Room for the figures above the bars; of nothing, the whole axis.
    let high = if groups.is_empty() {
        100.0
    } else {
        (1.1 * high).max(1.0)
    };
    let mut chart = ChartBuilder::on(canvas)
        .caption("Accuracy with few labels", text(TEXT_PX + 10))
        .margin(24)
        .x_label_area_size(BELOW_PX)
        .y_label_area_size(100)
        .build_cartesian_2d(0.0..shares.len().max(1) as f64, 0.0..high)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(0)
        .light_line_style(WHITE.mix(0.0))
        .bold_line_style(BLACK.mix(0.12))
        .y_desc("top-1 on the test images (%)")
        .label_style(text(TEXT_PX - 2))
        .axis_desc_style(text(TEXT_PX))
        .draw()?;
    let lines: Vec<Line> = Line::ALL
        .into_iter()
        .filter(|line| groups.iter().any(|group| group.line == *line))
        .collect();
    for (place, share) in shares.iter().enumerate() {
        let (x, y) = chart.backend_coord(&(place as f64 + 0.5, 0.0));
        // Two decimals, or a label would show how a float misses its value.
        let name = format!("{} %", (1e4 * share).round() / 100.0);
        canvas.draw(&Text::new(name, (x, y + 10), centred(TEXT_PX, VPos::Top)))?;
    }
    for group in groups {
        let bar = Bar::of(group, &shares, &lines);
        paint_bar(canvas, &mut chart, group, &bar)?;
    }
    let (x, y) = chart.backend_coord(&(shares.len().max(1) as f64 / 2.0, 0.0));
    let about = "share of the labels of the training images";
    canvas.draw(&Text::new(about, (x, y + 46), centred(TEXT_PX, VPos::Top)))?;
    paint_legend(canvas, &lines, y + 94)
}

/// A bar with its deviation and its figure.
fn paint_bar(
    canvas: &Canvas<'_>,
    chart: &mut Chart<'_, '_>,
    group: &Group,
    bar: &Bar,
) -> Result<(), Fault> {
    let mean = 100.0 * group.mean();
    let spread = 100.0 * group.spread().unwrap_or(0.0);
    let colour = colour_of(group.line).filled();
    chart.draw_series([Rectangle::new([(bar.left, 0.0), (bar.right, mean)], colour)])?;
    let middle = f64::midpoint(bar.left, bar.right);
    if spread > 0.0 {
        let ends = [(middle, mean - spread), (middle, mean + spread)];
        chart.draw_series([PathElement::new(ends, BLACK.stroke_width(2))])?;
    }
    let (x, y) = chart.backend_coord(&(middle, mean + spread));
    let style = centred(TEXT_PX - 6, VPos::Bottom);
    canvas.draw(&Text::new(format!("{mean:.1}"), (x, y - 4), style))?;
    Ok(())
}

fn centred(size_px: i32, vertically: VPos) -> TextStyle<'static> {
    text(size_px).pos(Pos::new(HPos::Center, vertically))
}

/// From where to where a bar is, the room of each share being 1 wide.
struct Bar {
    left: f64,
    right: f64,
}

impl Bar {
    fn of(group: &Group, shares: &[f64], lines: &[Line]) -> Self {
        let place = |found: Option<usize>| found.expect("made of the groups") as f64;
        let share = place(shares.iter().position(|share| *share == group.share));
        let line = place(lines.iter().position(|line| *line == group.line));
        let width = BARS / lines.len() as f64;
        let left = share + (1.0 - BARS) / 2.0 + line * width;
        // A gap of a tenth, so that bars of one height are seen to be several.
        Self {
            left,
            right: left + 0.9 * width,
        }
    }
}

fn colour_of(line: Line) -> RGBColor {
    const PALE: [RGBColor; 3] = [
        RGBColor(140, 140, 140),
        RGBColor(180, 180, 180),
        RGBColor(215, 215, 215),
    ];
    match line {
        Line::Pretrained => COLOURS[0],
        Line::Scratch => COLOURS[1],
        // What costs nothing is grey: it is there to be compared with.
        Line::Logistic => PALE[0],
        Line::Neighbours => PALE[1],
        Line::Majority => PALE[2],
    }
}

/// Which colour is which, in rows from `top` down.
fn paint_legend(canvas: &Canvas<'_>, lines: &[Line], top: i32) -> Result<(), Fault> {
    const LEFT: i32 = 124;
    let (mut x, mut y) = (LEFT, top);
    for line in lines {
        let name = match line {
            Line::Pretrained => "pre-trained",
            Line::Scratch => "from scratch",
            Line::Logistic | Line::Neighbours | Line::Majority => line.name(),
        };
        let width = 32 + measure(name, TEXT_PX)?.0 as i32;
        if x + width > SIZE.0 as i32 - 24 {
            (x, y) = (LEFT, y + TEXT_PX + 12);
        }
        canvas.draw(&Rectangle::new(
            [(x, y), (x + 22, y + 22)],
            colour_of(*line).filled(),
        ))?;
        canvas.draw(&Text::new(name, (x + 32, y - 2), text(TEXT_PX)))?;
        x += width + 36;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lowshot::Start;
    use simmim_eval::baselines::Baselines;

    const BASELINES: Baselines = Baselines {
        majority: 0.1,
        neighbours: 0.31,
        k: 5,
        logistic: 0.35,
        lambda: 0.1,
        n_train: 50,
        n_fitted: 50,
        n_measured: 100,
    };

    fn results() -> Vec<LowShotResult> {
        let result = |share, start, accuracy| LowShotResult {
            share,
            start,
            seed: 0,
            accuracy,
            n_images: 100,
            n_unreadable: 0,
            steps: 10,
            minutes: 0.5,
            baselines: (share < 1.0).then_some(BASELINES),
        };
        vec![
            result(1.0, Start::Pretrained, 0.9),
            result(0.1, Start::Scratch, 0.4),
            result(0.1, Start::Pretrained, 0.5),
            result(0.1, Start::Pretrained, 0.6),
            result(0.1, Start::Scratch, 0.42),
        ]
    }

    #[test]
    fn a_plot_is_drawn_of_nothing_of_one_share_and_of_several() {
        let results = results();
        let results: Vec<&LowShotResult> = results.iter().collect();
        for n in [0, 1, 5] {
            let picture = draw(&results[..n]).unwrap();
            let blue = [0, 114, 178];
            let n_blue = picture
                .pixels
                .chunks_exact(3)
                .filter(|pixel| **pixel == blue)
                .count();
            // More than the legend's square.
            assert_eq!(n_blue > 600, n > 0, "{n}: {n_blue}");
            if let Some(folder) = std::env::var_os("SIMMIM_SHOW") {
                let path = std::path::Path::new(&folder).join(format!("lowshot-{n}.png"));
                picture.write(&path).unwrap();
            }
        }
    }
}
