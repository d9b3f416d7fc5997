//! Windows of a grid: their size, their roll, the offsets within one.

/// The windows of one block of a stage: how large they are and how far the grid is rolled before it is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The stage's h and w, in tokens.
    pub(crate) grid: [usize; 2],
    /// The side of a window, in tokens.
    pub(crate) side: usize,
    /// Tokens that the grid is rolled up and to the left by.
    pub(crate) shift: usize,
}

impl Window {
    /// The windows of a stage's unshifted blocks: `asked`, or the shorter side of the grid where that is no more.
    ///
    /// Source: microsoft/SimMIM `models/swin_transformer.py`, `SwinTransformerBlock.__init__`.
    pub(crate) fn of_stage(grid: [usize; 2], asked: usize) -> Self {
        let side = asked.min(grid[0]).min(grid[1]);
        Self {
            grid,
            side,
            shift: 0,
        }
    }

    /// The windows of the blocks with odd numbers: rolled by half a window, unless one window spans the grid's
    /// shorter side.
    ///
    /// Source: microsoft/SimMIM `models/swin_transformer.py`; Swin, arXiv 2103.14030, §3.2.
    #[must_use]
    pub fn shifted(self) -> Self {
        // Windows that span one side have nothing to be joined to across it.
        let spans = self.grid.contains(&self.side);
        let shift = if spans { 0 } else { self.side / 2 };
        Self { shift, ..self }
    }

    /// T, tokens of a window.
    pub fn tokens(self) -> usize {
        self.side * self.side
    }

    /// Whether the grid is a whole number of windows.
    pub(crate) fn fits(self) -> bool {
        self.side > 0 && self.grid.iter().all(|side| side % self.side == 0)
    }

    /// Whether one window is the whole grid.
    pub(crate) fn is_whole(self) -> bool {
        self.grid == [self.side; 2]
    }

    /// Row and column in the rolled grid of each place of each window.
    fn places(self) -> impl Iterator<Item = [usize; 2]> {
        let ([h, w], side) = (self.grid, self.side);
        let across = w / side;
        (0..h * w).map(move |place| {
            let (window, within) = (place / (side * side), place % (side * side));
            [
                window / across * side + within / side,
                window % across * side + within % side,
            ]
        })
    }

    /// The token at each place, window by window, `[G, T]`: roll and partition in one order.
    pub fn order(self) -> Vec<u32> {
        let ([h, w], shift) = (self.grid, self.shift);
        let token = |[y, x]: [usize; 2]| ((y + shift) % h * w + (x + shift) % w) as u32;
        self.places().map(token).collect()
    }

    /// A number for each place, `[G, T]`, such that tokens of one window that the roll has brought together from
    /// opposite edges have different ones. Empty where nothing is rolled.
    ///
    /// Source: microsoft/SimMIM `models/swin_transformer.py`, `img_mask`: three bands each way, cut at −window and −shift.
    pub fn regions(self) -> Vec<u32> {
        if self.shift == 0 {
            return Vec::new();
        }
        // Only the last window each way holds tokens from both edges; within it the shift is where they meet.
        let band = |position: usize, length: usize| {
            u32::from(position >= length - self.side) + u32::from(position >= length - self.shift)
        };
        let [h, w] = self.grid;
        self.places()
            .map(|[y, x]| 3 * band(y, h) + band(x, w))
            .collect()
    }

    /// Rows of the table of offsets, (2 side − 1)².
    pub fn table_rows(self) -> usize {
        (2 * self.side - 1).pow(2)
    }

    /// The table row of each pair of tokens of a window, `[T, T]`: (Δy + side − 1)(2 side − 1) + Δx + side − 1,
    /// query less key.
    ///
    /// Source: microsoft/SimMIM `models/swin_transformer.py`, `relative_position_index`.
    pub fn relative_index(self) -> Vec<u32> {
        let (side, tokens) = (self.side, self.tokens());
        let row = |pair: usize| {
            let (query, key) = (pair / tokens, pair % tokens);
            let down = query / side + side - 1 - key / side;
            let right = query % side + side - 1 - key % side;
            (down * (2 * side - 1) + right) as u32
        };
        (0..tokens * tokens).map(row).collect()
    }

