//! Properties of masks over random geometry.

use proptest::prelude::*;
use simmim_data::{MaskKind, MaskPlan, avg_dist_px};
use simmim_random::{Purpose, Stream};

proptest! {
    #[test]
    fn every_mask_hides_exactly_the_planned_number_of_whole_cells(
        (rows, columns) in (1_usize..9, 1_usize..9),
        (patch_px, cell_patches) in (1_usize..9, 1_usize..4),
        ratio in 0.001_f64..=1.0,
        kind_idx in 0_usize..3,
        seed in any::<u64>(),
    ) {
        let kind = [MaskKind::Random, MaskKind::Square, MaskKind::Blockwise][kind_idx];
        let cell_px = patch_px * cell_patches;
        let image_px = [rows * cell_px, columns * cell_px];
        let plan = MaskPlan::new(kind, image_px, patch_px, cell_px, ratio).unwrap();
        let expected = ((rows * columns) as f64 * ratio).ceil() as usize;
        let mask = plan.draw(Stream::new(seed, Purpose::Mask).at(0, 0));

        prop_assert_eq!(plan.image_px(), image_px);
        prop_assert_eq!(mask.grid(), [rows * cell_patches, columns * cell_patches]);
        prop_assert_eq!(mask.n_cells_hidden(), expected);
        prop_assert_eq!(mask.n_hidden(), expected * cell_patches * cell_patches);
        let width = mask.grid()[1];
        for (patch_idx, hidden) in mask.hidden().iter().enumerate() {
            let (y, x) = (patch_idx / width, patch_idx % width);
            let corner = y / cell_patches * cell_patches * width + x / cell_patches * cell_patches;
            prop_assert_eq!(*hidden, mask.hidden()[corner]);
        }
        let distance = avg_dist_px(&mask, patch_px);
        prop_assert_eq!(distance.is_none(), expected == rows * columns);
        prop_assert!(distance.is_none_or(|d| d >= 1.0));
    }
}

#[test]
fn larger_cells_and_blocks_hide_pixels_farther_from_visible_ones() {
    let distance = |kind, cell_px| {
        let plan = MaskPlan::new(kind, [192, 192], 4, cell_px, 0.5).unwrap();
        plan.survey(20, 1).avg_dist_px.unwrap()
    };
    let random = distance(MaskKind::Random, 16);
    assert!(distance(MaskKind::Random, 32) > random);
    assert!(distance(MaskKind::Blockwise, 16) > random);
    assert!(distance(MaskKind::Square, 16) > distance(MaskKind::Blockwise, 16));
}
