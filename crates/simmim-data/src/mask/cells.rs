//! The grid of cells while a mask is being drawn.

/// Cells of a grid, some of them hidden.
pub(super) struct Cells {
    size: [usize; 2],
    hidden: Vec<bool>,
    n_hidden: usize,
}

impl Cells {
    /// A grid of `[h, w]` cells, none hidden.
    pub(super) fn visible(size: [usize; 2]) -> Self {
        Self {
            size,
            hidden: vec![false; size[0] * size[1]],
            n_hidden: 0,
        }
    }

    pub(super) fn size(&self) -> [usize; 2] {
        self.size
    }

    pub(super) fn hidden(&self) -> &[bool] {
        &self.hidden
    }

    pub(super) fn n_hidden(&self) -> usize {
        self.n_hidden
    }

    pub(super) fn hide(&mut self, cell_idx: usize) {
        // Counted only once: blocks may hide a cell again.
        self.n_hidden += usize::from(!self.hidden[cell_idx]);
        self.hidden[cell_idx] = true;
    }

    pub(super) fn show(&mut self, cell_idx: usize) {
        self.n_hidden -= usize::from(self.hidden[cell_idx]);
        self.hidden[cell_idx] = false;
    }

    /// The cells of a rectangle, row by row.
    pub(super) fn rectangle(&self, at: [usize; 2], size: [usize; 2]) -> Vec<usize> {
        let rows = at[0]..at[0] + size[0];
        let width = self.size[1];
        rows.flat_map(|y| (at[1]..at[1] + size[1]).map(move |x| y * width + x))
            .collect()
    }

    /// Whether a cell shares an edge with a hidden one.
    pub(super) fn touches_hidden(&self, cell_idx: usize) -> bool {
        let [height, width] = self.size;
        let (y, x) = (cell_idx / width, cell_idx % width);
        (y > 0 && self.hidden[cell_idx - width])
            || (y + 1 < height && self.hidden[cell_idx + width])
            || (x > 0 && self.hidden[cell_idx - 1])
            || (x + 1 < width && self.hidden[cell_idx + 1])
    }
}
