//! Names of model sizes.

use crate::swin::config::SwinVersion;
use std::str::FromStr;
use thiserror::Error;

/// A model's sizes, read from a name like `vit-b/16` or `swin-b`.
///
/// The number after the slash is the side of a patch in pixels: any for a vision transformer, which needs one; 4
/// where a Swin transformer has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// A vision transformer.
    Vit(VitSize),
    /// A Swin transformer of either version.
    Swin(SwinSize),
}

/// Sizes of a vision transformer.
///
/// Source: tiny and small, H. Touvron et al., *DeiT*, arXiv 2012.12877, table 1; base, large and huge,
/// A. Dosovitskiy et al., *ViT*, arXiv 2010.11929, table 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VitSize {
    /// D.
    pub width: usize,
    /// Number of blocks.
    pub depth: usize,
    /// N.
    pub heads: usize,
    /// The side of a patch in pixels.
    pub patch_px: usize,
}

/// Sizes of a Swin transformer.
///
/// Source: Z. Liu et al., *Swin Transformer*, arXiv 2103.14030, §3.3, and *Swin Transformer V2*, arXiv 2111.09883,
/// §3.5 for the huge one. Heads have 32 values each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SwinSize {
    /// First or second version.
    pub version: SwinVersion,
    /// D of the first stage.
    pub width: usize,
    /// Blocks of each stage.
    pub depths: [usize; 4],
    /// The side of a patch in pixels.
    pub patch_px: usize,
}

impl SwinSize {
    /// Swin-T.
    pub const TINY: Self = Self::of_version(SwinVersion::V1, 96, [2, 2, 6, 2]);
    /// Swin-B.
    pub const BASE: Self = Self::of_version(SwinVersion::V1, 128, DEEP);

    const fn of_version(version: SwinVersion, width: usize, depths: [usize; 4]) -> Self {
        Self {
            version,
            width,
            depths,
            patch_px: SWIN_PATCH_PX,
        }
    }

    /// N of each stage.
    pub fn heads(&self) -> [usize; 4] {
        [1, 2, 4, 8].map(|times| self.width * times / SWIN_HEAD_DIM)
    }
}

/// d of every Swin transformer. Source: as [`SwinSize`].
const SWIN_HEAD_DIM: usize = 32;

/// Name, width, depth, heads.
const VITS: [(&str, usize, usize, usize); 5] = [
    ("vit-t", 192, 12, 3),
    ("vit-s", 384, 12, 6),
    ("vit-b", 768, 12, 12),
    ("vit-l", 1024, 24, 16),
    ("vit-h", 1280, 32, 16),
];

const DEEP: [usize; 4] = [2, 2, 18, 2];

const SWINS: [(&str, SwinSize); 9] = [
    ("swin-t", SwinSize::TINY),
    ("swin-s", SwinSize::of_version(SwinVersion::V1, 96, DEEP)),
    ("swin-b", SwinSize::BASE),
    ("swin-l", SwinSize::of_version(SwinVersion::V1, 192, DEEP)),
    (
        "swinv2-t",
        SwinSize::of_version(SwinVersion::V2, 96, [2, 2, 6, 2]),
    ),
    ("swinv2-s", SwinSize::of_version(SwinVersion::V2, 96, DEEP)),
    ("swinv2-b", SwinSize::of_version(SwinVersion::V2, 128, DEEP)),
    ("swinv2-l", SwinSize::of_version(SwinVersion::V2, 192, DEEP)),
    ("swinv2-h", SwinSize::of_version(SwinVersion::V2, 352, DEEP)),
];

/// The side of a Swin transformer's patch where its name says none. Source: Swin, §3.1.
const SWIN_PATCH_PX: usize = 4;

impl Variant {
    /// The names of the sizes, without a patch.
    pub fn names() -> impl Iterator<Item = &'static str> {
        let vits = VITS.iter().map(|size| size.0);
        vits.chain(SWINS.iter().map(|size| size.0))
    }

    /// The side of a patch in pixels.
    pub fn patch_px(&self) -> usize {
        match self {
            Self::Vit(size) => size.patch_px,
            Self::Swin(size) => size.patch_px,
        }
    }
}

/// A name that is not in the table.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("no model variant is named `{name}`")]
pub struct UnknownVariant {
    /// The name asked for.
    pub name: String,
}

impl FromStr for Variant {
    type Err = UnknownVariant;

    fn from_str(name: &str) -> Result<Self, UnknownVariant> {
        let unknown = || UnknownVariant {
            name: name.to_owned(),
        };
        let (size, patch) = match name.split_once('/') {
            Some((size, patch)) => (size, Some(patch)),
            None => (name, None),
        };
        let patch_px: Option<usize> = patch
            .map(|patch| patch.parse().map_err(|_| unknown()))
            .transpose()?;
        // Sizes are divided by it.
        if patch_px == Some(0) {
            return Err(unknown());
        }
        if let Some(&(_, swin)) = SWINS.iter().find(|known| known.0 == size) {
            return Ok(Self::Swin(SwinSize {
                patch_px: patch_px.unwrap_or(swin.patch_px),
                ..swin
            }));
        }
        // Unlike a Swin transformer, a ViT is published with several patches, so its name has to say which.
        let &(_, width, depth, heads) = VITS
            .iter()
            .find(|known| known.0 == size)
            .ok_or_else(unknown)?;
        Ok(Self::Vit(VitSize {
            width,
            depth,
            heads,
            patch_px: patch_px.ok_or_else(unknown)?,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_gives_its_sizes_and_any_patch() {
        let base = Variant::Vit(VitSize {
            width: 768,
            depth: 12,
            heads: 12,
            patch_px: 16,
        });
        assert_eq!("vit-b/16".parse(), Ok(base));
        assert_eq!("vit-t/4".parse::<Variant>().map(|v| v.patch_px()), Ok(4));
        assert_eq!("swin-t".parse::<Variant>().map(|v| v.patch_px()), Ok(4));
        assert_eq!("swin-t/2".parse::<Variant>().map(|v| v.patch_px()), Ok(2));
    }

    #[test]
    fn heads_of_swin_transformers_are_the_published_ones() {
        let heads = |name: &str| match name.parse() {
            Ok(Variant::Swin(size)) => size.heads(),
            other => panic!("{name}: {other:?}"),
        };
        assert_eq!(heads("swin-t"), [3, 6, 12, 24]);
        assert_eq!(heads("swin-b"), [4, 8, 16, 32]);
        assert_eq!(heads("swinv2-l"), [6, 12, 24, 48]);
        assert_eq!(heads("swinv2-h"), [11, 22, 44, 88]);
    }

    #[test]
    fn what_is_not_a_name_is_refused() {
        for name in [
            "vit-b",
            "vit-x/16",
            "vit-b/0",
            "vit-b/sixteen",
            "swin-b/",
            "swin-h",
            "",
        ] {
            assert_eq!(
                name.parse::<Variant>(),
                Err(UnknownVariant {
                    name: name.to_owned()
                })
            );
        }
    }
}
