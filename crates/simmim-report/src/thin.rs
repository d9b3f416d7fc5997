//! Long lines with fewer points.

use crate::content::{Line, Point};

/// Points of a line that a page holds.
const MOST_POINTS: usize = 4000;

/// The line with as many points as a page holds: each is the mean of as many neighbours, at the last one's step.
pub(crate) fn thin(line: &Line) -> Line {
    let per_point = line.points.len().div_ceil(MOST_POINTS).max(1);
    let mean = |points: &[Point]| Point {
        step: points.last().map_or(0, |point| point.step),
        value: points.iter().map(|point| point.value).sum::<f64>() / points.len() as f64,
    };
    Line {
        name: line.name.clone(),
        points: line.points.chunks(per_point).map(mean).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(n: u64) -> Line {
        let points = (1..=n).map(|step| Point {
            step,
            value: step as f64,
        });
        Line {
            name: String::new(),
            points: points.collect(),
        }
    }

    #[test]
    fn a_long_line_keeps_its_mean_and_its_end_and_a_short_one_everything() {
        assert_eq!(thin(&line(4000)), line(4000));
        assert_eq!(thin(&line(0)), line(0));
        let thinned = thin(&line(16_000));
        assert_eq!(thinned.points.len(), 4000);
        assert_eq!(
            thinned.points[0],
            Point {
                step: 4,
                value: 2.5
            }
        );
        assert_eq!(thinned.points[3999].step, 16_000);
    }
}
