//! Images that lie in no file as they are, end to end in an unnamed temporary file.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use super::file::is_one_too_many;
use crate::Error;

/// A temporary file in the making. None is made before there is something to write.
pub(super) struct Unpacked<'a> {
    archive: &'a Path,
    /// How many archives stay open.
    n_sources: usize,
    file: Option<BufWriter<File>>,
    n_bytes: u64,
}

impl<'a> Unpacked<'a> {
    /// For what comes from `archive`, one of `n_sources`.
    pub(super) fn of(archive: &'a Path, n_sources: usize) -> Self {
        Self {
            archive,
            n_sources,
            file: None,
            n_bytes: 0,
        }
    }

    /// Writes these bytes behind the others; answers where.
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<u64, Error> {
        let mut file = match self.file.take() {
            Some(file) => file,
            None => BufWriter::new(tempfile::tempfile().map_err(|e| self.failed(e))?),
        };
        let written = file.write_all(bytes);
        self.file = Some(file);
        written.map_err(|e| self.failed(e))?;
        let offset = self.n_bytes;
        self.n_bytes += bytes.len() as u64;
        Ok(offset)
    }

    /// The bytes that were written.
    pub(super) fn n_bytes(&self) -> u64 {
        self.n_bytes
    }

    /// The file, if there is one.
    pub(super) fn into_file(mut self) -> Result<Option<File>, Error> {
        let Some(file) = self.file.take() else {
            return Ok(None);
        };
        let file = file.into_inner();
        file.map(Some)
            .map_err(|error| self.failed(error.into_error()))
    }

    fn failed(&self, source: std::io::Error) -> Error {
        // Of which the file in the making is one: more room in the temporary folder would be no help.
        if is_one_too_many(&source) {
            return Error::TooManyOpenFiles {
                path: self.archive.to_owned(),
                n_sources: self.n_sources,
                source,
            };
        }
        Error::Unpack {
            path: self.archive.to_owned(),
            into: std::env::temp_dir(),
            source,
        }
    }
}
