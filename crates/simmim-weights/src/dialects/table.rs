//! What a table of names is made of.

use std::fmt::{self, Display};
use std::str::FromStr;

use crate::family::Family;
use crate::pattern::Pattern;
use crate::rule::{How, Rule};

/// Whose names the arrays of a file have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Format {
    /// The authors' code, microsoft/SimMIM and microsoft/Swin-Transformer, and this program.
    Official,
    /// huggingface/pytorch-image-models, and what has its names: DeiT, MAE, DINO.
    Timm,
    /// huggingface/transformers.
    HuggingFace,
    /// pytorch/vision.
    Torchvision,
    /// open-mmlab/mmpretrain.
    Mmpretrain,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Official,
        Self::Timm,
        Self::HuggingFace,
        Self::Torchvision,
        Self::Mmpretrain,
    ];

    /// Its name on a command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Official => "official",
            Self::Timm => "timm",
            Self::HuggingFace => "huggingface",
            Self::Torchvision => "torchvision",
            Self::Mmpretrain => "mmpretrain",
        }
    }
}

impl Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Official => "the authors' names",
            Self::Timm => "names of timm",
            Self::HuggingFace => "names of transformers",
            Self::Torchvision => "names of torchvision",
            Self::Mmpretrain => "names of mmpretrain",
        })
    }
}

/// A word that names no format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no format of weights is named `{word}`; there are {}", words())]
pub struct UnknownFormat {
    /// The word.
    pub word: String,
}

fn words() -> String {
    Format::ALL.map(Format::word).join(", ")
}

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(word: &str) -> Result<Self, UnknownFormat> {
        let mut all = Self::ALL.into_iter();
        all.find(|format| format.word() == word)
            .ok_or_else(|| UnknownFormat {
                word: word.to_owned(),
            })
    }
}

/// The names of one family in one library.
#[derive(Debug)]
pub(crate) struct Dialect {
    pub(crate) format: Format,
    pub(crate) family: Family,
    /// ε of its layer norms, where nothing else is said.
    pub(crate) norm_eps: f64,
    /// What may stand in the place of `~`.
    pub(crate) prefixes: &'static [&'static str],
    pub(crate) lines: &'static [&'static [Line]],
    /// Patterns of our names: a file of this dialect has an array for each.
    pub(crate) marks: &'static [&'static str],
    /// Patterns of its names: a file of this dialect has none of these.
    pub(crate) without: &'static [&'static str],
    /// What is in such files and has no place in a model of ours.
    pub(crate) unused: &'static [Unused],
}

/// Arrays that are left out, and why.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unused {
    /// Of the names, as a shell writes patterns.
    pub(crate) pattern: &'static str,
    pub(crate) reason: &'static str,
}

/// A [`Rule`] as the tables write it.
#[derive(Debug)]
pub(crate) struct Line {
    ours: &'static str,
    theirs: &'static [&'static str],
    how: How,
}

impl Dialect {
    /// The rules. Where one of our arrays has several, the first is that of today, and the others read older or newer files.
    pub(crate) fn rules(&self) -> Vec<Rule> {
        let lines = self.lines.iter().copied().flatten();
        lines
            .map(|line| Rule {
                ours: Pattern::new(line.ours),
                theirs: line.theirs.iter().map(|text| Pattern::new(text)).collect(),
                how: line.how,
            })
            .collect()
    }
}

/// A line of arrays that are the same but for their names.
pub(super) const fn same(ours: &'static str, theirs: &'static [&'static str; 1]) -> Line {
    Line {
        ours,
        theirs,
        how: How::Same,
    }
}

pub(super) const fn line(ours: &'static str, theirs: &'static [&'static str], how: How) -> Line {
    Line { ours, theirs, how }
}

/// What follows from a model's geometry, and is no parameter.
pub(super) const BUFFERS: [Unused; 3] = [
    Unused {
        pattern: "*relative_position_index",
        reason: FOLLOWS,
    },
    Unused {
        pattern: "*relative_coords_table",
        reason: FOLLOWS,
    },
    Unused {
        pattern: "*attn_mask",
        reason: FOLLOWS,
    },
];
pub(super) const FOLLOWS: &str = "it follows from the geometry";
pub(super) const OF_AUTOENCODER: &str =
    "it is of the decoder of a masked autoencoder, which sees visible patches alone";
