//! A file that is being opened, and what is found in it.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use flate2::read::DeflateDecoder;
use rawzip::{FileReader, RangeReader};

use crate::error::{Error, Problem};
use crate::tree::Tree;

/// A file that is being opened.
pub(super) struct Source<'p> {
    pub(super) path: &'p Path,
    pub(super) file: Arc<FileReader>,
    pub(super) n_bytes: u64,
}

impl Source<'_> {
    /// Says in which pickle and where something is wrong.
    pub(super) fn in_pickle(&self, pickle: &str, position: u64) -> impl Fn(Problem) -> Error {
        move |source| Error::Pickle {
            path: self.path.to_owned(),
            pickle: pickle.to_owned(),
            position,
            source,
        }
    }
}

/// What a file was found to hold.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) tree: Tree,
    pub(crate) storages: Vec<Place>,
    pub(crate) file: Arc<FileReader>,
}

/// Where the bytes of a storage lie.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// Its name, for messages.
    pub(crate) name: String,
    pub(crate) start: u64,
    /// Length in the file, and once it is unpacked.
    pub(crate) n_packed: u64,
    pub(crate) n_bytes: u64,
    pub(crate) is_packed: bool,
    /// Checksum of its bytes; none where the file has none.
    pub(crate) checksum: Option<u32>,
}

impl Place {
    /// Its bytes from the first on, unpacked.
    pub(crate) fn reader(&self, file: &Arc<FileReader>) -> Box<dyn Read> {
        let range = self.start..self.start + self.n_packed;
        let packed = RangeReader::new(Arc::clone(file), range);
        if !self.is_packed {
            return Box::new(packed);
        }
        // One byte more is let through, so that what is longer than it says is noticed.
        Box::new(DeflateDecoder::new(packed).take(self.n_bytes + 1))
    }

    /// Its bytes from `start` on. What lies before is not read, if that is possible.
    pub(crate) fn reader_from(
        &self,
        file: &Arc<FileReader>,
        start: u64,
    ) -> io::Result<Box<dyn Read>> {
        if !self.is_packed {
            let range = self.start + start..self.start + self.n_packed;
            return Ok(Box::new(RangeReader::new(Arc::clone(file), range)));
        }
        let mut reader = self.reader(file);
        io::copy(&mut reader.by_ref().take(start), &mut io::sink())?;
        Ok(reader)
    }
}
