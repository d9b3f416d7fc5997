//! What a pack is asked to be.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// The longest side of a JPEG. Source: libjpeg-turbo, `jmorecfg.h`, `JPEG_MAX_DIMENSION`.
pub(crate) const MAX_JPEG_PX: usize = 65_500;
/// The longest side of a WebP. Source: RFC 9649, 2.6: 14 bits.
pub(crate) const MAX_WEBP_PX: usize = 16_383;

/// The format of images that are resized.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PackFormat {
    /// JPEG with the colours at full resolution (4:4:4).
    Jpeg,
    /// PNG, without loss.
    Png,
    /// WebP, without loss.
    WebP,
}

impl fmt::Display for PackFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Jpeg => "jpeg",
            Self::Png => "png",
            Self::WebP => "webp",
        })
    }
}

/// How images are packed. The same settings and images give the same bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackSettings {
    /// The most pixels of an image's shorter side.
    pub short_side_px: usize,
    /// The format of images that are resized.
    pub format: PackFormat,
    /// The quality of JPEGs, from 1 to 100, as libjpeg-turbo counts it.
    pub jpeg_quality: u8,
    /// The most bytes of a shard; one with a single image may have more.
    pub shard_bytes: u64,
    /// The most images of a shard.
    pub shard_images: Option<usize>,
    /// The most pixels of an image that is read.
    pub max_pixels: u64,
    /// What the names of shards begin with.
    pub prefix: String,
}

impl Default for PackSettings {
    /// No crop of pre-training (a scale from 0.67, a ratio from 3/4) to 224 px is narrower than 224 px then:
    /// 224 / sqrt(0.67 * 3/4) is 316.
    fn default() -> Self {
        Self {
            short_side_px: 320,
            format: PackFormat::Jpeg,
            jpeg_quality: 90,
            shard_bytes: 1 << 30,
            shard_images: None,
            max_pixels: simmim_data::DecodeSettings::default().max_pixels,
            prefix: "shard".to_owned(),
        }
    }
}

impl PackSettings {
    /// Tells whether a pack can be made by these settings.
    ///
    /// # Errors
    /// [`Error::Setting`].
    pub fn check(&self) -> Result<(), Error> {
        let refuse = |setting, found: &dyn fmt::Display, expected| {
            Err(Error::Setting {
                setting,
                found: found.to_string(),
                expected,
            })
        };
        if !(1..=MAX_WEBP_PX).contains(&self.short_side_px) {
            return refuse("short side", &self.short_side_px, "1 to 16383 pixels");
        }
        if !(1..=100).contains(&self.jpeg_quality) {
            return refuse("JPEG quality", &self.jpeg_quality, "1 to 100");
        }
        if self.shard_bytes < 4096 {
            return refuse("size of a shard", &self.shard_bytes, "4096 bytes or more");
        }
        if self.shard_images == Some(0) {
            return refuse("images of a shard", &0, "1 or more");
        }
        if self.max_pixels == 0 {
            return refuse("limit on pixels", &0, "1 or more");
        }
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if !self.prefix.starts_with(|c: char| c.is_ascii_alphanumeric())
            || !self.prefix.chars().all(is_plain)
        {
            return refuse(
                "prefix",
                &self.prefix,
                "letters and digits of ASCII, full stops, hyphens and underscores, a letter or digit first",
            );
        }
        Ok(())
    }
}
