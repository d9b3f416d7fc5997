//! Names of model sizes.

use std::str::FromStr;
use thiserror::Error;

/// A vision transformer's sizes, read from a name like `vit-b/16`.
///
/// Source: tiny and small, H. Touvron et al., *DeiT*, arXiv 2012.12877, table 1; base, large and huge,
/// A. Dosovitskiy et al., *ViT*, arXiv 2010.11929, table 1. The patch can be any number of pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Variant {
    /// D.
    pub width: usize,
    /// Number of blocks.
    pub depth: usize,
    /// N.
    pub heads: usize,
    /// The side of a patch in pixels.
    pub patch_px: usize,
}

/// Name, width, depth, heads.
const SIZES: [(&str, usize, usize, usize); 5] = [
    ("vit-t", 192, 12, 3),
    ("vit-s", 384, 12, 6),
    ("vit-b", 768, 12, 12),
    ("vit-l", 1024, 24, 16),
    ("vit-h", 1280, 32, 16),
];

impl Variant {
    /// The names of the sizes, without a patch.
    pub fn names() -> impl Iterator<Item = &'static str> {
        SIZES.iter().map(|size| size.0)
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
        let (size, patch) = name.split_once('/').ok_or_else(unknown)?;
        let patch_px = patch
            .parse()
            .ok()
            .filter(|&patch_px| patch_px > 0)
            .ok_or_else(unknown)?;
        let &(_, width, depth, heads) = SIZES
            .iter()
            .find(|known| known.0 == size)
            .ok_or_else(unknown)?;
        Ok(Self {
            width,
            depth,
            heads,
            patch_px,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_gives_its_sizes_and_any_patch() {
        let base = Variant {
            width: 768,
            depth: 12,
            heads: 12,
            patch_px: 16,
        };
        assert_eq!("vit-b/16".parse(), Ok(base));
        assert_eq!("vit-t/4".parse::<Variant>().map(|v| v.patch_px), Ok(4));
    }

    #[test]
    fn what_is_not_a_name_is_refused() {
        for name in ["vit-b", "vit-x/16", "vit-b/0", "vit-b/sixteen", ""] {
            assert_eq!(
                name.parse::<Variant>(),
                Err(UnknownVariant {
                    name: name.to_owned()
                })
            );
        }
    }
}
