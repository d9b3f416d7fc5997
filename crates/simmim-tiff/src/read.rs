//! The samples of a page.

use crate::codec;
use crate::directory::File;
use crate::page::{Compression, Meaning, Page};
use crate::samples::Sample;
use crate::{Error, JpegDecoder, Samples, broken, predictor};

impl Page<'_> {
    /// Decodes the page: rows from the top as they are stored, pixels from the left, samples of a pixel together, palettes
    /// expanded. Numbers are those of the file. Darkness is brightness here, where whole numbers stand for it.
    ///
    /// # Errors
    /// [`Error::CutShort`], [`Error::Broken`], [`Error::Memory`], and those of the decoders.
    pub fn read(&self, jpeg: &JpegDecoder<'_>) -> Result<Samples, Error> {
        let samples = match self.form.decoded_bits() {
            8 => Samples::U8(read(self, jpeg)?),
            16 => Samples::U16(read(self, jpeg)?),
            _ => Samples::F32(read(self, jpeg)?),
        };
        let step = self.layout.samples;
        Ok(match (&self.meaning, samples) {
            (Meaning::Palette(palette), Samples::U8(indices)) => {
                expanded(palette, indices.iter().step_by(step).copied())
            }
            (Meaning::Palette(palette), Samples::U16(indices)) => {
                expanded(palette, indices.iter().step_by(step).copied())
            }
            (Meaning::WhiteIsZero, samples) => inverted(samples, self),
            (_, samples) => samples,
        })
    }
}

/// So many samples, or an error where there is no memory for them.
fn zeroed<T: Clone + Default>([height, width, samples]: [usize; 3]) -> Result<Vec<T>, Error> {
    let n = height
        .checked_mul(width)
        .and_then(|n| n.checked_mul(samples));
    let n = n.unwrap_or(usize::MAX);
    let mut zeroed = Vec::new();
    let reserved = zeroed.try_reserve_exact(n);
    reserved.map_err(|_| Error::Memory { n_samples: n })?;
    zeroed.resize(n, T::default());
    Ok(zeroed)
}

fn read<T: Sample>(page: &Page<'_>, jpeg: &JpegDecoder<'_>) -> Result<Vec<T>, Error> {
    let layout = &page.layout;
    let row_bytes = layout.row_bytes(page.form.bits);
    let places = Places::of(page)?;
    let mut samples = zeroed([layout.height, layout.width, layout.samples])?;
    let mut bytes = Vec::new();
    for piece in layout.pieces() {
        bytes.clear();
        bytes.resize(row_bytes * piece.rows, 0);
        let data = places.data(piece.idx, bytes.len())?;
        if let Some(data) = data {
            codec::unpack(data, page, jpeg, &mut bytes)?;
            predictor::undo(&mut bytes, row_bytes, page);
        }
        let mut row = vec![T::none(&page.form); piece.visible_columns * layout.piece_samples()];
        let rows = bytes.chunks_exact(row_bytes).take(piece.visible_rows);
        for (stored, y) in rows.zip(piece.top..) {
            if data.is_some() {
                T::read(stored, &page.form, &mut row);
            }
            let start = (y * layout.width + piece.left) * layout.samples + piece.first_sample;
            let step = layout.samples / layout.piece_samples();
            let to = samples[start..].iter_mut().step_by(step);
            to.zip(&row).for_each(|(to, from)| *to = *from);
        }
    }
    Ok(samples)
}

/// Where the pieces of a page are in the file.
struct Places<'a> {
    file: File<'a>,
    offsets: Vec<u64>,
    /// Empty where the file does not tell.
    lengths: Vec<u64>,
    is_compressed: bool,
}

impl<'a> Places<'a> {
    fn of(page: &Page<'a>) -> Result<Self, Error> {
        let [offsets, lengths] = if page.layout.is_tiled {
            [324, 325]
        } else {
            [273, 279]
        };
        // Some writers of tiles use the tags of strips.
        let of = |tag: u16, other: u16| -> Result<Vec<u64>, Error> {
            let own = page.directory.numbers(tag)?;
            let found = match own {
                None => page.directory.numbers(other)?,
                own => own,
            };
            Ok(found.unwrap_or_default())
        };
        let (offsets, lengths) = (of(offsets, 273)?, of(lengths, 279)?);
        let n_pieces = page.layout.n_pieces();
        let is_told = lengths.len() >= n_pieces;
        // Only what is not compressed has a length that is known without.
        if offsets.len() < n_pieces || !is_told && page.compression != Compression::None {
            let found = offsets.len().min(lengths.len());
            return Err(broken(format!(
                "it tells where {found} pieces are, expected {n_pieces}"
            )));
        }
        Ok(Self {
            file: page.directory.file,
            offsets,
            lengths: if is_told { lengths } else { Vec::new() },
            is_compressed: page.compression != Compression::None,
        })
    }

    /// The bytes of a piece, which are `len` where they are not compressed; `None` for one that was left out because it
    /// holds nothing.
    fn data(&self, idx: usize, len: usize) -> Result<Option<&'a [u8]>, Error> {
        let offset = self.offsets[idx];
        let length = self.lengths.get(idx).copied();
        if offset == 0 && length == Some(0) {
            return Ok(None);
        }
        // Lengths of what is not compressed are often wrong, and never needed.
        let length = length.filter(|_| self.is_compressed).unwrap_or(len as u64);
        Ok(Some(self.file.slice(offset, length)?))
    }
}

/// The colours of indices.
fn expanded<T: Into<u32>>(palette: &[u8], indices: impl Iterator<Item = T>) -> Samples {
    let n = palette.len() / 3;
    let (red, rest) = palette.split_at(n);
    let (green, blue) = rest.split_at(n);
    // An index has no more bits than the palette has places.
    let places = indices.map(|index| index.into() as usize);
    Samples::U8(
        places
            .flat_map(|place| [red[place], green[place], blue[place]])
            .collect(),
    )
}

/// Brightness in place of darkness, of whole numbers: what is measured is left as it is.
fn inverted(samples: Samples, page: &Page<'_>) -> Samples {
    let full = page.form.full();
    let step = page.layout.samples;
    match samples {
        Samples::U8(mut values) => {
            let dark = values.iter_mut().step_by(step);
            dark.for_each(|value| *value = full as u8 - *value);
            Samples::U8(values)
        }
        Samples::U16(mut values) => {
            let dark = values.iter_mut().step_by(step);
            dark.for_each(|value| *value = full as u16 - *value);
            Samples::U16(values)
        }
        measured @ Samples::F32(_) => measured,
    }
}
