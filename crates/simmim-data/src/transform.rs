//! A decoded image to the numbers of one sample: crop, resize, mirror, normalise.

use simmim_random::Draws;

use crate::Error;
use crate::crop::{Crop, CropSettings};
use crate::decode::Image;
use crate::normalise::Normalisation;
use crate::resize::{Scratch, resize};

/// The steps from an image to a sample of fixed size. An image smaller than that is enlarged.
#[derive(Debug, Clone, PartialEq)]
pub struct Transform {
    crop: CropSettings,
    size: [usize; 2],
    normalisation: Normalisation,
}

impl Transform {
    /// A transform to samples of `size`, with as many channels as the normalisation has.
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
            crop,
            size,
            normalisation,
        })
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

    /// Writes a random crop, the same for the same draws.
    ///
    /// # Shapes
    /// `sample`: `[C, H, W]`.
    ///
    /// # Panics
    /// When the image has another number of channels, or `sample` another length.
    pub fn random(&self, image: &Image, draws: Draws, scratch: &mut Scratch, sample: &mut [f32]) {
        let crop = Crop::random(image.width, image.height, &self.crop, draws);
        self.apply(image, &crop, scratch, sample);
    }

    /// Writes the central crop, not mirrored.
    ///
    /// # Shapes
    /// `sample`: `[C, H, W]`.
    ///
    /// # Panics
    /// As [`Self::random`].
    pub fn centre(&self, image: &Image, scratch: &mut Scratch, sample: &mut [f32]) {
        let crop = Crop::centre(image.width, image.height, self.size);
        self.apply(image, &crop, scratch, sample);
    }

    /// Writes the sample that a crop shows.
    ///
    /// # Shapes
    /// `sample`: `[C, H, W]`.
    ///
    /// # Panics
    /// As [`Self::random`], and when the crop is not inside the image.
    pub fn apply(&self, image: &Image, crop: &Crop, scratch: &mut Scratch, sample: &mut [f32]) {
        assert_eq!(image.channels, self.channels(), "channels of the image");
        let samples = resize(image, crop, self.size, scratch);
        self.normalisation
            .apply(&samples, self.size[1], crop.flipped, sample);
    }
}
