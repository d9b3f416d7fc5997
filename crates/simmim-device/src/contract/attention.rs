//! Attention in images and windows, and cosine attention's norms.

use super::subject::{F32, Subject, gradient};
use crate::buffer::Buffer;
use crate::layers::{AttentionPattern, CosineInputs, Heads, SavedAttention, TokenWindows};

/// Added to the logit of two tokens of different regions.
const OTHER_REGION: f64 = -100.0;

pub(super) fn check(subject: &mut Subject<'_>) {
    // Twice a round: bias, scale and regions are drawn together, and few rounds would leave out pairs of them.
    for _ in 0..2 {
        let image = Pattern::of_an_image(subject);
        attention(subject, &image);
        let windows = Pattern::of_windows(subject);
        attention(subject, &windows);
    }
    cosine(subject);
}

/// Which tokens attend to each other, and how: what the definition needs.
#[derive(Debug)]
struct Pattern {
    dims: Heads,
    is_biased: bool,
    /// The token at each place of an image; `None` where an image is one window.
    order: Option<Vec<u32>>,
    /// Of each place; empty where all are of one.
    regions: Vec<u32>,
}

impl Pattern {
    fn of_an_image(subject: &mut Subject<'_>) -> Self {
        let (heads, tokens, head_dim) = (subject.size(3), subject.size(9), subject.size(6));
        let mut dims = Heads::new(heads, tokens, head_dim);
        if subject.chance() {
            // 1/√d of none of the widths that are drawn, so that a scale that is ignored shows.
            dims.scale = 0.3;
        }
        Self {
            dims,
            is_biased: subject.chance(),
            order: None,
            regions: Vec::new(),
        }
    }

    fn of_windows(subject: &mut Subject<'_>) -> Self {
        let image = Self::of_an_image(subject);
        let n_places = subject.size(3) * image.dims.tokens;
        let regions = if subject.chance() {
            subject.numbers(n_places, 2)
        } else {
            Vec::new()
        };
        Self {
            // Any order: a device may not count on windows that are squares of a grid.
            order: Some(subject.order(n_places)),
            regions,
            ..image
        }
    }

    /// Tokens of an image.
    fn n_places(&self) -> usize {
        self.order.as_ref().map_or(self.dims.tokens, Vec::len)
    }

    /// The token of an image at a place.
    fn token(&self, place: usize) -> usize {
        self.order
            .as_ref()
            .map_or(place, |order| order[place] as usize)
    }

    fn bias_len(&self) -> usize {
        if self.is_biased {
            self.dims.heads * self.dims.logits_len()
        } else {
            0
        }
    }

    /// softmax(s q kᵀ + bias) v.
    fn attend(&self, qkv: &[f64], bias: &[f64]) -> Vec<f64> {
        let width = self.dims.width();
        let mut out = vec![0.0; qkv.len() / 3];
        let n_places = self.n_places();
        for image in 0..out.len() / (n_places * width) {
            let row = |place: usize| image * n_places + self.token(place);
            for place in 0..n_places {
                for head in 0..self.dims.heads {
                    let own = self.of_token(qkv, bias, head, place, &row);
                    let at = row(place) * width + head * self.dims.head_dim;
                    out[at..at + self.dims.head_dim].copy_from_slice(&own);
                }
            }
        }
        out
    }

    /// What the token at a place gets of one head.
    #[allow(
        clippy::too_many_arguments,
        reason = "a definition: each is a thing of its own"
    )]
    fn of_token(
        &self,
        qkv: &[f64],
        bias: &[f64],
        head: usize,
        place: usize,
        row: &impl Fn(usize) -> usize,
    ) -> Vec<f64> {
        let Heads {
            tokens,
            head_dim,
            scale,
            ..
        } = self.dims;
        let width = self.dims.width();
        let vector = |place: usize, which: usize| {
            let start = (row(place) * 3 + which) * width + head * head_dim;
            &qkv[start..start + head_dim]
        };
        let first = place - place % tokens;
        let logit = |other: usize| {
            let query = vector(place, 0).iter().zip(vector(other, 1));
            let dot: f64 = query.map(|(q, k)| q * k).sum();
            let pair = (head * tokens + place % tokens) * tokens + other % tokens;
            let apart = !self.regions.is_empty() && self.regions[place] != self.regions[other];
            f64::from(scale) * dot
                + bias.get(pair).unwrap_or(&0.0)
                + if apart { OTHER_REGION } else { 0.0 }
        };
        let weights: Vec<f64> = (first..first + tokens)
            // The largest is not taken off first: no logit drawn here is too large for f64.
            .map(|other| logit(other).exp())
            .collect();
        let total: f64 = weights.iter().sum();
        let value = |i: usize| {
            let weighed = weights.iter().enumerate();
            let sum: f64 = weighed
                .map(|(j, weight)| weight * vector(first + j, 2)[i])
                .sum();
            sum / total
        };
        (0..head_dim).map(value).collect()
    }
}

/// The buffers of a [`Pattern`].
struct OnDevice {
    bias: Option<Buffer>,
    order: Option<Buffer>,
    regions: Buffer,
}

