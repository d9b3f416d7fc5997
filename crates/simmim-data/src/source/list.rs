//! Text files of image paths.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::Index;
use super::file::unreadable;
use crate::Error;

/// Adds the images that a text file names, in its order. A path named twice counts once.
pub(super) fn add(index: &mut Index, list: &Path) -> Result<(), Error> {
    let text = fs::read_to_string(list).map_err(|source| unreadable(list, source))?;
    let mut seen = HashSet::new();
    let mut named = Vec::new();
    for (line_idx, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        // An image that is listed twice would be shown twice as often.
        if seen.insert(line) {
            named.push((line_idx + 1, line));
        } else {
            index.ignore("listed twice");
        }
    }
    add_files(index, list, named.into_iter())
}

/// Adds the files that a text file names, by line and path from the folder of that file.
pub(super) fn add_files<'a>(
    index: &mut Index,
    list: &Path,
    named: impl Iterator<Item = (usize, &'a str)>,
) -> Result<(), Error> {
    let folder = list.parent().unwrap_or(Path::new(""));
    let mut first_missing: Option<(usize, PathBuf)> = None;
    let mut n_missing = 0;
    for (line, name) in named {
        let path = folder.join(name);
        match fs::metadata(&path) {
            Ok(found) if found.is_file() => {
                let relative_from = path.to_string_lossy().len() - name.len();
                index.add_file(&path, relative_from, found.len());
            }
            // Counted rather than given up at the first: one wrong folder makes a thousand missing files.
            _ => {
                n_missing += 1;
                first_missing.get_or_insert((line, path));
            }
        }
    }
    match first_missing {
        None => Ok(()),
        Some((line, path)) => Err(Error::ListedFileMissing {
            list: list.to_owned(),
            line,
            path,
            n_missing,
        }),
    }
}
