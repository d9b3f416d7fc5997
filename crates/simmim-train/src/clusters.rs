//! The typical colours of a data set, by k-means.
//!
//! Written here, on the kernel that finds the nearest codeword anyway: of the crates that could do it, one needs a
//! nightly compiler, one knows three channels only, one brings a stack of linear algebra; none takes colours
//! with a weight, and none promises the same bits in its next version. What is here is k-means++ and Lloyd's
//! iteration over the distinct colours of a sample.
//!
//! Source: D. Arthur and S. Vassilvitskii, *k-means++* (2007); S. Lloyd, *Least squares quantization in PCM* (1982).
//! Clusters of colours as classes: M. Chen et al., *Generative Pretraining from Pixels* (iGPT, 2020), as the
//! ablation of prediction targets in SimMIM (arXiv 2111.09886) has them.

use std::collections::BTreeMap;
use std::sync::Arc;

use rayon::prelude::*;
use simmim_autograd::{Device, Precision, Tensor};
use simmim_config::Plan;
use simmim_config::codebook::Codebook;
use simmim_data::{DataSet, Normalisation, Reporter, Scratch, decode};
use simmim_random::{Draws, Purpose, Stream};

use crate::device::device_in;
use crate::error::Error;

/// Images that colours are taken from, at most.
const MAX_IMAGES: usize = 1000;
/// Pixels that are taken from all of them together, at most.
const MAX_PIXELS: usize = 1 << 17;
/// Iterations after which the means are left where they are.
const MAX_ITERATIONS: usize = 50;

/// Epochs of the streams: the images, the pixels of each, the first means.
const IMAGES: u64 = 0;
const PIXELS: u64 = 1;
const MEANS: u64 = 2;

/// Distinct colours, and how often each was seen.
#[derive(Debug)]
struct Colours {
    /// `[N, C]`.
    values: Vec<f32>,
    /// `[N]`.
    counts: Vec<f64>,
    channels: usize,
}

/// Clusters the colours of a data set, averaged over squares as the plan's target is: as many clusters as the plan asks
/// for, or as there are colours.
///
/// Only training images are looked at: the loss on held-out ones must not profit from clusters that were made of them.
///
/// # Errors
/// [`Error::Data`] for too many unreadable images, [`Error::FewColours`] where there is one colour or none.
pub fn cluster(plan: &Plan, data: &DataSet, reporter: &Reporter) -> Result<Codebook, Error> {
    let (seed, n) = (plan.config().train.seed, plan.config().objective.clusters);
    let stream = Stream::new(seed, Purpose::Codebook);
    // One for all images: to open one may take as long as an image.
    let device = device_in(plan.config(), Precision::F32)?;
    let source = Source {
        plan,
        data,
        device: &device,
    };
    let colours = sample(source, reporter, stream)?;
    if colours.counts.len() < 2 {
        return Err(Error::FewColours {
            found: colours.counts.len(),
        });
    }
    let means = k_means(&device, &colours, n, stream.at(MEANS, 0));
    Ok(Codebook::of_colours(means, colours.channels))
}

/// Where colours come from, and what averages them.
#[derive(Clone, Copy)]
struct Source<'a> {
    plan: &'a Plan,
    data: &'a DataSet,
    device: &'a Arc<dyn Device>,
}

