//! Where the pixels of a page are: strips or tiles, of all samples together or of one each.

use crate::directory::Directory;
use crate::{Error, broken};

/// Bytes of the largest pixel of a picture: four samples of 16 bits.
const PIXEL_BYTES: u64 = 8;

/// A piece of a page that is compressed for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    /// Its place in the lists of offsets and lengths.
    pub(super) idx: usize,
    /// The first sample of a pixel that it has.
    pub(super) first_sample: usize,
    /// Where its first pixel is in the page.
    pub(super) left: usize,
    pub(super) top: usize,
    /// Rows that are stored.
    pub(super) rows: usize,
    /// Rows and columns of it that are in the page.
    pub(super) visible_rows: usize,
    pub(super) visible_columns: usize,
}

/// The size of a page and of its pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) width: usize,
    pub(super) height: usize,
    /// Samples of a pixel, all of them.
    pub(super) samples: usize,
    /// Whether each sample has pieces of its own.
    pub(super) is_planar: bool,
    pub(super) is_tiled: bool,
    /// Columns of a piece.
    pub(super) piece_width: usize,
    /// Rows of a piece, except of the last strip.
    pub(super) piece_height: usize,
}

impl Layout {
    pub(super) fn of(directory: &Directory<'_>) -> Result<Self, Error> {
        let required = |tag: u16, what: &str| -> Result<usize, Error> {
            let found = directory.number(tag)?;
            let found = found.ok_or_else(|| broken(format!("it does not tell its {what}")))?;
            Ok(usize::try_from(found).unwrap_or(usize::MAX))
        };
        let (width, height) = (required(256, "width")?, required(257, "height")?);
        let samples = directory.number_or(277, 1)?;
        if !(1..=65535).contains(&samples) {
            return Err(broken(format!("{samples} samples a pixel")));
        }
        let is_planar = match directory.number_or(284, 1)? {
            1 => false,
            // With one sample both are the same.
            2 => samples > 1,
            other => return Err(broken(format!("planar configuration {other}"))),
        };
        let is_tiled = directory.number(322)?.is_some();
        let (piece_width, piece_height) = if is_tiled {
            (
                required(322, "tiles' width")?,
                required(323, "tiles' height")?,
            )
        } else {
            let rows = directory.number_or(278, u64::MAX)?;
            let rows = usize::try_from(rows).unwrap_or(usize::MAX);
            // 0 is written by some for all, and what is more than all is all.
            let rows = if rows == 0 { height } else { rows.min(height) };
            (width, rows)
        };
        Ok(Self {
            width,
            height,
            samples: samples as usize,
            is_planar,
            is_tiled,
            piece_width,
            piece_height,
        })
    }

    /// Refuses pieces that are much larger than the page: they would be decoded for nothing.
    pub(super) fn check(&self, bits: usize) -> Result<(), Error> {
        /// Pixels of 8 bytes that cost nothing worth mentioning: a tile of 4096 x 4096.
        const SMALL: u64 = 1 << 24;
        /// How many times as large as the page all its pieces may be together.
        const TIMES: u64 = 4;
        let (width, height) = (self.piece_width as u64, self.piece_height as u64);
        if width == 0 || height == 0 {
            return Err(broken(format!("pieces of {width} x {height} pixels")));
        }
        let across = (self.width as u64).div_ceil(width).saturating_mul(width);
        let down = (self.height as u64).div_ceil(height).saturating_mul(height);
        let pixel_bytes = (self.samples * bits).div_ceil(8) as u64;
        let counted = |width: u64, height: u64| {
            let pixels = width.saturating_mul(height);
            pixels.saturating_mul(pixel_bytes.div_ceil(PIXEL_BYTES))
        };
        let own = counted(self.width as u64, self.height as u64);
        let limit_px = own.saturating_mul(TIMES).saturating_add(SMALL);
        let counted_px = counted(across, down);
        if counted_px > limit_px {
            return Err(broken(format!(
                "its pieces have {counted_px} pixels together, expected at most {limit_px} for its size"
            )));
        }
        Ok(())
    }

    /// How many pieces there are.
    pub(super) fn n_pieces(&self) -> usize {
        let planes = if self.is_planar { self.samples } else { 1 };
        let across = self.width.div_ceil(self.piece_width);
        let down = self.height.div_ceil(self.piece_height);
        planes.saturating_mul(down).saturating_mul(across)
    }

    /// Samples of a pixel within a piece.
    pub(super) fn piece_samples(&self) -> usize {
        if self.is_planar { 1 } else { self.samples }
    }

    /// Bytes of a row of a piece before compression.
    pub(super) fn row_bytes(&self, bits: usize) -> usize {
        (self.piece_width * self.piece_samples() * bits).div_ceil(8)
    }

    /// All pieces, in the order of the lists of offsets and lengths.
    pub(super) fn pieces(&self) -> impl Iterator<Item = Piece> + use<> {
        let layout = *self;
        let across = layout.width.div_ceil(layout.piece_width);
        let down = layout.height.div_ceil(layout.piece_height);
        (0..layout.n_pieces()).map(move |idx| {
            let left = idx % across * layout.piece_width;
            let top = idx / across % down * layout.piece_height;
            let visible_rows = layout.piece_height.min(layout.height - top);
            Piece {
                idx,
                first_sample: idx / across / down,
                left,
                top,
                // Tiles are always stored whole.
                rows: if layout.is_tiled {
                    layout.piece_height
                } else {
                    visible_rows
                },
                visible_rows,
                visible_columns: layout.piece_width.min(layout.width - left),
            }
        })
    }
}
