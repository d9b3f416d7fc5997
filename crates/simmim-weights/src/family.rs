//! The families of encoders, as errors and reports tell them apart.

use std::fmt::{self, Display};

use simmim_config::RawConfig;
use simmim_model::{EncoderConfig, SwinVersion, Variant};

/// A family of encoders: the weights of one are no use to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Vision transformers.
    Vit,
    /// Swin transformers of the first version.
    Swin,
    /// Swin transformers of the second version.
    SwinV2,
}

impl Family {
    /// The family of a configuration's variant; none for an unknown one.
    pub fn of_variant(config: &RawConfig) -> Option<Self> {
        match config.model.variant.parse().ok()? {
            Variant::Vit(_) => Some(Self::Vit),
            Variant::Swin(size) => Some(Self::of_version(size.version)),
        }
    }

    /// The family of an encoder.
    pub fn of_encoder(encoder: &EncoderConfig) -> Self {
        match encoder {
            EncoderConfig::Vit(_) => Self::Vit,
            EncoderConfig::Swin(swin) => Self::of_version(swin.version),
        }
    }

    fn of_version(version: SwinVersion) -> Self {
        match version {
            SwinVersion::V1 => Self::Swin,
            SwinVersion::V2 => Self::SwinV2,
        }
    }
}

impl Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Vit => "a vision transformer",
            Self::Swin => "a Swin transformer",
            Self::SwinV2 => "a SwinV2 transformer",
        })
    }
}
