//! Samples to the numbers a model sees, and back.

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::decode::{DecodeSettings, Image, Samples, decode};
use crate::report::Reporter;
use crate::source::DataSet;
use crate::survey::ImageSample;

/// The mean and standard deviation of each channel, on a scale where full brightness is 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Normalisation {
    mean: Vec<f32>,
    std: Vec<f32>,
}

impl Normalisation {
    /// A normalisation with one mean and one standard deviation per channel.
    ///
    /// # Errors
    /// [`Error::Normalisation`] when there are no channels, unequally many of the two, a value is
    /// not finite, or a standard deviation is not positive.
    pub fn new(mean: Vec<f32>, std: Vec<f32>) -> Result<Self, Error> {
        let refuse = |reason: String| Err(Error::Normalisation { reason });
        if mean.is_empty() || mean.len() != std.len() {
            let (n_mean, n_std) = (mean.len(), std.len());
            return refuse(format!("{n_mean} means and {n_std} standard deviations"));
        }
        if let Some(wrong) = mean.iter().find(|value| !value.is_finite()) {
            return refuse(format!("a mean is {wrong}"));
        }
        if let Some(wrong) = std.iter().find(|s| !(s.is_finite() && **s > 0.0)) {
            return refuse(format!("a standard deviation is {wrong}"));
        }
        Ok(Self { mean, std })
    }

    /// That of the photographs of ImageNet, three channels.
    ///
    /// Source: timm, `data/constants.py`, `IMAGENET_DEFAULT_MEAN` and `IMAGENET_DEFAULT_STD`, as
    /// used by microsoft/SimMIM, `data/data_simmim.py`.
    pub fn imagenet() -> Self {
        Self {
            mean: vec![0.485, 0.456, 0.406],
            std: vec![0.229, 0.224, 0.225],
        }
    }

    /// Measures a data set on a sample of its images; each counts the same, whatever its size, but for pixels without a
    /// value, which do not count. Unreadable ones are recorded and left out. A channel that never varies gets a standard
    /// deviation of 1.
    ///
    /// # Errors
    /// [`Error::TooManyBad`], [`Error::NoReadableImage`], and [`Error::Zero`] for no channels or a sample of no
    /// image.
    pub fn measure(
        data: &DataSet,
        channels: usize,
        sample: ImageSample,
        settings: &DecodeSettings,
        reporter: &Reporter,
    ) -> Result<Self, Error> {
        if channels == 0 {
            return Err(Error::Zero {
                setting: "channels",
            });
        }
        let entries = sample.entries(data.len())?;
        // Means of the images' means: a large photograph does not outweigh a small one.
        let mut sums = vec![Moments::default(); channels];
        let mut n_read = 0_u32;
        for &entry_idx in &entries {
            match data
                .read(entry_idx)
                .and_then(|b| decode(&b, channels, settings))
            {
                Ok(image) => {
                    n_read += 1;
                    for (sum, moments) in sums.iter_mut().zip(moments(&image)) {
                        sum.add(&moments);
                    }
                }
                Err(error) => reporter.record(entry_idx, data.name(entry_idx), &error)?,
            }
        }
        if n_read == 0 {
            return Err(reporter.none_readable(entries.len()));
        }
        let (mean, std) = sums.iter().map(Moments::mean_and_std).unzip();
        Self::new(mean, std)
    }

    /// The number of channels.
    pub fn channels(&self) -> usize {
        self.mean.len()
    }

    /// The mean of each channel.
    pub fn mean(&self) -> &[f32] {
        &self.mean
    }

    /// The standard deviation of each channel.
    pub fn std(&self) -> &[f32] {
        &self.std
    }

    /// Normalises samples into planes: `(value / full - mean) / std`, rows mirrored if `flipped`.
    ///
    /// # Shapes
    /// `samples`: `[H, width, C]`. `out`: `[C, H, width]`.
    ///
    /// # Panics
    /// When the lengths do not agree.
    pub(crate) fn apply(&self, samples: &Samples, width: usize, flipped: bool, out: &mut [f32]) {
        match samples {
            Samples::U8(values) => {
                // 256 values a channel are computed once instead of for every pixel.
                let tables: Vec<[f32; 256]> = (0..self.channels())
                    .map(|c| std::array::from_fn(|v| self.scaled(c, v as f32 / 255.0)))
                    .collect();
                let look_up = |c: usize, value: u8| tables[c][usize::from(value)];
                to_planes(values, self.channels(), out, look_up);
            }
            Samples::U16(values) => {
                let scale = |c, value| self.scaled(c, f32::from(value) / 65535.0);
                to_planes(values, self.channels(), out, scale);
            }
            Samples::F32(values) => {
                to_planes(values, self.channels(), out, |c, value| {
                    self.scaled(c, value)
                });
            }
        }
        if flipped {
            out.chunks_exact_mut(width).for_each(<[f32]>::reverse);
        }
    }

    fn scaled(&self, channel: usize, brightness: f32) -> f32 {
        (brightness - self.mean[channel]) / self.std[channel]
    }

