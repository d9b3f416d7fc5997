//! What is predicted, by which head, and which errors count.

use crate::head_kind::HeadKind;
use simmim_autograd::PixelLoss;

/// What is predicted of a square of an image.
///
/// Source: SimMIM, arXiv 2111.09886, §3.4 and the ablation of prediction targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// The normalised pixels.
    Pixels {
        /// The error of a pixel.
        loss: PixelLoss,
        /// Each pixel normalised by a window of that many pixels (odd) around it.
        norm_target: Option<usize>,
    },
    /// In which of `n` equal bins of its range each channel of a pixel lies.
    Bins {
        /// Bins of a channel.
        n: usize,
    },
    /// Which codeword is nearest to each square of `side` x `side` pixels: a colour, or a small picture.
    Codewords {
        /// Codewords.
        n: usize,
        /// The side of a codeword in pixels of the target.
        side: usize,
    },
}

/// Which pixels' errors count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scope {
    /// Those of hidden pixels.
    #[default]
    Masked,
    /// Those of all pixels.
    Full,
}

/// What a model is trained for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Objective {
    /// The form of the head.
    pub head: HeadKind,
    /// What is predicted.
    pub target: Target,
    /// The side of the square of pixels of which the mean is one pixel of the target.
    pub target_px: usize,
    /// Which errors count.
    pub scope: Scope,
}

impl Default for Objective {
    /// The paper's: a linear head predicts all hidden pixels, and the error is absolute.
    fn default() -> Self {
        let target = Target::Pixels {
            loss: PixelLoss::L1,
            norm_target: None,
        };
        Self {
            head: HeadKind::Linear,
            target,
            target_px: 1,
            scope: Scope::Masked,
        }
    }
}

impl Objective {
    /// The side of the square of the image that is predicted as one thing, in pixels.
    pub fn element_px(&self) -> usize {
        match self.target {
            Target::Pixels { .. } | Target::Bins { .. } => self.target_px,
            Target::Codewords { side, .. } => self.target_px * side,
        }
    }

    /// The side of the squares that the head predicts, in pixels, on features whose squares have a side of
    /// `stride`: at least one element.
    pub fn square_px(&self, stride: usize) -> usize {
        let min_px = self.head.min_square_px(stride);
        match self.head {
            HeadKind::Linear | HeadKind::Mlp => min_px,
            // Its tokens are finer than an element may be, so a square takes in as many as an element needs.
            HeadKind::InverseSwin(_) => min_px.max(self.element_px().min(stride)),
        }
    }

    /// The side of the largest squares that are hidden or visible as a whole and that make up the head's
    /// squares of `square_px`, where patches have a side of `patch_px`.
    pub fn unit_px(&self, square_px: usize, patch_px: usize) -> usize {
        square_px.min(patch_px.max(self.element_px()))
    }

    /// Whether the head's squares are a whole number of its tokens, each element lies in one square of the head and
    /// in one cell of the mask, and each of the units of [`Objective::unit_px`] is hidden or visible as a whole.
    pub fn fits(&self, stride: usize, patch_px: usize, cell_px: usize) -> bool {
        let square_px = self.square_px(stride);
        let (element_px, unit_px) = (self.element_px(), self.unit_px(square_px, patch_px));
        square_px.is_multiple_of(self.head.min_square_px(stride))
            && stride.is_multiple_of(square_px)
            && unit_px.is_multiple_of(element_px)
            && square_px.is_multiple_of(unit_px)
            && cell_px.is_multiple_of(unit_px)
    }

    /// Values that a head predicts for a square: for each element its channels, classes innermost.
    pub fn outputs(&self, channels: usize, square_px: usize) -> usize {
        let n_elements = (square_px / self.element_px()).pow(2);
        n_elements * self.terms(channels) * self.n_classes().unwrap_or(1)
    }

    /// Classes that are told apart; `None` where numbers are predicted.
    pub fn n_classes(&self) -> Option<usize> {
        match self.target {
            Target::Pixels { .. } => None,
            Target::Bins { n } | Target::Codewords { n, .. } => Some(n),
        }
    }

    /// Errors of one element.
    pub(crate) fn terms(&self, channels: usize) -> usize {
        match self.target {
            Target::Pixels { .. } | Target::Bins { .. } => channels,
            // A codeword is of all channels at once.
            Target::Codewords { .. } => 1,
        }
    }
}
