//! The sample photographs that are in the binary; `samples/README.md` of the repository credits them.

use std::fs;
use std::path::Path;

/// Name and bytes of each, sorted by name.
static PHOTOS: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/photos.rs"));

/// The bytes of the first of them.
pub(crate) fn first() -> &'static [u8] {
    PHOTOS[0].1
}

/// How many there are.
pub(crate) fn count() -> usize {
    PHOTOS.len()
}

/// Writes all of them to a folder, which is made where it does not exist.
///
/// # Errors
/// When the folder or one of the files cannot be written.
pub(crate) fn unpack(folder: &Path) -> Result<(), simmim_checkpoint::Error> {
    let failed = |source| simmim_checkpoint::Error::Write {
        path: folder.to_owned(),
        source,
    };
    fs::create_dir_all(folder).map_err(failed)?;
    for (name, bytes) in PHOTOS {
        let path = folder.join(name);
        fs::write(&path, bytes)
            .map_err(|source| simmim_checkpoint::Error::Write { path, source })?;
    }
    Ok(())
}