    /// A picture of a normalised image: one channel is shown grey, of more than three the first
    /// three, of two the second is also shown as blue. Values outside the range are cut off.
    ///
    /// # Shapes
    /// `planes`: `[C, H, W]`, normalised. The result: `[H, W, 3]`.
    ///
    /// # Panics
    /// When `planes` is not a whole number of channels.
    pub fn to_rgb8(&self, planes: &[f32]) -> Vec<u8> {
        let channels = self.channels();
        let plane_len = planes.len() / channels;
        assert_eq!(planes.len(), plane_len * channels, "whole channels");
        let mut rgb = vec![0; plane_len * 3];
        for shown in 0..3 {
            let c = shown.min(channels - 1);
            let plane = &planes[c * plane_len..][..plane_len];
            for (place, value) in rgb[shown..].iter_mut().step_by(3).zip(plane) {
                let brightness = value * self.std[c] + self.mean[c];
                // The cast cuts off what is below 0 or above 255.
                *place = (brightness * 255.0).round() as u8;
            }
        }
        rgb
    }
}

/// `[H, W, C]` to `[C, H, W]`, each value through `scale`.
fn to_planes<T: Copy>(
    values: &[T],
    channels: usize,
    out: &mut [f32],
    scale: impl Fn(usize, T) -> f32,
) {
    assert_eq!(values.len(), out.len(), "one number for each sample");
    let plane_len = out.len() / channels;
    for (c, plane) in out.chunks_exact_mut(plane_len).enumerate() {
        for (place, pixel) in plane.iter_mut().zip(values.chunks_exact(channels)) {
            *place = scale(c, pixel[c]);
        }
    }
}

/// The sums of a channel's values and of their squares over some images, full brightness being 1.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Moments {
    first: f64,
    second: f64,
    /// The number of images, an image with gaps counting for the share of its pixels that have a value.
    weight: f64,
}

impl Moments {
    pub(crate) fn add(&mut self, other: &Self) {
        self.first += other.first;
        self.second += other.second;
        self.weight += other.weight;
    }

    pub(crate) fn mean_and_std(&self) -> (f32, f32) {
        if self.weight == 0.0 {
            return (0.0, 1.0);
        }
        let mean = self.first / self.weight;
        // In double precision, where the difference of two near numbers still has enough digits.
        let square = self.second / self.weight;
        let variance = square - mean * mean;
        // Below the rounding of the sums there is no variance to speak of.
        let is_flat = variance <= 1e-9_f64.min(square * 1e-9);
        let std = if is_flat { 1.0 } else { variance.sqrt() };
        (mean as f32, std as f32)
    }
}

/// Those of each channel of an image, whose pixels together count as one.
pub(crate) fn moments(image: &Image) -> Vec<Moments> {
    match &image.samples {
        Samples::U8(values) => moments_of(values, image.channels, 255.0),
        Samples::U16(values) => moments_of(values, image.channels, 65535.0),
        Samples::F32(values) => moments_of(values, image.channels, 1.0),
    }
}

fn moments_of<T: Copy + Into<f64>>(values: &[T], channels: usize, full: f64) -> Vec<Moments> {
    let n = (values.len() / channels) as f64;
    let of_channel = |channel: usize| {
        let mut sums = Moments::default();
        for value in values[channel..].iter().step_by(channels) {
            let brightness = (*value).into() / full;
            // Not a number: no data.
            if !brightness.is_nan() {
                sums.first += brightness;
                sums.second += brightness * brightness;
                sums.weight += 1.0;
            }
        }
        Moments {
            first: sums.first / n,
            second: sums.second / n,
            weight: sums.weight / n,
        }
    };
    (0..channels).map(of_channel).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalising_and_drawing_are_inverse() {
        let values: Vec<u8> = (0..=255).flat_map(|v| [v, 255 - v, v / 2]).collect();
        let imagenet = Normalisation::imagenet();
        let mut planes = vec![0.0; 256 * 3];
        imagenet.apply(&Samples::U8(values.clone()), 16, false, &mut planes);
        assert_eq!(planes[255], (1.0 - 0.485) / 0.229);
        assert_eq!(imagenet.to_rgb8(&planes), values);
        let wide: Vec<u16> = values.iter().map(|v| u16::from(*v) * 257).collect();
        imagenet.apply(&Samples::U16(wide), 16, false, &mut planes);
        assert_eq!(imagenet.to_rgb8(&planes), values);
    }

    #[test]
    fn flipping_mirrors_each_row() {
        let plain = Normalisation::new(vec![0.0], vec![1.0]).unwrap();
        let mut plane = vec![0.0; 6];
        plain.apply(
            &Samples::U8(vec![0, 51, 102, 153, 204, 255]),
            3,
            true,
            &mut plane,
        );
        let expected = [0.4, 0.2, 0.0, 1.0, 0.8, 0.6];
        assert!(
            plane
                .iter()
                .zip(expected)
                .all(|(a, b): (&f32, f32)| (a - b).abs() < 1e-6)
        );
    }

    #[test]
    fn pictures_of_one_two_and_five_channels_are_drawn() {
        let of = |channels| Normalisation::new(vec![0.0; channels], vec![1.0; channels]).unwrap();
        assert_eq!(of(1).to_rgb8(&[1.0, -3.0]), [255, 255, 255, 0, 0, 0]);
        assert_eq!(of(2).to_rgb8(&[0.0, 1.0]), [0, 255, 255]);
        assert_eq!(of(5).to_rgb8(&[0.0, 0.2, 0.4, 0.6, 9.0]), [0, 51, 102]);
    }

    #[test]
    fn useless_numbers_are_refused() {
        for (mean, std) in [
            (vec![], vec![]),
            (vec![0.5], vec![0.5, 0.5]),
            (vec![0.5], vec![0.0]),
            (vec![f32::NAN], vec![0.5]),
            (vec![0.5], vec![f32::INFINITY]),
        ] {
            assert!(Normalisation::new(mean, std).is_err());
        }
    }
}
