//! The layer that reads patches, for patches of another side and images of other channels.
//!
//! Source: of the side, `FlexiViT`, arXiv 2212.08013, §3.4 and `google-research/big_vision` `models/proj/flexi/vit.py`, `pi-resize`: the new
//! weights give a patch that was resized what the old ones give it before; the resize is timm's, `timm/layers/patch_embed.py`,
//! `resample_patch_embed`: bicubic, with a wider reach where it makes smaller. Of the channels, timm's `timm/models/_manipulate.py`,
//! `adapt_input_conv`, which keeps the sum of the weights: channels are repeated and scaled, and one channel gets the sum of all.

use std::fmt::{self, Display};

use simmim_checkpoint::Array;

/// The a of bicubic convolution where it is antialiased. Source: PyTorch `aten/src/ATen/native/cpu/UpSampleKernel.cpp`, as Pillow.
const CUBIC_A: f64 = -0.5;
/// How far the convolution reaches, in pixels of the coarser image.
const REACH: f64 = 2.0;

/// A change of the channels of images, of the sides of patches, or of both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Patch {
    width: usize,
    channels: Change,
    side: Change,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Change {
    from: usize,
    to: usize,
}

impl Change {
    fn is_none(self) -> bool {
        self.from == self.to
    }
}

impl Patch {
    /// The change between two shapes of the layer; none where nothing changes, or they are no such layers of one width.
    pub(super) fn between(from: &[usize], to: &[usize]) -> Option<Self> {
        let (&[width, channels, side, across], &[new_width, new_channels, new_side, new_across]) =
            (from, to)
        else {
            return None;
        };
        let patch = Self {
            width,
            channels: Change {
                from: channels,
                to: new_channels,
            },
            side: Change {
                from: side,
                to: new_side,
            },
        };
        let fits = width == new_width && side == across && new_side == new_across;
        let is_empty = [channels, new_channels, side, new_side].contains(&0);
        let changes = !(patch.channels.is_none() && patch.side.is_none());
        (fits && changes && !is_empty).then_some(patch)
    }

    /// # Shapes
    /// `array` `[D, C, p, p]`; the result has the new channels and sides.
    pub(super) fn resample(self, array: &Array) -> Array {
        let mut values = array.values.clone();
        if !self.channels.is_none() {
            values = self.with_channels(&values);
        }
        if !self.side.is_none() {
            values = self.with_side(&values);
        }
        let side = self.side.to;
        Array {
            shape: vec![self.width, self.channels.to, side, side],
            values,
        }
    }

    fn with_channels(self, values: &[f32]) -> Vec<f32> {
        let Change { from, to } = self.channels;
        let area = self.side.from * self.side.from;
        let scale = from as f32 / to as f32;
        let mut new = Vec::with_capacity(self.width * to * area);
        for row in values.chunks(from * area) {
            if to == 1 {
                let at = |i: usize| row.iter().skip(i).step_by(area).sum::<f32>();
                new.extend((0..area).map(at));
                continue;
            }
            // Channels in turn, as often as they are needed.
            for channel in 0..to {
                let own = &row[channel % from * area..][..area];
                new.extend(own.iter().map(|value| value * scale));
            }
        }
        new
    }

    fn with_side(self, values: &[f32]) -> Vec<f32> {
        let Change { from, to } = self.side;
        let matrix = pseudo_inverse(from, to);
        let mut new = Vec::with_capacity(values.len() / (from * from) * to * to);
        for patch in values.chunks(from * from) {
            // Rows, then columns: the resize of a square is that of a line, twice.
            let rows = product(
                &matrix,
                to,
                from,
                |row, column| f64::from(patch[row * from + column]),
                from,
            );
            let square = product(
                &matrix,
                to,
                from,
                |row, column| rows[column * from + row],
                to,
            );
            // The second product stands on its side.
            let at = |i: usize| square[i % to * to + i / to] as f32;
            new.extend((0..to * to).map(at));
        }
        new
    }
}

