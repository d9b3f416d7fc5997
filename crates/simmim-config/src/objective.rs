//! The objective of a configuration, and the proof that it fits the geometry.

use simmim_model::{HeadKind, Objective, SwinSize, Target};

use crate::codebook::CodebookShape;
use crate::error::Error;
use crate::keys;
use crate::raw::RawConfig;

/// The maximum of the values that a head predicts for a square: far above use, far below what would overflow.
const MAX_OUTPUTS: u128 = 1 << 24;

/// What of a model's geometry an objective has to fit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Geometry {
    /// The side of a feature's square in pixels.
    pub(crate) stride: usize,
    /// The side of a patch in pixels.
    pub(crate) patch_px: usize,
    /// The side of a cell of the mask in pixels.
    pub(crate) cell_px: usize,
    /// h and w of the features.
    pub(crate) grid: [usize; 2],
    /// C.
    pub(crate) channels: usize,
}

/// The objective that the configuration asks for, with the number and size of the codewords where a file has
/// them.
pub(crate) fn objective(config: &RawConfig, codebook: Option<CodebookShape>) -> Objective {
    let keys = &config.objective;
    let window = keys.norm_target;
    // Colours are found when a run begins. How many there will be is known now, and each is one pixel.
    let colours = CodebookShape {
        n: keys.clusters,
        side: 1,
    };
    let CodebookShape { n, side } = codebook.unwrap_or(colours);
    Objective {
        head: match keys.head {
            keys::Head::Linear => HeadKind::Linear,
            keys::Head::Mlp => HeadKind::Mlp,
            keys::Head::InverseSwinT => HeadKind::InverseSwin(SwinSize::TINY),
            keys::Head::InverseSwinB => HeadKind::InverseSwin(SwinSize::BASE),
        },
        target: match keys.target {
            keys::Target::Pixels => Target::Pixels {
                loss: keys.loss,
                norm_target: (window > 0).then_some(window),
            },
            keys::Target::Bins => Target::Bins { n: keys.bins },
            keys::Target::Clusters | keys::Target::Tokens => Target::Codewords { n, side },
        },
        target_px: keys.target_px,
        scope: keys.scope,
    }
}

/// Proves that what is predicted as one thing lies in one square of the head and in one cell of the mask.
///
/// # Errors
/// [`Error::Geometry`].
pub(crate) fn prove(objective: &Objective, geometry: Geometry) -> Result<(), Error> {
    let Geometry {
        stride,
        patch_px,
        cell_px,
        channels,
        grid,
    } = geometry;
    if !objective.head.fits(stride, grid) {
        let reason = if stride.is_multiple_of(8) {
            format!(
                "no window of 3 to 24 features divides the grid of {grid:?}: choose another `data.image_size`"
            )
        } else {
            format!(
                "it predicts squares of an eighth of a feature's side, and {stride} px are no multiple of 8: choose other patches"
            )
        };
        return Err(Error::Geometry {
            key: "objective.head",
            found: "an inverse Swin transformer".to_owned(),
            reason,
        });
    }
    let square_px = objective.square_px(stride);
    if !objective.fits(stride, patch_px, cell_px) {
        return Err(misfit(objective, square_px, geometry));
    }
    // In 128 bits, in which no product of allowed values overflows.
    let n_elements = (square_px / objective.element_px()) as u128;
    let n_values = n_elements.pow(2) * channels as u128;
    let n_outputs = n_values * objective.n_classes().unwrap_or(1) as u128;
    if n_outputs > MAX_OUTPUTS {
        return Err(Error::Geometry {
            key: "objective.target",
            found: format!("{n_outputs} values for each square of {square_px} px"),
            reason: format!(
                "the maximum is {MAX_OUTPUTS}; a larger `objective.target_px` or fewer classes need less"
            ),
        });
    }
    Ok(())
}

fn misfit(objective: &Objective, square_px: usize, geometry: Geometry) -> Error {
    let Geometry {
        stride,
        patch_px,
        cell_px,
        ..
    } = geometry;
    // Tried one by one, so that `fits` is the only place that knows the rule.
    let fitting: Vec<String> = (1..=stride)
        .filter(|&target_px| {
            let other = Objective {
                target_px,
                ..*objective
            };
            other.fits(stride, patch_px, cell_px)
        })
        .map(|target_px| target_px.to_string())
        .collect();
    let within =
        format!("squares of {square_px} px, patches of {patch_px} px and cells of {cell_px} px");
    let (mut key, mut found) = ("objective.target_px", objective.target_px.to_string());
    let mut fits = fitting.join(", ");
    // Where no side fits, the codewords themselves are too large, and the codebook is to blame.
    if let (Target::Codewords { side, .. }, true) = (objective.target, fitting.is_empty()) {
        (key, found) = ("objective.codebook", format!("of {side} x {side} px"));
        "no `objective.target_px`".clone_into(&mut fits);
    }
    let element_px = objective.element_px();
    Error::Geometry {
        key,
        found,
        reason: format!("one value for {element_px} px does not go with {within}; fitting: {fits}"),
    }
}
