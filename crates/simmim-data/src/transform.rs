//! A decoded image to the numbers of one sample: crop, resize, mirror, distort, normalise, erase.

use std::borrow::Cow;

use simmim_random::{Draws, Purpose, Stream};

use crate::Error;
use crate::augment::{Interpolation, RandAugment};
use crate::crop::{Crop, CropSettings, Frame};
use crate::decode::{Image, Samples};
use crate::erase::Erasing;
use crate::normalise::Normalisation;
use crate::resize::{Filter, Scratch, resize, resize_frame};

/// Up to this side, in pixels, an image is not cropped but moved within a margin.
///
/// Source: microsoft/SimMIM, `data/data_finetune.py`, `build_transform`, `resize_im`.
const SMALL_PX: usize = 32;

/// The margin, in pixels. Source: as [`SMALL_PX`], `RandomCrop(..., padding=4)`.
const MARGIN_PX: usize = 4;

/// How a training sample is made of a labelled image.
#[derive(Debug, Clone, PartialEq)]
pub struct FineTuneSettings {
    /// The distribution of random crops. For samples of up to 32 x 32 pixels, only its `flip` counts:
    /// the whole image, resized to the sample where it has another size, is moved by up to 4 pixels each
    /// way, and black comes into view.
    pub crop: CropSettings,
    /// How crops are resized, and how distortions interpolate. Evaluation with [`Interpolation::Random`]
    /// is bicubic.
    pub interpolation: Interpolation,
    /// How colour and geometry are distorted, behind crop and mirror.
    pub rand_augment: Option<RandAugment>,
    /// What is erased, behind normalisation.
    pub erasing: Option<Erasing>,
}

impl Default for FineTuneSettings {
    /// Source: microsoft/SimMIM, `data/data_finetune.py`, `build_transform`, and `config.py`; timm,
    /// `data/transforms_factory.py`, `transforms_imagenet_train`.
    fn default() -> Self {
        Self {
            crop: CropSettings {
                scale: (0.08, 1.0),
                ..CropSettings::default()
            },
            interpolation: Interpolation::Fixed(Filter::Bicubic),
            rand_augment: Some(RandAugment::default()),
            erasing: Some(Erasing::default()),
        }
    }
}

/// Where the random decisions of one sample are drawn from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counter {
    /// The seed of the run.
    pub seed: u64,
    /// The epoch, or [`crate::FIXED_EPOCH`].
    pub epoch: u64,
    /// The image's place in its data set.
    pub index: u64,
}

impl Counter {
    pub(crate) fn draws(&self, purpose: Purpose) -> Draws {
        Stream::new(self.seed, purpose).at(self.epoch, self.index)
    }
}

/// What samples show of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    /// Training: random crops. Else: the largest central crop.
    Pretrain,
    /// Training: random crops. Else: the image resized with a margin that is cut off.
    FineTune,
    /// Training: the whole image, moved. Else: the whole image.
    Small,
}

/// The steps from an image to a sample of fixed size. An image smaller than that is enlarged.
#[derive(Debug, Clone, PartialEq)]
pub struct Transform {
    framing: Framing,
    crop: CropSettings,
    size: [usize; 2],
    normalisation: Normalisation,
    interpolation: Interpolation,
    rand_augment: Option<RandAugment>,
    erasing: Option<Erasing>,
}

impl Transform {
    /// The transform of pre-training, to samples of `size`, with as many channels as the normalisation
    /// has: crop, resize (bilinear), mirror, normalise.
    ///
    /// # Shapes
    /// `size`: `[H, W]` in pixels.
    ///
    /// # Errors
    /// [`Error::CropRange`], and [`Error::Zero`] when a side is zero.
    pub fn new(
        crop: CropSettings,
        size: [usize; 2],
        normalisation: Normalisation,
    ) -> Result<Self, Error> {
        crop.check()?;
        if size.contains(&0) {
            return Err(Error::Zero {
                setting: "image size",
            });
        }
        Ok(Self {
            framing: Framing::Pretrain,
            crop,
            size,
            normalisation,
            interpolation: Interpolation::Fixed(Filter::Bilinear),
            rand_augment: None,
            erasing: None,
        })
    }

    /// The transform of fine-tuning, to samples of `size`: crop, resize, mirror, distort, normalise, erase.
    ///
    /// # Shapes
    /// `size`: `[H, W]` in pixels.
    ///
    /// # Errors
    /// As [`Self::new`], and those of [`Erasing::check`].
    pub fn fine_tune(
        settings: FineTuneSettings,
        size: [usize; 2],
        normalisation: Normalisation,
    ) -> Result<Self, Error> {
        if let Some(erasing) = &settings.erasing {
            erasing.check()?;
        }
        let small = size.iter().all(|side| *side <= SMALL_PX);
        Ok(Self {
            framing: if small {
                Framing::Small
            } else {
                Framing::FineTune
            },
            interpolation: settings.interpolation,
            rand_augment: settings.rand_augment,
            erasing: settings.erasing,
            ..Self::new(settings.crop, size, normalisation)?
        })
    }