impl OnDevice {
    fn pattern(&self, dims: Heads) -> AttentionPattern<'_> {
        let windows = |order| TokenWindows {
            order,
            regions: &self.regions,
        };
        AttentionPattern {
            dims,
            bias: self.bias.as_ref(),
            windows: self.order.as_ref().map(windows),
        }
    }
}

fn attention(subject: &mut Subject<'_>, pattern: &Pattern) {
    let n = subject.size(2) * pattern.n_places() * pattern.dims.width();
    let (mut qkv, mut dout) = (subject.values(3 * n, 1.5), subject.values(n, 1.0));
    let bias = subject.values(pattern.bias_len(), 1.0);
    let (device, tolerance) = (subject.device, subject.tolerance());
    let [qkv_on, dout_on] = [&mut qkv, &mut dout].map(|values| subject.up_in_branch(values));
    let buffers = OnDevice {
        bias: pattern.is_biased.then(|| subject.up(&bias)),
        order: pattern
            .order
            .as_ref()
            .map(|order| device.upload_index(order)),
        regions: device.upload_index(&pattern.regions),
    };
    let on_device = buffers.pattern(pattern.dims);
    let what = format!("attention by {pattern:?}");
    let mut out = subject.out_in_branch(n);
    let stats = device.attention(&qkv_on, on_device, &mut out);
    subject.compare_buffer(&what, &out, &pattern.attend(&qkv, &bias), tolerance);
    let saved = SavedAttention {
        qkv: &qkv_on,
        out: &out,
        stats: stats.as_ref(),
    };
    let mut dqkv = subject.out_in_branch(3 * n);
    let dbias = device.attention_backward(saved, on_device, &dout_on, &mut dqkv);
    let expected = gradient(&qkv, &dout, |qkv| pattern.attend(qkv, &bias));
    subject.compare_buffer(&format!("{what}, dqkv"), &dqkv, &expected, tolerance);
    let found = dbias.map_or(Vec::new(), |dbias| subject.down(&dbias));
    let expected = gradient(&bias, &dout, |bias| pattern.attend(&qkv, bias));
    assert_eq!(
        found.len(),
        expected.len(),
        "{what}: a gradient of the bias"
    );
    // A row of the gradient adds up to zero, and of one token it is zero: held against the slopes that it is a sum of.
    let n_windows = n / pattern.dims.out_len();
    for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
        let error = (found - expected).abs();
        assert!(
            error <= tolerance * n_windows as f64,
            "{what}, dbias: value {i} is {found}, by definition {expected}"
        );
    }
}

fn cosine(subject: &mut Subject<'_>) {
    let (rows, heads, head_dim) = (subject.size(9), subject.size(3), subject.size(9));
    let width = heads * head_dim;
    let (mut qkv, mut dy) = (
        subject.values(rows * 3 * width, 1.0),
        subject.values(rows * 3 * width, 1.0),
    );
    // From below to beyond ln 100 = 4.6, where the factor stays what it is.
    let log_scale: Vec<f64> = (0..heads)
        .map(|head| [0.5, 2.0, 5.5][(head + subject.below(3)) % 3])
        .collect();
    let define = |qkv: &[f64], log_scale: &[f64]| {
        let of_head = |(i, x): (usize, &[f64])| {
            // Without a least length: no vector drawn here comes near it.
            let length = x.iter().map(|x| x * x).sum::<f64>().sqrt();
            let factor = match i / heads % 3 {
                0 => log_scale[i % heads].min(100_f64.ln()).exp() / length,
                1 => 1.0 / length,
                _ => 1.0,
            };
            x.iter().map(|x| factor * x).collect::<Vec<_>>()
        };
        qkv.chunks(head_dim)
            .enumerate()
            .flat_map(of_head)
            .collect::<Vec<_>>()
    };
    let [qkv_on, dy_on] = [&mut qkv, &mut dy].map(|values| subject.up_in_branch(values));
    let log_on = subject.up(&log_scale);
    let inputs = CosineInputs {
        qkv: &qkv_on,
        log_scale: &log_on,
        head_dim,
    };
    let what = format!("cosine [{rows}, 3, {heads}, {head_dim}]");
    let mut y = subject.out_in_branch(qkv.len());
    subject.device.cosine(inputs, &mut y);
    subject.compare_buffer(&what, &y, &define(&qkv, &log_scale), F32);
    let mut dqkv = subject.out_in_branch(qkv.len());
    let dlog = subject.device.cosine_backward(inputs, &dy_on, &mut dqkv);
    let expected = gradient(&qkv, &dy, |qkv| define(qkv, &log_scale));
    // A short vector has a large gradient, all of which is rounding along the vector itself.
    subject.compare_buffer(&format!("{what}, dqkv"), &dqkv, &expected, 30.0 * F32);
    let expected = gradient(&log_scale, &dy, |log| define(&qkv, log));
    subject.compare_buffer(&format!("{what}, dlog"), &dlog, &expected, 10.0 * F32);
}
