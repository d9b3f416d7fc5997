//! Descriptions of losses.

use crate::buffer::Buffer;

/// What a pixel's error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PixelLoss {
    /// |e|.
    #[default]
    L1,
    /// e².
    L2,
    /// ½ e² where |e| < 1, else |e| − ½.
    SmoothL1,
}

/// Which error is taken at which pixels of each row of squares.
#[derive(Debug, Clone, Copy)]
pub struct CountedRows<'a> {
    /// What a pixel's error is.
    pub loss: PixelLoss,
    /// `[M, parts²]`, 0 or 1.
    pub weights: &'a Buffer,
    /// Parts with a weight of their own along the side of a square.
    pub parts: usize,
    /// Values along the side of a square.
    pub side: usize,
}

/// Rows with their classes and what each of them counts.
#[derive(Debug, Clone, Copy)]
pub struct CountedClasses<'a> {
    /// `[R]`, a buffer of row numbers.
    pub classes: &'a Buffer,
    /// `[R]`, 0 or 1.
    pub weights: &'a Buffer,
}

/// What the labels of a row are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LabelLoss {
    /// Shares of one whole: classes of which one is right, or a mixture.
    Shares,
    /// Each a question of its own, answered from 0 to 1.
    Questions,
}
