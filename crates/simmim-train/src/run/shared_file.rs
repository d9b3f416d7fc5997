//! A file of rank 0 that every rank reads.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use simmim_collective::{Collective, agree, on_first};
use tempfile::{NamedTempFile, TempPath};

use crate::error::{Error, read_error, write_error};

/// Bytes that are sent at a time.
const CHUNK_BYTES: u64 = 64 << 20;

/// A file of rank 0: the file itself there, on other ranks a copy that is removed when this is dropped. So a run needs no
/// disk that all machines share.
#[derive(Debug)]
pub(crate) struct SharedFile {
    path: PathBuf,
    _copy: Option<TempPath>,
}

impl SharedFile {
    /// Hands the file at `path` on rank 0 to all ranks; none where rank 0 has none. The paths of the other ranks are not
    /// looked at.
    ///
    /// # Errors
    /// [`Error::File`] when it cannot be read or a copy cannot be written; [`Error::Ranks`].
    pub(crate) fn of(
        collective: &dyn Collective,
        path: Option<&Path>,
    ) -> Result<Option<Self>, Error> {
        let mut is_there = vec![u8::from(path.is_some())];
        collective.broadcast(&mut is_there)?;
        if is_there == [0] {
            return Ok(None);
        }
        let own = path.filter(|_| collective.is_first());
        if let (Some(path), true) = (own, collective.is_alone()) {
            let path = path.to_owned();
            return Ok(Some(Self { path, _copy: None }));
        }
        let mut end = agree(collective, End::open(own))?;
        // In chunks, as a checkpoint can be larger than memory has room for. An empty one ends it.
        loop {
            let mut chunk = agree(collective, end.read())?;
            collective.broadcast(&mut chunk)?;
            if chunk.is_empty() {
                return Ok(Some(end.close()));
            }
            agree(collective, end.write(&chunk))?;
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// What rank 0 finds, on every rank.
///
/// # Errors
/// What rank 0 has met, on every rank; [`Error::Ranks`].
pub(crate) fn told_by_first(
    collective: &dyn Collective,
    find: impl FnOnce() -> Result<bool, Error>,
) -> Result<bool, Error> {
    let own = on_first(collective, find)?.unwrap_or_default();
    let mut found = vec![u8::from(own)];
    collective.broadcast(&mut found)?;
    Ok(found == [1])
}

/// One rank's end of a transfer: it reads, or it writes.
enum End {
    From { path: PathBuf, file: File },
    To(NamedTempFile),
}

impl End {
    /// Reads where a path is given, else writes a copy.
    fn open(path: Option<&Path>) -> Result<Self, Error> {
        if let Some(path) = path {
            let file = File::open(path).map_err(|source| read_error(path, source))?;
            let path = path.to_owned();
            return Ok(Self::From { path, file });
        }
        let folder = std::env::temp_dir();
        let file = NamedTempFile::new().map_err(|source| write_error(&folder, source))?;
        Ok(Self::To(file))
    }

    fn read(&mut self) -> Result<Vec<u8>, Error> {
        let mut chunk = Vec::new();
        if let Self::From { path, file } = self {
            let read = file.take(CHUNK_BYTES).read_to_end(&mut chunk);
            read.map_err(|source| read_error(path, source))?;
        }
        Ok(chunk)
    }

    fn write(&mut self, chunk: &[u8]) -> Result<(), Error> {
        match self {
            Self::From { .. } => Ok(()),
            Self::To(file) => {
                let written = file.write_all(chunk);
                written.map_err(|source| write_error(file.path(), source))
            }
        }
    }

    fn close(self) -> SharedFile {
        match self {
            Self::From { path, .. } => SharedFile { path, _copy: None },
            Self::To(file) => {
                let copy = file.into_temp_path();
                SharedFile {
                    path: copy.to_path_buf(),
                    _copy: Some(copy),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use simmim_collective::{Alone, ThreadRank};

    #[test]
    fn every_rank_reads_the_file_of_rank_0() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights");
        std::fs::write(&path, b"of rank 0").unwrap();
        let read = |shared: Option<SharedFile>| std::fs::read(shared.unwrap().path()).unwrap();
        let found = ThreadRank::run(3, |rank| {
            let own = rank.is_first().then_some(path.as_path());
            read(SharedFile::of(rank, own).unwrap())
        });
        assert!(found.iter().all(|bytes| bytes == b"of rank 0"), "{found:?}");
        assert_eq!(
            read(SharedFile::of(&Alone, Some(&path)).unwrap()),
            b"of rank 0"
        );
    }

    #[test]
    fn a_file_that_rank_0_cannot_read_is_an_error_everywhere() {
        let gone = Path::new("/no/such/file");
        let found = ThreadRank::run(2, |rank| SharedFile::of(rank, Some(gone)).map(|_| ()));
        let said: Vec<String> = found
            .into_iter()
            .map(|own| own.unwrap_err().to_string())
            .collect();
        assert!(
            said.iter().all(|text| text.contains("/no/such/file")),
            "{said:?}"
        );
        assert!(said[1].contains("rank 0"), "{said:?}");
        let none = ThreadRank::run(2, |rank| SharedFile::of(rank, None).unwrap().is_none());
        assert_eq!(none, [true, true]);
    }
}