    /// The same views of images, shrunk to as many pixels as a square of that side has, of the same shape as nearly as whole pixels
    /// allow. What is no larger already stays.
    #[must_use]
    pub fn shrunk(&self, side_px: usize) -> Self {
        let n_pixels = (self.size[0] * self.size[1]) as f64;
        let factor = (side_px as f64 / n_pixels.sqrt()).min(1.0);
        let size = self.size.map(|px| ((px as f64 * factor) as usize).max(1));
        Self {
            size,
            ..self.clone()
        }
    }

    /// `[H, W]` of a sample.
    pub fn size(&self) -> [usize; 2] {
        self.size
    }

    /// Channels of a sample.
    pub fn channels(&self) -> usize {
        self.normalisation.channels()
    }

    /// Numbers in a sample: C · H · W.
    pub fn sample_len(&self) -> usize {
        self.channels() * self.size[0] * self.size[1]
    }

    /// The distribution of random crops.
    pub fn crop_settings(&self) -> &CropSettings {
        &self.crop
    }

    /// The mean and standard deviation.
    pub fn normalisation(&self) -> &Normalisation {
        &self.normalisation
    }

    /// Writes a random view, the same for the same counter.
    ///
    /// # Shapes
    /// `sample`: `[C, H, W]`.
    ///
    /// # Panics
    /// When the image has another number of channels, or `sample` another length.
    pub fn random(&self, image: &Image, at: Counter, scratch: &mut Scratch, sample: &mut [f32]) {
        self.check(image);
        let image = &*self.without_gaps(image);
        let mut crop_draws = at.draws(Purpose::Crop);
        let mut draws = at.draws(Purpose::Augment);
        // Before the crop and from the stream of distortions, so that crops do not depend on it.
        let filter = self.interpolation.draw(&mut draws);
        let (mut samples, flipped) = if self.framing == Framing::Small {
            let samples = self.squeezed(image, filter, scratch);
            // Down first, then right, as the reference draws them.
            let offsets = [0; 2].map(|_| crop_draws.below(2 * MARGIN_PX + 1));
            let flipped = self.crop.flip && crop_draws.chance(0.5);
            (self.moved(&samples, offsets), flipped)
        } else {
            let crop = Crop::random(image.width, image.height, &self.crop, crop_draws);
            let samples = resize(image, &crop, self.size, filter, scratch);
            (samples, crop.flipped)
        };
        let mut flip_later = flipped;
        if let Some(augment) = &self.rand_augment {
            if flipped {
                // A mirror image is what the distortions see.
                self.mirror(&mut samples);
                flip_later = false;
            }
            samples = self.distorted(samples, augment, &mut draws);
        }
        self.normalisation
            .apply(&samples, self.size[1], flip_later, sample);
        // Behind normalisation: the noise is standard normal in the model's own scale.
        if let Some(erasing) = &self.erasing {
            erasing.apply(sample, self.size, &mut at.draws(Purpose::Erase));
        }
    }

    /// Writes the view that an image is looked at by when nothing is random: in pre-training the largest
    /// central crop; in fine-tuning the middle of the image, resized until 256 / 224 of the sample just fits inside, or
    /// for samples of up to 32 x 32 pixels the whole image.
    ///
    /// # Shapes
    /// `sample`: `[C, H, W]`.
    ///
    /// # Panics
    /// As [`Self::random`].
    pub fn centre(&self, image: &Image, scratch: &mut Scratch, sample: &mut [f32]) {
        self.check(image);
        let image = &*self.without_gaps(image);
        let filter = match self.interpolation {
            Interpolation::Fixed(filter) => filter,
            Interpolation::Random => Filter::Bicubic,
        };
        let samples = match self.framing {
            Framing::Pretrain => {
                let crop = Crop::centre(image.width, image.height, self.size);
                resize(image, &crop, self.size, filter, scratch)
            }
            Framing::FineTune => {
                let frame = Frame::evaluated(image.width, image.height, self.size);
                resize_frame(image, &frame, self.size, filter, scratch)
            }
            Framing::Small => self.squeezed(image, filter, scratch),
        };
        self.normalisation
            .apply(&samples, self.size[1], false, sample);
    }

    fn check(&self, image: &Image) {
        assert_eq!(image.channels, self.channels(), "channels of the image");
    }

