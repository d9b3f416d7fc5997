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

/// What is compared with the labels of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LabelLoss {
    /// Cross-entropy of the softmax with soft labels: one class is right, or a mixture.
    SoftCrossEntropy,
    /// Binary cross-entropy of each logit's sigmoid with a label from 0 to 1.
    Bce,
}

/// Logits and their labels, rows of `width`.
#[derive(Debug, Clone, Copy)]
pub struct Labelled<'a> {
    /// `[R, K]`.
    pub logits: &'a Buffer,
    /// `[R, K]`.
    pub targets: &'a Buffer,
    /// K.
    pub width: usize,
    /// How they are compared.
    pub loss: LabelLoss,
}

/// A prediction and what it should be, rows of pixels.
#[derive(Debug, Clone, Copy)]
pub struct Compared<'a> {
    /// `[M, C · side²]`.
    pub prediction: &'a Buffer,
    /// `[M, C · side²]`.
    pub target: &'a Buffer,
}

/// What a loss was multiplied by, and the gradient of the product.
#[derive(Debug, Clone, Copy)]
pub struct LossGradient<'a> {
    /// The factor of the forward.
    pub factor: f32,
    // A buffer, not a number: to read it would wait for the device.
    /// `[1]`.
    pub dloss: &'a Buffer,
}

/// What a cross-entropy gives.
#[derive(Debug)]
pub struct CrossEntropy {
    /// `[1]`.
    pub loss: Buffer,
    /// log Σ eˣ of each row, `[R]`, for the backward.
    pub log_sums: Buffer,
}

/// What the backward of a cross-entropy needs of its forward.
#[derive(Debug, Clone, Copy)]
pub struct SavedLogits<'a> {
    /// `[R, K]`.
    pub logits: &'a Buffer,
    /// What the forward gave, `[R]`.
    pub log_sums: &'a Buffer,
}
