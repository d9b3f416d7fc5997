//! The form of a prediction head, and what follows from it before there is one.

use crate::layers::{Keeping, kept_widths};
use crate::swin::inverse;
use crate::variant::SwinSize;

/// The form of a prediction head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HeadKind {
    /// One linear layer.
    #[default]
    Linear,
    /// Two linear layers with a GELU between them; the one in the middle is as wide as the features.
    Mlp,
    /// A Swin transformer of this size upside down, and a linear layer.
    InverseSwin(SwinSize),
}

impl HeadKind {
    /// Whether such a head can stand on a grid of features whose squares have a side of `stride` pixels.
    pub fn fits(self, stride: usize, grid: [usize; 2]) -> bool {
        match self {
            Self::Linear | Self::Mlp => true,
            Self::InverseSwin(_) => {
                stride.is_multiple_of(inverse::DENSER) && inverse::window_for(grid).is_some()
            }
        }
    }

    /// The smallest side of the squares that a head of this kind can predict, in pixels.
    pub(crate) fn min_square_px(self, stride: usize) -> usize {
        match self {
            Self::Linear | Self::Mlp => stride,
            Self::InverseSwin(_) => stride / inverse::DENSER,
        }
    }

    /// About how many values the head keeps of one image for the backward pass, the predictions not counted.
    pub fn kept_values(self, grid: [usize; 2], features: usize, keeping: Keeping) -> f64 {
        match self {
            Self::Linear => 0.0,
            // What goes in, and the middle before and after GELU.
            Self::Mlp => (3 * grid[0] * grid[1] * features) as f64,
            Self::InverseSwin(size) => {
                inverse::kept_values(&size, grid, kept_widths(inverse::MLP_RATIO as f64, keeping))
            }
        }
    }
}
