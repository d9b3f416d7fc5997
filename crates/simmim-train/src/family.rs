//! The families of encoders, as errors tell them apart.

use std::fmt::{self, Display};

use simmim_checkpoint::Archive;
use simmim_config::RawConfig;
use simmim_model::{EncoderConfig, SwinVersion, Variant};

/// In the names of a SwinV2's parameters, and of no other encoder's.
const OF_SWIN_V2: &str = ".attn.logit_scale";

/// A family of encoders: the weights of one are no use to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// Vision transformers.
    Vit,
    /// Swin transformers of the first version.
    Swin,
    /// Swin transformers of the second version.
    SwinV2,
}

impl Family {
    /// The family of a configuration's variant; none for an unknown one.
    pub(crate) fn of_variant(config: &RawConfig) -> Option<Self> {
        match config.model.variant.parse().ok()? {
            Variant::Vit(_) => Some(Self::Vit),
            Variant::Swin(size) => Some(Self::of_version(size.version)),
        }
    }

    pub(crate) fn of_encoder(encoder: &EncoderConfig) -> Self {
        match encoder {
            EncoderConfig::Vit(_) => Self::Vit,
            EncoderConfig::Swin(swin) => Self::of_version(swin.version),
        }
    }

    /// The family of the encoder in a file with the authors' names behind `prefix`; none where there is no such encoder.
    pub(crate) fn of_names(archive: &Archive, prefix: &str) -> Option<Self> {
        let begins = |start: &str| {
            let start = format!("{prefix}{start}");
            archive.names().any(|name| name.starts_with(&start))
        };
        if begins("blocks.") {
            return Some(Self::Vit);
        }
        // The stages of both versions have the same names; only the second has learned scales of its logits.
        let is_second = || archive.names().any(|name| name.ends_with(OF_SWIN_V2));
        begins("layers.").then(|| {
            if is_second() {
                Self::SwinV2
            } else {
                Self::Swin
            }
        })
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
