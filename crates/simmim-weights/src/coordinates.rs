//! What the tables of coordinates that a SwinV2 may keep beside its parameters say of its windows.

use std::collections::BTreeMap;

use crate::error::Error;
use crate::store::Store;

/// The largest offset of a window, before the logarithm, and what its logarithm is divided by. Source: Z. Liu et al., arXiv 2111.09883,
/// and microsoft/Swin-Transformer `models/swin_transformer_v2.py`, `WindowAttention`.
const FARTHEST: f32 = 8.0;
/// How far a window that is computed from a table may be from a whole number.
const ROUNDING: f32 = 0.01;

/// The windows of a model's stages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Windows {
    /// Sides in tokens, one a stage.
    pub(crate) own: Vec<usize>,
    /// Sides of the windows that its position biases were learned with.
    pub(crate) learned: Vec<usize>,
}

/// Reads the tables of coordinates of a file; none where it has none.
///
/// # Errors
/// [`Error::Geometry`] for a table that no window has, and those of files.
pub(crate) fn windows(store: &Store) -> Result<Option<Windows>, Error> {
    let mut by_stage = BTreeMap::new();
    for (name, shape) in store.shapes() {
        if let (Some(stage), [1, offsets, across, 2]) = (stage_of(name), shape)
            && offsets == across
            && offsets % 2 == 1
        {
            by_stage
                .entry(stage)
                .or_insert((name.to_owned(), offsets.div_ceil(2)));
        }
    }
    if by_stage.is_empty() {
        return Ok(None);
    }
    let mut windows = Windows {
        own: Vec::new(),
        learned: Vec::new(),
    };
    for (name, own) in by_stage.into_values() {
        let farthest = store.array(&name)?.values.last().copied();
        let learned = learned(own, farthest.unwrap_or_default());
        windows.learned.push(learned.ok_or_else(|| Error::Geometry {
            path: store.path().to_owned(),
            what: format!("`{name}` holds the coordinates of no window"),
            key: "model.pretrained_windows",
        })?);
        windows.own.push(own);
    }
    Ok(Some(windows))
}

/// The stage of a block's table of coordinates, by the first number of its name: libraries count in steps of one or two.
fn stage_of(name: &str) -> Option<usize> {
    let path = name.strip_suffix("relative_coords_table")?;
    path.split('.').find_map(|part| part.parse().ok())
}

/// The side of the window with which biases were learned, by the largest coordinate of a window of `own` tokens a side:
/// log₂(8 · (own − 1) / (learned − 1) + 1) / log₂ 8.
fn learned(own: usize, farthest: f32) -> Option<usize> {
    // The only offset of a window of one token is 0.
    if own == 1 {
        return Some(1);
    }
    let scaled = (farthest * FARTHEST.log2()).exp2() - 1.0;
    let side = FARTHEST * (own - 1) as f32 / scaled + 1.0;
    let is_whole = (side - side.round()).abs() <= ROUNDING * side;
    // A number that is none lies in no range.
    (is_whole && (2.0 - ROUNDING..1e4).contains(&side)).then_some(side.round() as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the authors' code computes it.
    fn farthest(own: f32, learned: f32) -> f32 {
        (8.0 * (own - 1.0) / (learned - 1.0) + 1.0).log2() / 8_f32.log2()
    }

    #[test]
    fn a_table_says_the_window_that_it_was_learned_with() {
        for own in 2..=32 {
            for side in 2..=32 {
                let found = learned(own, farthest(own as f32, side as f32));
                assert_eq!(found, Some(side), "{own}");
            }
        }
    }

    #[test]
    fn a_table_of_no_window_says_none() {
        for farthest in [0.0, -1.0, f32::NAN, f32::INFINITY, 0.9, 40.0] {
            assert_eq!(learned(8, farthest), None, "{farthest}");
        }
        assert_eq!(learned(1, f32::NAN), Some(1));
    }
}
