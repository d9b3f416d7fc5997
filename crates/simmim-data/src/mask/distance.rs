//! How far hidden pixels are from visible ones.

use super::Mask;

/// `AvgDist`: the mean, over the hidden pixels, of the Euclidean distance to the nearest visible
/// pixel, in pixels. `None` when nothing is hidden or nothing is visible.
///
/// Source: the ablation of masking strategies in SimMIM (arXiv 2111.09886).
///
/// # Panics
/// When `patch_px` is zero.
pub fn avg_dist_px(mask: &Mask, patch_px: usize) -> Option<f64> {
    assert!(patch_px > 0, "a patch has at least one pixel");
    let hidden = mask.to_pixels(patch_px);
    let width = mask.grid()[1] * patch_px;
    let n_hidden = hidden.iter().filter(|hidden| **hidden).count();
    if n_hidden == 0 || n_hidden == hidden.len() {
        return None;
    }
    let squared = squared_distances(&hidden, width);
    Some(squared.iter().map(|d| d.sqrt()).sum::<f64>() / n_hidden as f64)
}

/// The squared distance of each pixel to the nearest visible one; zero for visible pixels. At
/// least one pixel must be visible.
///
/// Source: Felzenszwalb and Huttenlocher, *Distance Transforms of Sampled Functions* (2012):
/// exact, in time linear in the number of pixels, one dimension after the other.
fn squared_distances(hidden: &[bool], width: usize) -> Vec<f64> {
    let height = hidden.len() / width;
    let mut squared: Vec<f64> = hidden
        .iter()
        .map(|hidden| if *hidden { f64::INFINITY } else { 0.0 })
        .collect();
    // Squared distances are sums over the axes, so columns first and rows of their results give the whole.
    let mut envelope = Envelope::default();
    for x in 0..width {
        let column: Vec<f64> = squared[x..].iter().step_by(width).copied().collect();
        let transformed = envelope.transform(&column);
        for (y, value) in transformed.into_iter().enumerate().take(height) {
            squared[y * width + x] = value;
        }
    }
    for row in squared.chunks_exact_mut(width) {
        let transformed = envelope.transform(row);
        row.copy_from_slice(&transformed);
    }
    squared
}

/// The lower envelope of parabolas with their feet at the samples of a line.
#[derive(Default)]
struct Envelope {
    /// The foot of each parabola of the envelope.
    feet: Vec<usize>,
    /// Where each takes over from the one before.
    starts: Vec<f64>,
}

impl Envelope {
    /// `min over q of (p - q)² + values[q]`, for each `p`.
    fn transform(&mut self, values: &[f64]) -> Vec<f64> {
        self.feet.clear();
        self.starts.clear();
        // A parabola at infinity is never lowest, and two of them have no intersection.
        let finite = (0..values.len()).filter(|q| values[*q].is_finite());
        for q in finite {
            self.push(q, values);
        }
        let mut at = 0;
        let lowest = (0..values.len()).map(|p| {
            // Places come in ascending order, so the parabola that is lowest is only ever moved on.
            while at + 1 < self.feet.len() && self.starts[at + 1] < p as f64 {
                at += 1;
            }
            self.feet.get(at).map_or(f64::INFINITY, |q| {
                let distance = p as f64 - *q as f64;
                distance * distance + values[*q]
            })
        });
        lowest.collect()
    }

    /// Adds the parabola at `q`, and drops those that it hides.
    fn push(&mut self, q: usize, values: &[f64]) {
        let height = |foot: usize| values[foot] + (foot * foot) as f64;
        let mut start = f64::NEG_INFINITY;
        while let (Some(&last), Some(&last_start)) = (self.feet.last(), self.starts.last()) {
            start = (height(q) - height(last)) / (2.0 * (q - last) as f64);
            // Where the new one takes over before the last does, the last is lowest nowhere.
            if start > last_start {
                break;
            }
            self.feet.pop();
            self.starts.pop();
            start = f64::NEG_INFINITY;
        }
        self.feet.push(q);
        self.starts.push(start);
    }
}

#[cfg(test)]
mod tests {
    use simmim_random::{Purpose, Stream};

    use super::*;

    fn brute_force(hidden: &[bool], width: usize) -> Vec<f64> {
        let square = |a: usize, b: usize| (a as f64 - b as f64).powi(2);
        (0..hidden.len())
            .map(|p| {
                let visible = (0..hidden.len()).filter(|q| !hidden[*q]);
                visible
                    .map(|q| square(p / width, q / width) + square(p % width, q % width))
                    .fold(f64::INFINITY, f64::min)
            })
            .collect()
    }

    #[test]
    fn the_transform_equals_brute_force() {
        let mut draws = Stream::new(8, Purpose::Mask).at(0, 0);
        for (height, width) in [(1, 1), (1, 13), (13, 1), (9, 17), (24, 24)] {
            for share in [0.1, 0.5, 0.9, 0.99] {
                let mut hidden: Vec<bool> =
                    (0..height * width).map(|_| draws.chance(share)).collect();
                hidden[draws.below(height * width)] = false;
                let (fast, slow) = (
                    squared_distances(&hidden, width),
                    brute_force(&hidden, width),
                );
                assert_eq!(fast, slow, "{height} x {width}, {share}");
            }
        }
    }

    #[test]
    fn without_hidden_or_without_visible_patches_there_is_no_distance() {
        let mask = |hidden: Vec<bool>| Mask {
            grid: [1, 2],
            cell_patches: 1,
            hidden,
        };
        assert_eq!(avg_dist_px(&mask(vec![true; 2]), 4), None);
        assert_eq!(avg_dist_px(&mask(vec![false; 2]), 4), None);
        // Columns 1, 2, 3 and 4 pixels from the visible half.
        assert_eq!(avg_dist_px(&mask(vec![false, true]), 4), Some(2.5));
    }
}