    /// The image with the mean of the channel where it has no value, which is 0 once it is normalised: before a
    /// resize, which would spread a gap over its neighbours.
    fn without_gaps<'a>(&self, image: &'a Image) -> Cow<'a, Image> {
        match &image.samples {
            Samples::F32(values) if values.iter().any(|value| value.is_nan()) => {
                let means = self.normalisation.mean().iter().cycle();
                let filled = values.iter().zip(means);
                let filled =
                    filled.map(|(value, mean)| if value.is_nan() { *mean } else { *value });
                Cow::Owned(Image {
                    samples: Samples::F32(filled.collect()),
                    ..*image
                })
            }
            _ => Cow::Borrowed(image),
        }
    }

    /// The whole image in the size of the sample, whatever its shape.
    fn squeezed(&self, image: &Image, filter: Filter, scratch: &mut Scratch) -> Samples {
        let whole = Crop::whole(image.width, image.height);
        resize(image, &whole, self.size, filter, scratch)
    }

    fn distorted(&self, samples: Samples, augment: &RandAugment, draws: &mut Draws) -> Samples {
        let [height, width] = self.size;
        let mut image = Image {
            width,
            height,
            channels: self.channels(),
            samples,
        };
        for distortion in augment.draw(self.interpolation, draws) {
            distortion.apply(&mut image, self.normalisation.mean());
        }
        image.samples
    }

    fn mirror(&self, samples: &mut Samples) {
        fn turn<T: Copy>(values: &mut [T], width: usize, channels: usize) {
            for row in values.chunks_exact_mut(width * channels) {
                row.reverse();
                row.chunks_exact_mut(channels).for_each(<[T]>::reverse);
            }
        }
        let (width, channels) = (self.size[1], self.channels());
        match samples {
            Samples::U8(values) => turn(values, width, channels),
            Samples::U16(values) => turn(values, width, channels),
            Samples::F32(values) => turn(values, width, channels),
        }
    }

    /// The part at `offsets`, down and right, of samples with a black margin.
    fn moved(&self, samples: &Samples, offsets: [usize; 2]) -> Samples {
        let shape = [self.size[0], self.size[1], self.channels()];
        match samples {
            Samples::U8(values) => Samples::U8(cut_from_margin(values, shape, offsets)),
            Samples::U16(values) => Samples::U16(cut_from_margin(values, shape, offsets)),
            Samples::F32(values) => Samples::F32(cut_from_margin(values, shape, offsets)),
        }
    }
}

fn cut_from_margin<T: Copy + Default>(
    values: &[T],
    [height, width, channels]: [usize; 3],
    [down, right]: [usize; 2],
) -> Vec<T> {
    let mut cut = vec![T::default(); values.len()];
    let row_len = width * channels;
    // Columns of the result that show the image, and where they are in it.
    let to = MARGIN_PX.saturating_sub(right).min(width);
    let from = right.saturating_sub(MARGIN_PX).min(width);
    let n = (width - to.max(from)) * channels;
    for (y, row) in cut.chunks_exact_mut(row_len).enumerate() {
        let Some(y) = (y + down).checked_sub(MARGIN_PX).filter(|y| *y < height) else {
            continue;
        };
        let shown = &values[y * row_len + from * channels..][..n];
        row[to * channels..][..n].copy_from_slice(shown);
    }
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shrunk_view_has_the_pixels_of_a_small_square_and_the_shape_of_the_image() {
        let normalisation = Normalisation::new(vec![0.5], vec![0.5]).unwrap();
        let shrunk = |size| {
            let transform = Transform::new(CropSettings::default(), size, normalisation.clone());
            transform.unwrap().shrunk(32).size()
        };
        assert_eq!(shrunk([224, 224]), [32, 32]);
        assert_eq!(shrunk([64, 512]), [11, 90]);
        assert_eq!(shrunk([28, 28]), [28, 28]);
        assert_eq!(shrunk([1, 4096]), [1, 2048]);
    }

    #[test]
    fn a_part_of_a_margin_is_the_image_moved_with_black_behind() {
        let values: Vec<u8> = (1..=12).collect();
        let cut = |offsets| cut_from_margin(&values, [2, 3, 2], offsets);
        assert_eq!(cut([4, 4]), values);
        assert_eq!(cut([5, 4]), [7, 8, 9, 10, 11, 12, 0, 0, 0, 0, 0, 0]);
        assert_eq!(cut([4, 3]), [0, 0, 1, 2, 3, 4, 0, 0, 7, 8, 9, 10]);
        assert_eq!(cut([3, 6]), [0, 0, 0, 0, 0, 0, 5, 6, 0, 0, 0, 0]);
        assert_eq!(cut([0, 0]), [0; 12]);
        assert_eq!(cut([8, 8]), [0; 12]);
    }
}