/// A matrix, `[to, from]`, times one of `n` columns.
#[allow(
    clippy::too_many_arguments,
    reason = "two matrices, each with its shape"
)]
fn product(
    matrix: &[f64],
    to: usize,
    from: usize,
    other: impl Fn(usize, usize) -> f64,
    n: usize,
) -> Vec<f64> {
    let at = |i: usize| {
        let (row, column) = (i / n, i % n);
        let weights = &matrix[row * from..(row + 1) * from];
        weights
            .iter()
            .enumerate()
            .map(|(k, weight)| weight * other(k, column))
            .sum()
    };
    (0..to * n).map(at).collect()
}

impl Display for Patch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { channels, side, .. } = self;
        match (channels.is_none(), side.is_none()) {
            (true, _) => write!(
                f,
                "patches of {} px for patches of {} px",
                side.from, side.to
            ),
            (false, true) => write!(f, "{} channels for {}", channels.from, channels.to),
            (false, false) => write!(
                f,
                "{} channels for {}, and of patches of {} px for patches of {} px",
                channels.from, channels.to, side.from, side.to
            ),
        }
    }
}

/// The pseudo-inverse of the transposed resize of a line, `[to, from]`: weights w of `from` values become those that give a line that
/// was resized what w gives the line itself, as nearly as can be.
fn pseudo_inverse(from: usize, to: usize) -> Vec<f64> {
    let resize = resize_line(from, to); // B, [to, from]
    let column = |matrix: &[f64], i: usize, k: usize| matrix[k * from + i];
    if to >= from {
        // B has independent columns: B (Bᵀ B)⁻¹.
        let gram: Vec<f64> = pairs(from)
            .map(|(i, j)| {
                (0..to)
                    .map(|k| column(&resize, i, k) * column(&resize, j, k))
                    .sum()
            })
            .collect();
        // Solved for each row of B: the Gram matrix is symmetric.
        let rows = resize.chunks(from).map(|row| solve(&gram, row));
        rows.flatten().collect()
    } else {
        // B has independent rows: (B Bᵀ)⁻¹ B.
        let row = |i: usize| &resize[i * from..(i + 1) * from];
        let gram: Vec<f64> = pairs(to)
            .map(|(i, j)| row(i).iter().zip(row(j)).map(|(a, b)| a * b).sum())
            .collect();
        let columns: Vec<Vec<f64>> = (0..from)
            .map(|i| {
                let own: Vec<f64> = (0..to).map(|k| column(&resize, i, k)).collect();
                solve(&gram, &own)
            })
            .collect();
        (0..to * from)
            .map(|i| columns[i % from][i / from])
            .collect()
    }
}

fn pairs(n: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..n * n).map(move |i| (i / n, i % n))
}

/// What each value of a line of `to` takes of one of `from`: bicubic convolution whose reach grows where the line becomes shorter.
fn resize_line(from: usize, to: usize) -> Vec<f64> {
    let scale = from as f64 / to as f64;
    let stretch = scale.max(1.0);
    let mut matrix = vec![0.0; to * from];
    for (new, row) in matrix.chunks_mut(from).enumerate() {
        let centre = (new as f64 + 0.5) * scale;
        let first = (centre - REACH * stretch + 0.5).max(0.0) as usize;
        let end = ((centre + REACH * stretch + 0.5) as usize).min(from);
        let mut total = 0.0;
        for (old, weight) in row.iter_mut().enumerate().take(end).skip(first) {
            *weight = cubic((old as f64 - centre + 0.5) / stretch);
            total += *weight;
        }
        for weight in row {
            *weight /= total;
        }
    }
    matrix
}

/// The kernel of bicubic convolution.
fn cubic(x: f64) -> f64 {
    let (a, x) = (CUBIC_A, x.abs());
    if x < 1.0 {
        ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    } else if x < REACH {
        ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a
    } else {
        0.0
    }
}

