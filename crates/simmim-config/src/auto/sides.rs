//! The sides of images, patches and cells.

use simmim_data::Survey;

use super::reason::Reason;
use crate::raw::RawConfig;

/// Sides in pixels.
#[derive(Clone, Copy)]
pub(super) struct Sides {
    pub(super) image: usize,
    pub(super) patch: usize,
    pub(super) cell: usize,
}

/// The sides of images, patches and cells, with the reason.
pub(super) fn choose_sides(
    config: &mut RawConfig,
    survey: &Survey,
    given: Option<[usize; 2]>,
    reasons: &mut Vec<Reason>,
) -> Sides {
    let [height, width] = survey.median_px;
    let Some(size) = given else {
        // The short side decides, because crops are square.
        let sides = sides(height.min(width));
        let Sides { image, patch, cell } = sides;
        config.data.image_size = [image; 2];
        config.mask.cell_px = cell;
        let text = format!(
            "{image} px in patches of {patch}, hidden in cells of {cell}: the median image is {height} x {width} px"
        );
        reasons.push(Reason::new("images", text));
        return sides;
    };
    let sides = sides_within(size);
    config.data.image_size = size;
    config.mask.cell_px = sides.cell;
    let text = format!(
        "patches of {} px, hidden in cells of {}: {} x {} px are asked for",
        sides.patch, sides.cell, size[0], size[1]
    );
    reasons.push(Reason::new("images", text));
    sides
}

/// Patch and cell for images of a given size, which both divide: the usual patch or the next smaller, and the cell that is nearest to
/// its usual share of the shorter side.
fn sides_within([height, width]: [usize; 2]) -> Sides {
    const LEAST_PATCH_PX: usize = 4;
    // Cells of an eighth to a fifth of the side have AvgDist in the paper's good range.
    const CELLS_A_SIDE: f64 = 6.5;
    let image = height.min(width);
    let usual = sides(image);
    let divides = |side: &usize| height.is_multiple_of(*side) && width.is_multiple_of(*side);
    let patches = (LEAST_PATCH_PX..=usual.patch).rev();
    // Of sizes that nothing divides, the plan itself says what would.
    let patch = { patches }.find(divides).unwrap_or(usual.patch);
    let cells = (1..=image / patch).map(|n| n * patch).filter(divides);
    let distance = |cell: &usize| (*cell as f64 - image as f64 / CELLS_A_SIDE).abs();
    Sides {
        image,
        patch,
        cell: { cells }
            .min_by(|one, other| distance(one).total_cmp(&distance(other)))
            .unwrap_or(patch),
    }
}

/// Image, patch and cell: about 14 patches along a side as the paper's ViT-B has, or 8 where the
/// images have no more detail, and cells for which AvgDist is in the paper's good range.
fn sides(short_px: usize) -> Sides {
    // Smaller ones would have too few cells for AvgDist to be in the range.
    const LEAST_PX: usize = 24;
    let (most, patch, cell) = match short_px {
        0..=48 => (32, 4, 4),
        49..=96 => (64, 8, 8),
        97..=160 => (128, 16, 16),
        _ => (224, 16, 32),
    };
    // Enlarged images have no more detail, and cost more.
    let image = short_px.next_multiple_of(cell).clamp(LEAST_PX, most);
    Sides { image, patch, cell }
}