/// The colours of some pixels of some images.
fn sample(source: Source<'_>, reporter: &Reporter, stream: Stream) -> Result<Colours, Error> {
    let Source { plan, data, .. } = source;
    let split = plan.split(data.len());
    let order = stream.at(IMAGES, 0).permutation(split.train().len());
    let chosen = order.into_iter().take(MAX_IMAGES);
    let chosen: Vec<usize> = chosen.map(|place| split.train()[place]).collect();
    // Few images give many pixels each, many give few.
    let n_each = MAX_PIXELS / chosen.len().max(1);
    let of_image = |&entry_idx: &usize| -> Result<Vec<f32>, Error> {
        let draws = stream.at(PIXELS, entry_idx as u64);
        match pixels(source, entry_idx) {
            Ok(pixels) => Ok(thin_out(
                &pixels,
                plan.config().data.channels,
                n_each,
                draws,
            )),
            Err(Error::Data(error)) => {
                reporter.record(entry_idx, data.name(entry_idx), &error)?;
                Ok(Vec::new())
            }
            // Not the image's fault, so it is not counted as unreadable.
            Err(error) => Err(error),
        }
    };
    let images: Vec<Vec<f32>> = chosen.par_iter().map(of_image).collect::<Result<_, _>>()?;
    let channels = plan.config().data.channels;
    // By bits, which can be ordered: the order of the colours decides what is drawn, so it must be the same every time.
    let mut counts = BTreeMap::new();
    for colour in images.concat().chunks_exact(channels) {
        let bits: Vec<u32> = colour.iter().map(|value| value.to_bits()).collect();
        *counts.entry(bits).or_insert(0.0) += 1.0;
    }
    let values = counts.keys().flatten().map(|bits| f32::from_bits(*bits));
    Ok(Colours {
        values: values.collect(),
        counts: counts.into_values().collect(),
        channels,
    })
}

/// The central crop of an image at the target's resolution, values of 0 to 1, as planes.
fn pixels(source: Source<'_>, entry_idx: usize) -> Result<Vec<f32>, Error> {
    let Source { plan, data, device } = source;
    let channels = plan.config().data.channels;
    // Codewords are colours from 0 to 1, which mean the same under any mean and deviation.
    let plain = Normalisation::new(vec![0.0; channels], vec![1.0; channels])?;
    let transform = plan.transform(plain)?;
    let image = decode(&data.read(entry_idx)?, channels, &plan.decode_settings())?;
    let mut sample = vec![0.0; transform.sample_len()];
    transform.centre(&image, &mut Scratch::new(), &mut sample);
    let [height, width] = transform.size();
    let image = Tensor::from_slice(device, &[1, channels, height, width], &sample);
    Ok(image.downscale(plan.objective().target_px).to_vec())
}

/// Up to `n` pixels of planes, drawn at random where there are more, as rows of channels.
fn thin_out(planes: &[f32], channels: usize, n: usize, mut draws: Draws) -> Vec<f32> {
    let n_pixels = planes.len() / channels;
    let pixel = |i: usize| (0..channels).map(move |c| planes[c * n_pixels + i]);
    if n_pixels <= n {
        return (0..n_pixels).flat_map(pixel).collect();
    }
    (0..n)
        .map(|_| draws.below(n_pixels))
        .flat_map(pixel)
        .collect()
}

/// `n` means of the colours, or all colours where there are no more.
fn k_means(device: &Arc<dyn Device>, colours: &Colours, n: usize, draws: Draws) -> Vec<f32> {
    let channels = colours.channels;
    if colours.counts.len() <= n {
        return colours.values.clone();
    }
    let points = Tensor::from_slice(device, &[colours.counts.len(), channels], &colours.values);
    let mut means = first_means(colours, n, draws);
    let mut before = Vec::new();
    for _ in 0..MAX_ITERATIONS {
        let words = Tensor::from_slice(device, &[n, channels], &means);
        let classes = points.nearest(&words).to_vec();
        // No colour has changed its mean, so no mean would move.
        if classes == before {
            break;
        }
        move_means(colours, &classes, &mut means);
        before = classes;
    }
    means
}

/// Moves each mean to the centre of its colours; one without colours stays.
fn move_means(colours: &Colours, classes: &[u32], means: &mut [f32]) {
    let channels = colours.channels;
    // In f64: a cluster can have a hundred thousand pixels.
    let mut sums = vec![0.0; means.len()];
    let mut totals = vec![0.0; means.len() / channels];
    let points = colours.values.chunks_exact(channels).zip(&colours.counts);
    for ((point, count), class) in points.zip(classes) {
        let class = *class as usize;
        totals[class] += count;
        for (sum, value) in sums[class * channels..].iter_mut().zip(point) {
            *sum += count * f64::from(*value);
        }
    }
    for (i, mean) in means.iter_mut().enumerate() {
        let total = totals[i / channels];
        if total > 0.0 {
            *mean = (sums[i] / total) as f32;
        }
    }
}

