//! A model that is written, and what of it decides how another library says it.

use simmim_autograd::ParameterSpecs;
use simmim_config::{ClassList, RawConfig, encoder_config};
use simmim_model::{EncoderConfig, Pooling, RelativePositions, Role};

use crate::dialects::Format;
use crate::error::Error;
use crate::weights::Weights;

/// A model that is written.
#[derive(Debug)]
pub struct Model<'a> {
    /// Its arrays.
    pub weights: &'a Weights,
    /// Its configuration.
    pub config: &'a RawConfig,
    /// What a classifier tells apart.
    pub classes: Option<&'a ClassList>,
    /// How a classifier makes one vector of tokens.
    pub pooling: Option<Pooling>,
}

impl Model<'_> {
    /// Its encoder, all of whose arrays are there.
    ///
    /// # Errors
    /// [`Error::Missing`] and [`Error::Shape`] where they are not, [`Error::Config`] for a configuration of no encoder.
    pub fn encoder(&self) -> Result<EncoderConfig, Error> {
        let path = || self.weights.path().to_owned();
        let encoder = encoder_config(self.config).map_err(|source| Error::Config {
            path: path(),
            source,
        })?;
        let encoder = as_stored(encoder, self.weights);
        let mut specs = ParameterSpecs::default();
        encoder.build("", &mut specs);
        let mut missing = Vec::new();
        for spec in specs.iter() {
            match self.weights.shape(&spec.name) {
                None => missing.push(format!("`{}`", spec.name)),
                Some(found) if found != spec.shape => {
                    return Err(Error::Shape {
                        path: path(),
                        name: spec.name.clone(),
                        expected: spec.shape.clone(),
                        found: found.to_vec(),
                    });
                }
                Some(_) => {}
            }
        }
        if missing.is_empty() {
            return Ok(encoder);
        }
        Err(Error::Missing {
            path: path(),
            names: missing,
        })
    }
}

/// What of a model decides how another library says it.
pub(super) struct Parts<'a> {
    pub(super) model: &'a Model<'a>,
    pub(super) encoder: EncoderConfig,
    /// Of a classifier.
    pub(super) has_head: bool,
    /// One layer that predicts the pixels of a feature's square, as other libraries have it.
    pub(super) has_decoder: bool,
    /// A mask token, or a head that predicts anything.
    pub(super) is_pretraining: bool,
}

impl<'a> Parts<'a> {
    /// # Errors
    /// As [`Model::encoder`].
    pub(super) fn of(model: &'a Model<'a>) -> Result<Self, Error> {
        let weights = model.weights;
        let encoder = model.encoder()?;
        let stride = encoder.stride();
        let n_pixels = stride
            .saturating_mul(stride)
            .saturating_mul(encoder.channels());
        let decoder = weights.shape("decoder.0.weight");
        let predicts_pixels = decoder.is_some_and(|shape| shape.first() == Some(&n_pixels));
        Ok(Self {
            has_head: weights.contains("head.weight"),
            has_decoder: predicts_pixels && !weights.contains("decoder.2.weight"),
            is_pretraining: decoder.is_some() || weights.contains("mask_token"),
            model,
            encoder,
        })
    }

    pub(super) fn refuse(&self, format: Format, reason: &str) -> Error {
        Error::NotExpressible {
            path: self.model.weights.path().to_owned(),
            format,
            reason: reason.to_owned(),
        }
    }
}

/// The encoder with what its arrays have: a classifier has a table of positions for each block where its pre-training shared one, and
/// may have its last norm behind the pooling.
fn as_stored(encoder: EncoderConfig, weights: &Weights) -> EncoderConfig {
    let has_token = weights.contains("mask_token");
    let role = if has_token {
        Role::PreTrain
    } else {
        Role::Apply
    };
    match encoder {
        EncoderConfig::Vit(mut vit) => {
            if weights.contains("rel_pos_bias.relative_position_bias_table") {
                vit.relative_positions = RelativePositions::Shared;
            } else if weights.contains("blocks.0.attn.relative_position_bias_table") {
                vit.relative_positions = RelativePositions::PerBlock;
            }
            vit.final_norm = !weights.contains("fc_norm.weight");
            vit.role = role;
            EncoderConfig::Vit(vit)
        }
        EncoderConfig::Swin(mut swin) => {
            swin.role = role;
            EncoderConfig::Swin(swin)
        }
    }
}
