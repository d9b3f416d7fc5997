//! TIFF files to samples: every layout that microscopes, satellites and scanners write.
//!
//! In reading order: [`Tiff::open`] finds the pages of a file, [`Page`] says what one is, checked as a whole before anything
//! is decoded, and [`Page::read`] gives its [`Samples`].
//!
//! Directories, the places of strips and tiles, predictors, the order of bits and bytes, and types of samples are read here;
//! well-kept crates undo the compression, and whoever calls brings a decoder for pieces that are JPEGs. The `tiff` crate,
//! which could do all of it, gives wrong pixels for several layouts that are in use: see `docs/deviations.md`.
//!
//! What was left out: compressions that hardly anybody writes (LERC, LZMA, JPEG 2000, JPEG of the old kind), colours of
//! measuring devices (CIE L*a*b*, `LogLuv`, the raw data of cameras) and complex numbers. They are refused by name, with a
//! command that converts.
//!
//! ```
//! // One pixel of 8 bits.
//! let mut file = b"II*\0\x08\0\0\0\x05\0".to_vec();
//! for (tag, value) in [(256_u16, 1_u32), (257, 1), (258, 8), (273, 0), (279, 1)] {
//!     file.extend(tag.to_le_bytes());
//!     file.extend([4, 0, 1, 0, 0, 0]);
//!     file.extend(value.to_le_bytes());
//! }
//! file.extend([0; 4]);
//! let tiff = simmim_tiff::Tiff::open(&file, false)?;
//! let page = &tiff.pages()[0];
//! let samples = page.read(&|_| Err("no JPEG is expected".into()))?;
//! // The sample is the first byte of the file.
//! assert_eq!(samples, simmim_tiff::Samples::U8(vec![b'I']));
//! # Ok::<(), simmim_tiff::Error>(())
//! ```

mod codec;
mod directory;
mod error;
mod fax;
mod jpeg_piece;
mod layout;
mod page;
mod predictor;
mod read;
mod samples;

use std::collections::BTreeSet;

use directory::{Directory, File};
pub use error::Error;
pub use jpeg_piece::{Jpeg, JpegDecoder};
pub use page::{Colour, Page};
pub use samples::Samples;

/// A file whose pages are known.
#[derive(Debug)]
pub struct Tiff<'a> {
    pages: Vec<Page<'a>>,
    n_pages: usize,
}

impl<'a> Tiff<'a> {
    /// Finds the pages of a file, and reads what the first one is, or with `all` what each is.
    ///
    /// # Errors
    /// [`Error::CutShort`], [`Error::Broken`], and [`Error::Unsupported`] for a page that is not read.
    pub fn open(bytes: &'a [u8], all: bool) -> Result<Self, Error> {
        let file = File::open(bytes)?;
        let first = file.directory(file.first)?;
        let mut others = Vec::new();
        let n_pages = 1 + visit_other_pages(&first, |page| {
            if all {
                others.push(page);
            }
        });
        let mut pages = vec![Page::new(first)?];
        for other in others {
            pages.push(Page::new(other)?);
        }
        Ok(Self { pages, n_pages })
    }

    /// The pages that were asked for, at least one.
    pub fn pages(&self) -> &[Page<'a>] {
        &self.pages
    }

    /// How many pages the file has.
    pub fn n_pages(&self) -> usize {
        self.n_pages
    }
}

/// How many pages a file has: one where that cannot be told.
pub fn n_pages(bytes: &[u8]) -> usize {
    let first = File::open(bytes).and_then(|file| file.directory(file.first));
    first.map_or(1, |first| 1 + visit_other_pages(&first, |_| {}))
}

/// Shows the directories behind the first one that are pages, and counts them: smaller copies and masks are none. Where the
/// chain is broken, it ends, as the first page needs nothing of it.
fn visit_other_pages<'a>(first: &Directory<'a>, mut visit: impl FnMut(Directory<'a>)) -> usize {
    /// The bits of the tag `NewSubfileType` that stand for a smaller copy and for a mask.
    const NO_PAGE: u64 = 1 | 4;
    let mut seen = BTreeSet::from([first.file.first, 0]);
    let (mut next, mut n_pages) = (first.next, 0);
    // Directories that lie in each other would be read for hours.
    let mut n_bytes = first.file.len();
    while seen.insert(next)
        && let Ok(directory) = first.file.directory(next)
        && let Some(rest) = n_bytes.checked_sub(directory.min_len())
    {
        (next, n_bytes) = (directory.next, rest);
        if matches!(directory.number_or(254, 0), Ok(kind) if kind & NO_PAGE == 0) {
            n_pages += 1;
            visit(directory);
        }
    }
    n_pages
}

/// What no reader could make sense of.
fn broken(reason: String) -> Error {
    Error::Broken { reason }
}

/// What a file may hold and this reader does not read; `convert` is a command that makes another of it.
fn unsupported(found: String, convert: &'static str) -> Error {
    Error::Unsupported { found, convert }
}