/// k-means++: each further mean is a colour drawn by its count and its squared distance to the nearest so far.
fn first_means(colours: &Colours, n: usize, mut draws: Draws) -> Vec<f32> {
    let channels = colours.channels;
    let point = |i: usize| &colours.values[i * channels..][..channels];
    let mut gains = colours.counts.clone();
    let mut distances = vec![f64::INFINITY; colours.counts.len()];
    let mut means = Vec::with_capacity(n * channels);
    for _ in 0..n {
        let chosen = point(draw(&gains, &mut draws));
        means.extend_from_slice(chosen);
        for (i, (distance, gain)) in distances.iter_mut().zip(&mut gains).enumerate() {
            let pairs = point(i).iter().zip(chosen);
            let found: f64 = pairs.map(|(a, b)| f64::from(a - b).powi(2)).sum();
            *distance = distance.min(found);
            *gain = *distance * colours.counts[i];
        }
    }
    means
}

/// Draws an index, with the probability of its share of the sum.
fn draw(gains: &[f64], draws: &mut Draws) -> usize {
    let mut left = draws.uniform(0.0, gains.iter().sum());
    let mut last = 0;
    // A colour that is a mean already has gain 0. Rounding can leave a little at the end: the last one then.
    for (i, gain) in gains.iter().enumerate().filter(|(_, gain)| **gain > 0.0) {
        last = i;
        left -= gain;
        if left < 0.0 {
            break;
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;
    use simmim_cpu::CpuDevice;

    fn draws() -> Draws {
        Stream::new(5, Purpose::Codebook).at(MEANS, 0)
    }

    /// Heaps of 50 colours each, close together, around some centres.
    fn heaps(centres: &[[f32; 2]]) -> Colours {
        let colour = |k: usize| {
            let [x, y] = centres[k / 50];
            let step = (k % 50) as f32;
            [x + 0.0004 * step, y + 0.0003 * ((7.0 * step) % 50.0)]
        };
        let n = centres.len() * 50;
        Colours {
            values: (0..n).flat_map(colour).collect(),
            counts: (0..n).map(|k| 1.0 + (k % 3) as f64).collect(),
            channels: 2,
        }
    }

    #[test]
    fn colours_in_heaps_are_clustered_into_these_heaps() {
        let centres = [[0.1, 0.1], [0.9, 0.1], [0.5, 0.8], [0.1, 0.9]];
        let colours = heaps(&centres);
        let means = k_means(&CpuDevice::shared(), &colours, 4, draws());
        for (heap, _) in centres.iter().enumerate() {
            let range = heap * 50..(heap + 1) * 50;
            let total: f64 = colours.counts[range.clone()].iter().sum();
            let middle = [0, 1].map(|c| {
                let weighed = |k: usize| colours.counts[k] * f64::from(colours.values[2 * k + c]);
                range.clone().map(weighed).sum::<f64>() / total
            });
            let is_there = means.chunks_exact(2).any(|mean| {
                let off = |c: usize| (f64::from(mean[c]) - middle[c]).abs();
                off(0) < 1e-6 && off(1) < 1e-6
            });
            assert!(is_there, "no mean at {middle:?}: {means:?}");
        }
        assert_eq!(k_means(&CpuDevice::shared(), &colours, 4, draws()), means);
    }

    #[test]
    fn as_many_clusters_as_colours_are_the_colours() {
        let colours = heaps(&[[0.2, 0.3]]);
        assert_eq!(
            k_means(&CpuDevice::shared(), &colours, 50, draws()),
            colours.values
        );
        assert_eq!(
            k_means(&CpuDevice::shared(), &colours, 512, draws()),
            colours.values
        );
    }

    #[test]
    fn pixels_are_taken_with_all_their_channels() {
        let planes: Vec<f32> = (0..300).map(|i| i as f32).collect();
        for (n, expected) in [(1000, 100), (30, 30)] {
            let rows = thin_out(&planes, 3, n, draws());
            assert_eq!(rows.len(), expected * 3);
            for row in rows.chunks_exact(3) {
                assert_eq!([row[1], row[2]], [row[0] + 100.0, row[0] + 200.0]);
            }
        }
    }
}
