//! Which parts of an image are hidden. `true` means hidden, everywhere.

mod blockwise;
mod cells;
mod distance;
mod square;

use simmim_random::{Draws, Purpose, Stream};

use crate::Error;
use cells::Cells;
pub use distance::avg_dist_px;

/// How the hidden cells of an image are chosen. Every kind hides the same number of cells in every
/// image, so that every image has the same weight in the loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MaskKind {
    /// Any cells, each choice equally likely. The method's own.
    ///
    /// Source: microsoft/SimMIM, `data/data_simmim.py`, `MaskGenerator`.
    Random,
    /// One square at a random position; where the count is no square number, the most nearly
    /// square rectangle that holds it, less a run of cells along one edge.
    ///
    /// Source: the ablation of masking strategies in SimMIM (arXiv 2111.09886), which lets the
    /// central region of Pathak et al. (2016) move over the image. The released code has none, so
    /// the shape for a count that is no square number is ours.
    Square,
    /// Rectangles of random size, shape and place until the count is reached.
    ///
    /// Source: microsoft/unilm, `beit/masking_generator.py` @ 2312c6f. There the count is an upper
    /// bound; here cells at the border of the blocks make up what is missing.
    Blockwise,
}

/// The hidden patches of one image.
///
/// # Shapes
/// `hidden`: `[h, w]`, rows from the top.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mask {
    grid: [usize; 2],
    cell_patches: usize,
    hidden: Vec<bool>,
}

impl Mask {
    /// `[h, w]` in patches.
    pub fn grid(&self) -> [usize; 2] {
        self.grid
    }

    /// `[h, w]`, whether each patch is hidden.
    pub fn hidden(&self) -> &[bool] {
        &self.hidden
    }

    /// How many patches are hidden.
    pub fn n_hidden(&self) -> usize {
        self.hidden.iter().filter(|hidden| **hidden).count()
    }

    /// How many cells are hidden.
    pub fn n_cells_hidden(&self) -> usize {
        self.n_hidden() / (self.cell_patches * self.cell_patches)
    }

    /// Whether each pixel is hidden.
    ///
    /// # Shapes
    /// The result: `[H, W]` = `[h · patch_px, w · patch_px]`.
    pub fn to_pixels(&self, patch_px: usize) -> Vec<bool> {
        enlarge(&self.hidden, self.grid[1], patch_px)
    }
}

/// The proved geometry of the masks of a run, and the number of cells they hide.
#[derive(Debug, Clone, PartialEq)]
pub struct MaskPlan {
    kind: MaskKind,
    patch_px: usize,
    /// Patches along a side of a cell.
    cell_patches: usize,
    /// `[h, w]` in cells.
    cells: [usize; 2],
    n_cells_hidden: usize,
}

/// What the masks of a plan are like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MaskSurvey {
    /// The hidden share of the image.
    pub ratio: f64,
    /// The mean of [`avg_dist_px`] over the drawn masks; `None` if a mask hides everything. The
    /// method's authors found fine-tuning best where this is between 10 and 20 pixels.
    ///
    /// Source: the ablation of masking strategies in SimMIM (arXiv 2111.09886), at 192 pixels.
    pub avg_dist_px: Option<f64>,
}

impl MaskPlan {
    /// Proves that an image divides into whole cells and a cell into whole patches, and counts the
    /// cells to hide: `ceil(cells · ratio)`, the product in double precision as in numpy.
    ///
    /// # Shapes
    /// `image_px`: `[H, W]`.
    ///
    /// # Errors
    /// [`Error::Zero`], [`Error::PatchSize`], [`Error::CellSize`] (which lists the cells that would
    /// do) and [`Error::MaskRatio`].
    pub fn new(
        kind: MaskKind,
        image_px: [usize; 2],
        patch_px: usize,
        cell_px: usize,
        ratio: f64,
    ) -> Result<Self, Error> {
        let [height, width] = image_px;
        let sides = [
            ("image size", height.min(width)),
            ("patch size", patch_px),
            ("mask cell size", cell_px),
        ];
        if let Some((setting, _)) = sides.iter().find(|(_, side)| *side == 0) {
            return Err(Error::Zero { setting });
        }
        // A cell over the border would be hidden in part, and masks would differ in their number of hidden
        // pixels.
        let divides = |side: usize| height.is_multiple_of(side) && width.is_multiple_of(side);
        if !divides(patch_px) {
            return Err(Error::PatchSize {
                height,
                width,
                patch_px,
            });
        }
        if !(divides(cell_px) && cell_px.is_multiple_of(patch_px)) {
            let valid = (patch_px..=height.min(width)).step_by(patch_px);
            let valid: Vec<String> = valid
                .filter(|s| divides(*s))
                .map(|s| s.to_string())
                .collect();
            return Err(Error::CellSize {
                height,
                width,
                patch_px,
                cell_px,
                valid: valid.join(", "),
            });
        }
        if !(ratio > 0.0 && ratio <= 1.0) {
            return Err(Error::MaskRatio { ratio });
        }
        let cells = [height / cell_px, width / cell_px];
        let n_cells = cells[0] * cells[1];
        Ok(Self {
            kind,
            patch_px,
            cell_patches: cell_px / patch_px,
            cells,
            // A product a rounding above a whole number must not hide one cell more than there are.
            n_cells_hidden: ((n_cells as f64 * ratio).ceil() as usize).min(n_cells),
        })
    }

