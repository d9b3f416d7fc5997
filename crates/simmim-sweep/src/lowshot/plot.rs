//! The results of a comparison as a plot.

use plotters::prelude::{
    BLACK, ChartBuilder, Circle, Color, IntoLogRange, PathElement, Rectangle, Text, WHITE,
};
use simmim_picture::Picture;
use simmim_picture::chart::{self, COLOURS, Canvas, Fault, text};

use super::comparison::LowShotResult;
use super::lines::{Group, Line, groups};
use crate::error::Error;

const SIZE: (u32, u32) = (1200, 800);
const TEXT_PX: i32 = 26;

/// Accuracy against the share of the labels, a line for each start and for what pixels come to.
pub(super) fn draw(results: &[&LowShotResult]) -> Result<Picture, Error> {
    let groups = groups(results);
    Ok(chart::picture(SIZE, |canvas| paint(canvas, &groups))?)
}

fn paint(canvas: &Canvas<'_>, groups: &[Group]) -> Result<(), Fault> {
    let shares = groups.iter().map(|group| group.share);
    // Down to half of the labels in any case: all labels alone would leave the axis hardly any length.
    let least = shares.fold(1.0, f64::min).min(0.5);
    let ends = groups.iter().flat_map(|group| {
        let spread = group.spread().unwrap_or(0.0);
        [group.mean() - spread, group.mean() + spread].map(|share| 100.0 * share)
    });
    // The ends start crossed, and stay so only where there is nothing to draw.
    let (low, high) = ends.fold((100.0_f64, 0.0_f64), |(low, high), end| {
        (low.min(end), high.max(end))
    });
    let (low, high) = if low > high {
        (0.0, 100.0)
    } else {
        ((low - 5.0).max(0.0), (high + 5.0).min(100.0))
    };
    let mut chart = ChartBuilder::on(canvas)
        .caption("Accuracy with few labels", text(TEXT_PX + 8))
        .margin(24)
        .x_label_area_size(80)
        .y_label_area_size(100)
        // The axis is logarithmic: room at its ends is a factor, not a sum.
        .build_cartesian_2d((80.0 * least..125.0).log_scale(), low..high)?;
    chart
        .configure_mesh()
        .light_line_style(WHITE.mix(0.0))
        .bold_line_style(BLACK.mix(0.12))
        .x_desc("share of the labels (%)")
        .y_desc("top-1 on the test images (%)")
        // Two decimals, or a label would show how a float misses its value.
        .x_label_formatter(&|share| format!("{}", (share * 100.0).round() / 100.0))
        .label_style(text(TEXT_PX - 4))
        .axis_desc_style(text(TEXT_PX))
        .draw()?;
    for (line, colour) in Line::ALL.into_iter().zip(COLOURS) {
        let own: Vec<&Group> = groups.iter().filter(|group| group.line == line).collect();
        // What costs nothing is drawn thinner: it is there to be compared with.
        let (stroke, dot) = if line.is_baseline() { (2, 5) } else { (3, 8) };
        let at = |group: &&Group| (100.0 * group.share, 100.0 * group.mean());
        let means: Vec<(f64, f64)> = own.iter().map(at).collect();
        chart.draw_series([PathElement::new(means, colour.stroke_width(stroke))])?;
        chart.draw_series(
            own.iter()
                .map(|group| Circle::new(at(group), dot, colour.filled())),
        )?;
        let bar = |group: &&Group| {
            let (x, y) = at(group);
            let spread = 100.0 * group.spread()?;
            Some(PathElement::new(
                [(x, y - spread), (x, y + spread)],
                colour.stroke_width(2),
            ))
        };
        chart.draw_series(own.iter().filter_map(bar))?;
    }
    paint_legend(canvas, chart.plotting_area().get_base_pixel())
}

/// Which colour is which, at the upper left corner of the lines.
fn paint_legend(canvas: &Canvas<'_>, (left, top): (i32, i32)) -> Result<(), Fault> {
    for (place, (line, colour)) in Line::ALL.into_iter().zip(COLOURS).enumerate() {
        let name = match line {
            Line::Pretrained => "pre-trained",
            Line::Scratch => "from scratch",
            Line::Logistic | Line::Neighbours | Line::Majority => line.name(),
        };
        let (x, y) = (left + 30, top + 24 + 40 * place as i32);
        canvas.draw(&Rectangle::new([(x, y), (x + 24, y + 20)], colour.filled()))?;
        canvas.draw(&Text::new(name, (x + 36, y - 4), text(TEXT_PX)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lowshot::Start;

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
            baselines: None,
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
