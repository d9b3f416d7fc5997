//! The ranges of the encoder's keys.

use super::require::{Given, NOT_NEGATIVE, POSITIVE, not_negative, require};
use crate::error::Error;
use crate::keys::Model;

impl Model {
    pub(super) fn check(&self) -> Result<(), Error> {
        let counts = [
            ("model.width", self.width),
            ("model.depth", self.depth),
            ("model.heads", self.heads),
            ("model.patch_px", self.patch_px),
            ("model.window", self.window),
        ];
        for (key, count) in counts {
            // Their upper ends are a matter of the whole geometry: `encoder.rs` proves them.
            require(count != Some(0), key, &0, POSITIVE)?;
        }
        let mlp_ratio = self.mlp_ratio;
        require(
            mlp_ratio.is_finite() && mlp_ratio > 0.0,
            "model.mlp_ratio",
            &mlp_ratio,
            "a finite number above 0",
        )?;
        require(
            self.layer_scale.is_none_or(not_negative),
            "model.layer_scale",
            &Given(self.layer_scale),
            NOT_NEGATIVE,
        )?;
        require(
            // In f32 a smaller number is 0 or has lost digits.
            self.norm_eps
                .is_none_or(|eps| (eps as f32).is_normal() && (0.0..1.0).contains(&eps)),
            "model.norm_eps",
            &Given(self.norm_eps),
            "a number above 0 that f32 can hold, below 1",
        )?;
        require(
            self.drop_path.is_none_or(|rate| (0.0..1.0).contains(&rate)),
            "model.drop_path",
            &Given(self.drop_path),
            "0 or more, below 1",
        )
    }
}