    /// How cells are chosen.
    pub fn kind(&self) -> MaskKind {
        self.kind
    }

    /// `[H, W]` of the image in pixels.
    pub fn image_px(&self) -> [usize; 2] {
        self.grid().map(|side| side * self.patch_px)
    }

    /// The side of a patch in pixels.
    pub fn patch_px(&self) -> usize {
        self.patch_px
    }

    /// The side of a cell in pixels.
    pub fn cell_px(&self) -> usize {
        self.patch_px * self.cell_patches
    }

    /// `[h, w]` in patches.
    pub fn grid(&self) -> [usize; 2] {
        self.cells.map(|side| side * self.cell_patches)
    }

    /// Cells of an image.
    pub fn n_cells(&self) -> usize {
        self.cells[0] * self.cells[1]
    }

    /// Cells hidden in every image.
    pub fn n_cells_hidden(&self) -> usize {
        self.n_cells_hidden
    }

    /// Patches hidden in every image.
    pub fn n_hidden(&self) -> usize {
        self.n_cells_hidden * self.cell_patches * self.cell_patches
    }

    /// The hidden share, which is the ratio asked for rounded up to whole cells.
    pub fn ratio(&self) -> f64 {
        self.n_cells_hidden as f64 / self.n_cells() as f64
    }

    /// Draws a mask, the same for the same draws.
    pub fn draw(&self, mut draws: Draws) -> Mask {
        let mut cells = Cells::visible(self.cells);
        match self.kind {
            MaskKind::Random => {
                // The first cells of a random order: the count is exact, which single coin tosses would not
                // give.
                let order = draws.permutation(self.n_cells());
                for cell_idx in &order[..self.n_cells_hidden] {
                    cells.hide(*cell_idx);
                }
            }
            MaskKind::Square => square::hide(&mut cells, self.n_cells_hidden, &mut draws),
            MaskKind::Blockwise => blockwise::hide(&mut cells, self.n_cells_hidden, &mut draws),
        }
        debug_assert_eq!(cells.n_hidden(), self.n_cells_hidden);
        Mask {
            grid: self.grid(),
            cell_patches: self.cell_patches,
            hidden: enlarge(cells.hidden(), self.cells[1], self.cell_patches),
        }
    }

    /// Draws `n_draws` masks and measures them, to tell whether a setting is sane for an image
    /// size.
    pub fn survey(&self, n_draws: u64, seed: u64) -> MaskSurvey {
        let stream = Stream::new(seed, Purpose::Mask);
        let distances: Option<Vec<f64>> = (0..n_draws)
            .map(|index| avg_dist_px(&self.draw(stream.at(0, index)), self.patch_px))
            .collect();
        MaskSurvey {
            ratio: self.ratio(),
            avg_dist_px: distances
                .filter(|all| !all.is_empty())
                .map(|all| all.iter().sum::<f64>() / all.len() as f64),
        }
    }
}

