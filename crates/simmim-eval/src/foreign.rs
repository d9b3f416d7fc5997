//! The encoder of a file of another program.

use simmim_autograd::{ParameterSpecs, Parameters};
use simmim_data::Transform;
use simmim_model::{Encoder, EncoderConfig, Role};
use simmim_train::device_of;
use simmim_weights::{Heads, Options, ToFill, Weights};

use crate::baselines::pixels::PixelViews;
use crate::error::Error;
use crate::opened::Opened;

/// An encoder without a head, and what is known of its images.
#[derive(Debug)]
pub(crate) struct Foreign {
    encoder: Box<dyn Encoder>,
    parameters: Parameters,
    opened: Opened,
}

impl Foreign {
    /// Its output is behind its last norm, where the file has one.
    ///
    /// # Errors
    /// [`Error::Train`] for arrays that are missing or unexplained.
    pub(crate) fn new(weights: &Weights, options: &Options) -> Result<Self, Error> {
        let opened = Opened::of_weights(weights, None)?;
        let mut config = weights.encoder().map_err(simmim_train::Error::from)?;
        match &mut config {
            EncoderConfig::Vit(vit) => {
                vit.role = Role::Apply;
                vit.final_norm = weights.contains("norm.weight");
            }
            EncoderConfig::Swin(swin) => swin.role = Role::Apply,
        }
        let mut specs = ParameterSpecs::default();
        let encoder = config.build("", &mut specs);
        let mut parameters = Parameters::allocate(specs, &device_of(opened.config())?, 0);
        let target = ToFill {
            encoder: &config,
            heads: Heads::Fresh,
        };
        let report = weights.fill(target, options, &mut parameters);
        report.map_err(simmim_train::Error::from)?;
        Ok(Self {
            encoder,
            parameters,
            opened,
        })
    }

    pub(crate) fn encoder(&self) -> &dyn Encoder {
        self.encoder.as_ref()
    }

    pub(crate) fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    pub(crate) fn opened(&self) -> &Opened {
        &self.opened
    }

    pub(crate) fn opened_mut(&mut self) -> &mut Opened {
        &mut self.opened
    }

    /// From decoded images to samples.
    ///
    /// # Errors
    /// [`Error::Train`] where nothing says how images are normalised.
    pub(crate) fn transform(&self) -> Result<Transform, Error> {
        let config = self.opened.config();
        let normalisation = self.opened.normalisation()?;
        Ok(Transform::new(
            config.crop(),
            config.data.image_size,
            normalisation,
        )?)
    }

    /// How the images look that it sees, as pixels.
    ///
    /// # Errors
    /// As [`Foreign::transform`].
    pub(crate) fn pixels(&self) -> Result<PixelViews, Error> {
        Ok(PixelViews::new(&self.opened, &self.transform()?))
    }
}