    /// The coordinates of each row of the table, on the logarithmic scale of the second version: offsets as shares of
    /// the largest, times 8, then sign(x) log₂(1 + |x|)/log₂ 8.
    ///
    /// Source: Swin V2, arXiv 2111.09883, eq. 4; the factor 8 is in microsoft/Swin-Transformer
    /// `models/swin_transformer_v2.py`, `relative_coords_table`. A window of one token, for which theirs divides
    /// zero by zero, has the offset 0.
    ///
    /// `learned` is the side of the window that the network of biases was trained with, whose largest offset is the unit;
    /// in a larger window offsets are above it (`PRETRAINED_WINDOW_SIZES` there).
    ///
    /// # Shapes
    /// `[(2 side − 1)², 2]`, rows of (Δy, Δx).
    pub fn log_offsets(self, learned: usize) -> Vec<f32> {
        let length = 2 * self.side - 1;
        let scaled = |i: usize| {
            // A window of one token has the offset 0 alone; dividing by 1 keeps it.
            let unit = learned.saturating_sub(1).max(1) as f64;
            let x = (i as f64 - (self.side - 1) as f64) / unit * 8.0;
            (x.signum() * (x.abs() + 1.0).log2() / 3.0) as f32
        };
        (0..length * length)
            .flat_map(|row| [scaled(row / length), scaled(row % length)])
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_no_smaller_than_the_grid_becomes_the_grid_and_is_not_rolled() {
        // Window 12 at 192 px: 48, 24, 12 and 6 tokens a side.
        let sides = [48, 24, 12, 6].map(|side| {
            let window = Window::of_stage([side; 2], 12);
            (window.side, window.shifted().shift)
        });
        assert_eq!(sides, [(12, 6), (12, 6), (12, 0), (6, 0)]);
        // An oblong grid shrinks to its shorter side.
        let window = Window::of_stage([4, 8], 6);
        assert_eq!((window.side, window.shifted().shift), (4, 0));
        assert!(window.fits() && !window.is_whole());
    }

    #[test]
    fn a_rolled_order_begins_at_the_shift_and_holds_every_token_once() {
        let window = Window::of_stage([4, 6], 2).shifted();
        let order = window.order();
        assert_eq!(order[..4], [7, 8, 13, 14]);
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..24).collect::<Vec<u32>>());
        // The last window joins all four corners.
        assert_eq!(order[20..], [23, 18, 5, 0]);
        let regions = window.regions();
        assert_eq!(regions[..4], [0; 4]);
        assert_eq!(regions[20..], [4, 5, 7, 8]);
    }

    #[test]
    fn offsets_of_a_window_of_two_have_the_rows_of_the_authors_code() {
        let index = Window::of_stage([2, 2], 2).relative_index();
        assert_eq!(index, [4, 3, 1, 0, 5, 4, 2, 1, 7, 6, 4, 3, 8, 7, 5, 4]);
    }

    #[test]
    fn offsets_on_the_logarithmic_scale_go_from_minus_to_plus_log8_of_9() {
        let offsets = Window::of_stage([8, 8], 8).log_offsets(8);
        let max = (9_f64.log2() / 3.0) as f32;
        assert_eq!(offsets[..2], [-max, -max]);
        assert_eq!(offsets[2 * 112..2 * 113], [0.0, 0.0]);
        assert_eq!(offsets[2 * 224..], [max, max]);
        assert_eq!(Window::of_stage([1, 1], 1).log_offsets(1), [0.0, 0.0]);
        // Learned in a window of five, the offset 4 is the unit: that of the eighth token, 7, is beyond it.
        let larger = Window::of_stage([8, 8], 8).log_offsets(5);
        assert_eq!(
            larger[0],
            (-(7.0 / 4.0 * 8.0_f64 + 1.0).log2() / 3.0) as f32
        );
        assert_eq!(
            larger[2 * 3 * 15],
            (-(4.0 / 4.0 * 8.0_f64 + 1.0).log2() / 3.0) as f32
        );
    }
}