/// Repeats each element of `[h, w]` `times` times along both sides.
fn enlarge(elements: &[bool], width: usize, times: usize) -> Vec<bool> {
    let mut enlarged = Vec::with_capacity(elements.len() * times * times);
    for row in elements.chunks_exact(width) {
        let wide: Vec<bool> = row
            .iter()
            .flat_map(|element| std::iter::repeat_n(*element, times))
            .collect();
        for _ in 0..times {
            enlarged.extend_from_slice(&wide);
        }
    }
    enlarged
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [MaskKind; 3] = [MaskKind::Random, MaskKind::Square, MaskKind::Blockwise];

    fn draws(index: u64) -> Draws {
        Stream::new(7, Purpose::Mask).at(0, index)
    }

    #[test]
    fn the_paper_hides_22_of_36_and_30_of_49_cells() {
        let swin = MaskPlan::new(MaskKind::Random, [192, 192], 4, 32, 0.6).unwrap();
        assert_eq!((swin.n_cells(), swin.n_cells_hidden()), (36, 22));
        assert_eq!((swin.grid(), swin.n_hidden()), ([48, 48], 22 * 64));
        let vit = MaskPlan::new(MaskKind::Random, [224, 224], 16, 32, 0.6).unwrap();
        assert_eq!((vit.n_cells(), vit.n_cells_hidden()), (49, 30));
        assert_eq!(vit.grid(), [14, 14]);
    }

    #[test]
    fn the_count_is_the_ceiling_of_the_double_precision_product() {
        // numpy.ceil(n * ratio); 100 * 0.07 and 100 * 0.29 are not whole in double precision.
        for (n, ratio, count) in [(10, 0.7, 7), (100, 0.07, 8), (100, 0.29, 29), (5, 1.0, 5)] {
            let plan = MaskPlan::new(MaskKind::Random, [1, n], 1, 1, ratio).unwrap();
            assert_eq!(plan.n_cells_hidden(), count, "{n} x {ratio}");
        }
    }

    #[test]
    fn every_kind_hides_whole_cells_and_the_same_count() {
        for kind in KINDS {
            let plan = MaskPlan::new(kind, [96, 224], 8, 32, 0.45).unwrap();
            for index in 0..200 {
                let mask = plan.draw(draws(index));
                assert_eq!(mask.n_hidden(), plan.n_hidden(), "{kind:?}");
                assert_eq!(mask.n_cells_hidden(), plan.n_cells_hidden());
                for (patch_idx, hidden) in mask.hidden().iter().enumerate() {
                    let (y, x) = (patch_idx / 28, patch_idx % 28);
                    assert_eq!(*hidden, mask.hidden()[y / 4 * 4 * 28 + x / 4 * 4]);
                }
            }
        }
    }

    #[test]
    fn random_masks_hide_every_cell_equally_often() {
        let plan = MaskPlan::new(MaskKind::Random, [192, 192], 32, 32, 0.6).unwrap();
        let n_draws = 20_000;
        let mut counts = [0_u32; 36];
        for index in 0..n_draws {
            for (count, hidden) in counts.iter_mut().zip(plan.draw(draws(index)).hidden()) {
                *count += u32::from(*hidden);
            }
        }
        // Cells of one mask exclude each other, so the variance of a count is np(1 - p), and the
        // 36 counts have a fixed sum: 35 degrees of freedom after scaling by 35/36.
        let p = 22.0 / 36.0;
        let n = n_draws as f64;
        let chi_square: f64 = counts
            .iter()
            .map(|count| (f64::from(*count) - n * p).powi(2) / (n * p * (1.0 - p)))
            .sum::<f64>()
            * 35.0
            / 36.0;
        assert!(chi_square < 66.6, "chi-square {chi_square}, p < 0.001");
    }

    #[test]
    fn geometry_that_does_not_fit_is_refused_with_the_cells_that_would() {
        let refuse = |image_px, patch_px, cell_px, ratio| {
            MaskPlan::new(MaskKind::Random, image_px, patch_px, cell_px, ratio)
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            refuse([224, 224], 16, 24, 0.6),
            "a mask cell of 24 px does not divide 224 x 224 px into whole patches of 16 px, \
             valid cells: 16, 32, 112, 224"
        );
        assert!(refuse([192, 96], 4, 64, 0.6).ends_with("4, 8, 12, 16, 24, 32, 48, 96"));
        assert!(refuse([200, 192], 16, 32, 0.6).contains("whole number of patches"));
        assert!(refuse([192, 192], 16, 0, 0.6).contains("mask cell size is zero"));
        for ratio in [0.0, -0.1, 1.01, f64::NAN] {
            assert!(refuse([192, 192], 16, 32, ratio).contains("mask ratio is"));
        }
    }

    #[test]
    fn average_distances_are_those_of_the_paper_setting() {
        // 192 px, ratio 0.6, cells of 32, 16, 8 and 4 px; computed with an independent program on
        // two to four random masks each, hence the tolerance.
        for (cell_px, expected) in [(32, 14.8), (16, 7.6), (8, 3.7), (4, 2.1)] {
            let plan = MaskPlan::new(MaskKind::Random, [192, 192], 4, cell_px, 0.6).unwrap();
            let found = plan.survey(40, 0).avg_dist_px.unwrap();
            assert!((found / expected - 1.0).abs() < 0.1, "{cell_px}: {found}");
        }
    }

    #[test]
    fn pixels_repeat_their_patch() {
        let plan = MaskPlan::new(MaskKind::Random, [4, 6], 2, 2, 0.5).unwrap();
        let mask = plan.draw(draws(0));
        let pixels = mask.to_pixels(2);
        assert_eq!(pixels.len(), 24);
        for (pixel_idx, hidden) in pixels.iter().enumerate() {
            let (y, x) = (pixel_idx / 6, pixel_idx % 6);
            assert_eq!(*hidden, mask.hidden()[y / 2 * 3 + x / 2]);
        }
    }
}
