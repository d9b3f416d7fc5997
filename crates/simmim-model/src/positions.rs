//! Relative positions of the tokens of a grid.

/// Which relative position biases a vision transformer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelativePositions {
    /// None.
    None,
    /// One table for all blocks (the authors' pre-training).
    Shared,
    /// A table for each block (the authors' fine-tuning).
    PerBlock,
}

/// Rows of a table of relative positions for a grid with a class token.
pub(crate) fn table_rows([h, w]: [usize; 2]) -> usize {
    (2 * h - 1) * (2 * w - 1) + CLASS_ROWS
}

/// The class token has three rows of its own: to it, from it, and with itself.
const CLASS_ROWS: usize = 3;

/// The table row of each pair of tokens: the class token, then the grid row by row.
///
/// Source: microsoft/SimMIM `models/vision_transformer.py`, `RelativePositionBias`. With R rows, the pair
/// (query, key) of patches takes row (Δy + h − 1)(2w − 1) + Δx + w − 1; class → patch takes R − 3,
/// patch → class R − 2, class → class R − 1.
///
/// # Shapes
/// `[L, L]` in row-major order, L = h · w + 1.
pub fn relative_index([h, w]: [usize; 2]) -> Vec<u32> {
    let rows = table_rows([h, w]);
    let tokens = h * w + 1;
    let row_of = |query: usize, key: usize| match (query.checked_sub(1), key.checked_sub(1)) {
        (None, None) => rows - 1,
        (Some(_), None) => rows - 2,
        (None, Some(_)) => rows - 3,
        (Some(query), Some(key)) => {
            // Shifted by h − 1 and w − 1, so that no offset is negative.
            let down = query / w + h - 1 - key / w;
            let right = query % w + w - 1 - key % w;
            down * (2 * w - 1) + right
        }
    };
    (0..tokens * tokens)
        .map(|pair| row_of(pair / tokens, pair % tokens) as u32)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grid_of_two_by_three_has_the_rows_of_the_authors_code() {
        let index = relative_index([2, 3]);
        // 3 · 5 + 3 rows; the first patch with itself is in the middle of the 3 x 5 offsets.
        assert_eq!(index[..3], [17, 15, 15]);
        assert_eq!(index[7..14], [16, 7, 6, 5, 2, 1, 0]);
        assert_eq!(index.len(), 49);
    }

    #[test]
    fn the_authors_fourteen_by_fourteen_grid_has_732_rows() {
        assert_eq!(table_rows([14, 14]), 732);
        assert_eq!(relative_index([14, 14]).iter().max(), Some(&731));
    }
}
