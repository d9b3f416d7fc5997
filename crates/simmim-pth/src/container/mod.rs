//! Where the pickle and the storages lie in a file.

mod legacy;
mod place;
mod zip;

pub(crate) use place::{Opened, Place};
pub(crate) use zip::verify;

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rawzip::{FileReader, ReaderAt};

use self::place::Source;
use crate::error::{Error, Problem, read_error, refused};

/// Opens a file of `torch.save`, whichever way it was written.
pub(crate) fn open(path: &Path) -> Result<Opened, Error> {
    let unread = read_error(path);
    let file = File::open(path).map_err(&unread)?;
    let stat = file.metadata().map_err(&unread)?;
    // Some systems open a folder like a file, and fail only when it is read.
    if stat.is_dir() {
        return Err(unread(io::ErrorKind::IsADirectory.into()));
    }
    let source = Source {
        path,
        file: Arc::new(FileReader::from(file)),
        n_bytes: stat.len(),
    };
    let mut begin = [0; 512];
    let n_read = read_begin(&source.file, &mut begin).map_err(&unread)?;
    match kind(&begin[..n_read]) {
        Kind::Zip => zip::open(&source),
        Kind::Legacy => legacy::open(&source),
        Kind::Other(found) => Err(refused(path)(Problem::NoTorch { found })),
    }
}

enum Kind {
    Zip,
    Legacy,
    Other(&'static str),
}

fn read_begin(file: &FileReader, begin: &mut [u8]) -> io::Result<usize> {
    let mut n_read = 0;
    while n_read < begin.len() {
        match file.read_at(&mut begin[n_read..], n_read as u64)? {
            0 => break,
            more => n_read += more,
        }
    }
    Ok(n_read)
}

fn kind(begin: &[u8]) -> Kind {
    if begin.starts_with(b"PK") {
        return Kind::Zip;
    }
    if begin.get(257..262) == Some(b"ustar") {
        return Kind::Other("a tar, as torch wrote it before 0.1.10");
    }
    match begin {
        [] => Kind::Other("an empty file"),
        [0x80, 2..=5, ..] => Kind::Legacy,
        [_, _, _, _, _, _, _, _, b'{', ..] => Kind::Other("a safetensors file"),
        [0x89, b'H', b'D', b'F', ..] => Kind::Other("an HDF5 file"),
        [0x1f, 0x8b, ..] => Kind::Other("a gzip file: unpack it first"),
        [b'<', ..] => Kind::Other("a web page: the download did not give the file"),
        [b'v', b'e', b'r', b's', b'i', b'o', b'n', b' ', ..] => {
            Kind::Other("a pointer of Git LFS: fetch the file that it stands for")
        }
        _ => Kind::Other("other bytes"),
    }
}
