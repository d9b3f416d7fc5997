//! The results of a comparison as CSV, as Markdown, and as a plot.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use plotters::prelude::{
    BLACK, ChartBuilder, Circle, Color, IntoLogRange, PathElement, Rectangle, Text, WHITE,
};
use simmim_eval::chart::{self, COLOURS, Canvas, Fault, text};
use simmim_eval::report;
use simmim_train::picture::Picture;

use super::comparison::{LowShotResult, Start};
use crate::error::Error;
use crate::sweep::statistics::{mean, spread};

const SIZE: (u32, u32) = (1200, 800);
const TEXT_PX: i32 = 26;

/// Runs of one share and start.
struct Group {
    share: f64,
    start: Start,
    accuracies: Vec<f64>,
}

impl Group {
    fn mean(&self) -> f64 {
        mean(&self.accuracies).expect("a group has a run")
    }

    /// The standard deviation of the sample; none of a single run.
    fn spread(&self) -> Option<f64> {
        spread(&self.accuracies)
    }
}

/// The runs by share and start, the smallest share first.
fn groups(results: &[&LowShotResult]) -> Vec<Group> {
    // Shares are above 0, and of such floats the bits are in their order.
    let mut found: BTreeMap<(u64, Start), Group> = BTreeMap::new();
    for result in results {
        let (share, start) = (result.share, result.start);
        let group = found.entry((share.to_bits(), start)).or_insert(Group {
            share,
            start,
            accuracies: Vec::new(),
        });
        group.accuracies.push(result.accuracy);
    }
    found.into_values().collect()
}

/// A row a run, every digit of every number.
pub(super) fn csv(results: &[&LowShotResult]) -> String {
    let head = [
        "labels",
        "start",
        "seed",
        "top1",
        "images",
        "unreadable",
        "steps",
        "minutes",
    ];
    let rows = results.iter().map(|result| {
        vec![
            result.share.to_string(),
            result.start.to_string(),
            result.seed.to_string(),
            result.accuracy.to_string(),
            result.n_images.to_string(),
            result.n_unreadable.to_string(),
            result.steps.to_string(),
            result.minutes.to_string(),
        ]
    });
    report::csv(head, rows)
}

/// A row a share: both starts, and the difference of their means.
pub(super) fn markdown(results: &[&LowShotResult]) -> String {
    let groups = groups(results);
    let mut table =
        "| labels | pretrained | scratch | difference | seeds |\n|---|---|---|---|---|\n"
            .to_owned();
    // The groups are in the order of their shares, so both starts of a share are neighbours.
    for pair in groups.chunk_by(|a, b| a.share == b.share) {
        let of = |start| pair.iter().find(|group| group.start == start);
        let (pretrained, scratch) = (of(Start::Pretrained), of(Start::Scratch));
        let cell = |group: Option<&Group>| match group {
            None => "–".to_owned(),
            Some(group) => match group.spread() {
                Some(spread) => format!("{:.2} ± {:.2} %", 100.0 * group.mean(), 100.0 * spread),
                None => format!("{:.2} %", 100.0 * group.mean()),
            },
        };
        let difference = match (pretrained, scratch) {
            (Some(one), Some(other)) => format!("{:+.2}", 100.0 * (one.mean() - other.mean())),
            _ => "–".to_owned(),
        };
        // While the comparison is under way one start may be ahead of the other; the difference rests on the fewer.
        let n_seeds = pair.iter().map(|group| group.accuracies.len()).min();
        // Writing to a string cannot fail.
        let _ = writeln!(
            table,
            "| {} % | {} | {} | {difference} | {} |",
            100.0 * pair[0].share,
            cell(pretrained),
            cell(scratch),
            n_seeds.unwrap_or(0)
        );
    }
    table + "\nTop-1 accuracy on the test images: mean and standard deviation over the seeds.\n"
}

/// Accuracy against the share of the labels, a line for each start.
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
    for (start, colour) in [
        (Start::Pretrained, COLOURS[0]),
        (Start::Scratch, COLOURS[1]),
    ] {
        let own: Vec<&Group> = groups.iter().filter(|group| group.start == start).collect();
        let at = |group: &&Group| (100.0 * group.share, 100.0 * group.mean());
        let line: Vec<(f64, f64)> = own.iter().map(at).collect();
        chart.draw_series([PathElement::new(line, colour.stroke_width(3))])?;
        chart.draw_series(
            own.iter()
                .map(|group| Circle::new(at(group), 8, colour.filled())),
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
    let entries = [("pre-trained", COLOURS[0]), ("from scratch", COLOURS[1])];
    for (line, (name, colour)) in entries.into_iter().enumerate() {
        let (x, y) = (left + 30, top + 24 + 40 * line as i32);
        canvas.draw(&Rectangle::new([(x, y), (x + 24, y + 20)], colour.filled()))?;
        canvas.draw(&Text::new(name, (x + 36, y - 4), text(TEXT_PX)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(share: f64, start: Start, seed: u64, accuracy: f64) -> LowShotResult {
        LowShotResult {
            share,
            start,
            seed,
            accuracy,
            n_images: 100,
            n_unreadable: 0,
            steps: 10,
            minutes: 0.5,
        }
    }

    fn results() -> Vec<LowShotResult> {
        vec![
            result(1.0, Start::Pretrained, 0, 0.9),
            result(0.1, Start::Scratch, 0, 0.4),
            result(0.1, Start::Pretrained, 0, 0.5),
            result(0.1, Start::Pretrained, 1, 0.6),
            result(0.1, Start::Scratch, 1, 0.42),
        ]
    }

    #[test]
    fn the_table_has_means_and_spreads_and_the_smallest_share_first() {
        let results = results();
        let results: Vec<&LowShotResult> = results.iter().collect();
        let text = markdown(&results);
        let rows: Vec<&str> = text.lines().skip(2).take(2).collect();
        assert_eq!(
            rows[0],
            "| 10 % | 55.00 ± 7.07 % | 41.00 ± 1.41 % | +14.00 | 2 |"
        );
        assert_eq!(rows[1], "| 100 % | 90.00 % | – | – | 1 |");
        assert_eq!(csv(&results).lines().count(), 6);
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
                picture.write_png(&path).unwrap();
            }
        }
    }
}
