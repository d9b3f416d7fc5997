//! Folders of images, flat or nested.

use std::borrow::Cow;
use std::io;
use std::path::Path;

use walkdir::{DirEntry, WalkDir};

use super::file::unreadable;
use super::index::{Index, why_skipped};
use super::passed_over::Reason;
use crate::Error;

/// Adds the images under a folder, sorted by name within each folder.
pub(super) fn add(index: &mut Index<'_>, folder: &Path) -> Result<(), Error> {
    let relative_from = folder.to_string_lossy().len();
    let n_passed_over = index.passed_over.total();
    let mut met_file = false;
    // Systems list folders in any order; a run needs the same one everywhere.
    let walk = WalkDir::new(folder).follow_links(true).sort_by_file_name();
    let mut walk = walk.into_iter();
    while let Some(step) = walk.next() {
        let entry = match step {
            Ok(entry) => entry,
            Err(error) => {
                met_file |= pass_fault(index, folder, error)?;
                continue;
            }
        };
        if entry.file_type().is_dir() {
            // Such as .git and @eaDir.
            if let Some(reason) = why_not_entered(&entry) {
                index.pass_over(reason);
                walk.skip_current_dir();
            }
            continue;
        }
        met_file = true;
        add_file(index, &entry, relative_from);
    }
    // Hidden folders are something, too: they are named where there are no images at all.
    if met_file || index.passed_over.total() > n_passed_over {
        Ok(())
    } else {
        Err(Error::EmptyFolder {
            path: folder.to_owned(),
        })
    }
}

/// Why a folder is passed over; never the one that was asked for, whatever its name.
fn why_not_entered(entry: &DirEntry) -> Option<Reason> {
    if entry.depth() == 0 {
        return None;
    }
    why_skipped(&entry.file_name().to_string_lossy())
}

fn add_file(index: &mut Index<'_>, entry: &DirEntry, relative_from: usize) {
    index.looked_at_one();
    if !index.takes(below(entry.path(), relative_from).as_ref()) {
        return;
    }
    if !entry.file_type().is_file() {
        index.pass_over(Reason::NotAFile);
        return;
    }
    match entry.metadata() {
        Ok(metadata) => index.add_file(entry.path(), relative_from, metadata.len()),
        Err(error) => index.add_refused(entry.path(), relative_from, &plain(error)),
    }
}

/// What the system said, without the path that is told anyway.
fn plain(error: walkdir::Error) -> io::Error {
    let kind = error
        .io_error()
        .map_or(io::ErrorKind::Other, io::Error::kind);
    error.into_io_error().unwrap_or_else(|| kind.into())
}

/// The part of a path that lies below its source.
fn below(path: &Path, relative_from: usize) -> Cow<'_, str> {
    match path.to_string_lossy() {
        Cow::Borrowed(path) => Cow::Borrowed(path.get(relative_from..).unwrap_or(path)),
        Cow::Owned(path) => Cow::Owned(path.get(relative_from..).unwrap_or(&path).to_owned()),
    }
}

/// A link to a folder above itself leads to images that the walk meets anyway, so it is counted
/// and passed over; so is a link to nothing that would be passed over by its name. Everything else that the walk
/// cannot read counts as an unreadable image, but for the folder that was asked for. Answers whether it does.
fn pass_fault(index: &mut Index<'_>, folder: &Path, error: walkdir::Error) -> Result<bool, Error> {
    if error.loop_ancestor().is_some() {
        index.pass_over(Reason::Loop);
        return Ok(false);
    }
    let path = error.path().unwrap_or(folder).to_owned();
    if error.depth() == 0 {
        return Err(unreadable(&path, plain(error)));
    }
    let is_link = path
        .symlink_metadata()
        .is_ok_and(|found| found.is_symlink());
    let relative_from = folder.to_string_lossy().len();
    if is_link && !index.takes(&below(&path, relative_from)) {
        return Ok(false);
    }
    index.add_refused(&path, relative_from, &plain(error));
    Ok(true)
}