/// x of A x = b for a symmetric matrix without a zero among its eigenvalues, by elimination with pivots.
fn solve(matrix: &[f64], b: &[f64]) -> Vec<f64> {
    let n = b.len();
    let mut rows: Vec<Vec<f64>> = matrix
        .chunks(n)
        .zip(b)
        .map(|(row, b)| row.iter().copied().chain([*b]).collect())
        .collect();
    for column in 0..n {
        let largest = (column..n).max_by(|a, b| {
            let of = |row: usize| rows[row][column].abs();
            of(*a).total_cmp(&of(*b))
        });
        rows.swap(column, largest.unwrap_or(column));
        let pivot = rows[column].clone();
        for row in rows.iter_mut().skip(column + 1) {
            let factor = row[column] / pivot[column];
            for (value, own) in row.iter_mut().zip(&pivot).skip(column) {
                *value -= factor * own;
            }
        }
    }
    let mut x = vec![0.0; n];
    for row in (0..n).rev() {
        let known: f64 = (row + 1..n).map(|k| rows[row][k] * x[k]).sum();
        x[row] = (rows[row][n] - known) / rows[row][row];
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;
    use simmim_checkpoint::Archive;

    fn array(shape: &[usize]) -> Array {
        let n: usize = shape.iter().product();
        Array {
            shape: shape.to_vec(),
            values: (0..n).map(|i| (i as f32 * 0.7).sin()).collect(),
        }
    }

    #[test]
    fn channels_keep_the_sum_of_their_weights() {
        let old = array(&[2, 3, 2, 2]);
        let total: f32 = old.values.iter().sum();
        for channels in [1, 2, 4, 6, 12] {
            let patch = Patch::between(&[2, 3, 2, 2], &[2, channels, 2, 2]).unwrap();
            let new = patch.resample(&old);
            assert_eq!(new.shape, [2, channels, 2, 2]);
            // Where channels are no whole number of times as many, the sum is of the repeated ones.
            if channels == 1 || channels % 3 == 0 {
                assert!(
                    (new.values.iter().sum::<f32>() - total).abs() < 1e-5,
                    "{channels}"
                );
            }
        }
    }

    #[test]
    fn a_larger_patch_that_was_resized_gives_what_the_smaller_one_gave() {
        let (from, to) = (4, 7);
        let old = array(&[1, 1, from, from]);
        let patch = Patch::between(&old.shape, &[1, 1, to, to]).unwrap();
        let new = patch.resample(&old);
        let resize = resize_line(from, to);
        let image = array(&[1, 1, from, from]).values;
        // B x Bᵀ.
        let at = |y: usize, x: usize| -> f64 {
            pairs(from)
                .map(|(i, j)| {
                    resize[y * from + i] * f64::from(image[i * from + j]) * resize[x * from + j]
                })
                .sum()
        };
        let before: f64 = old
            .values
            .iter()
            .zip(&image)
            .map(|(w, x)| f64::from(w * x))
            .sum();
        let after: f64 = pairs(to)
            .map(|(y, x)| f64::from(new.values[y * to + x]) * at(y, x))
            .sum();
        assert!((before - after).abs() < 1e-5, "{before} {after}");
    }

    #[test]
    fn what_is_no_layer_of_patches_of_the_same_width_is_left_alone() {
        assert_eq!(Patch::between(&[2, 3, 4, 4], &[2, 3, 4, 4]), None);
        assert_eq!(Patch::between(&[2, 3, 4, 4], &[3, 3, 8, 8]), None);
        assert_eq!(Patch::between(&[2, 3, 4], &[2, 3, 8, 8]), None);
        assert_eq!(Patch::between(&[2, 3, 0, 0], &[2, 3, 8, 8]), None);
    }

    /// `golden/interop/make.py` wrote it: timm computes in f32.
    #[test]
    fn layers_of_patches_become_what_timm_makes_of_them() {
        let root = env!("CARGO_MANIFEST_DIR");
        let file = format!("{root}/../../golden/interop/patches.safetensors");
        let golden = Archive::open(file).unwrap();
        let old = golden.array("patches").unwrap();
        for name in golden.names().filter(|name| *name != "patches") {
            let expected = golden.array(name).unwrap();
            let patch = Patch::between(&old.shape, &expected.shape).unwrap();
            let found = patch.resample(&old);
            assert_eq!(found.shape, expected.shape, "{name}");
            for (found, expected) in found.values.iter().zip(&expected.values) {
                let bound = 2e-5 * expected.abs().max(1.0);
                assert!(
                    (found - expected).abs() < bound,
                    "{name}: {found} {expected}"
                );
            }
        }
    }
}
