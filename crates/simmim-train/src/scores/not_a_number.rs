//! Outputs that cannot be scored.

/// Why predictions cannot be scored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the model's output for image {image_idx} is not a number")]
pub struct NotANumber {
    /// Which image, counted from 0 in the order of the images.
    pub image_idx: usize,
}
