//! Text files of image paths.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::index::Index;
use super::inside::Inside;
use super::named::{Finder, ListFault};
use super::passed_over::Reason;
use super::text::read_text;
use crate::Error;
use crate::content::Content;

/// Adds the images that a text file names, in its order. A path named twice counts once.
pub(super) fn add(index: &mut Index<'_>, list: &Path) -> Result<(), Error> {
    let text = read_text(list)?;
    if let Some(found @ (Content::LfsPointer | Content::WebPage)) = Content::of(text.as_bytes()) {
        return Err(Error::OtherContent {
            path: list.to_owned(),
            found,
            expected: "a list of paths",
        });
    }
    let mut seen = HashSet::new();
    let mut named = Vec::new();
    let mut n_comments = 0;
    for (line_idx, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        if line.starts_with('#') {
            n_comments += 1;
            continue;
        }
        // An image that is listed twice would be shown twice as often.
        if seen.insert(line) {
            named.push((line_idx + 1, line));
        } else {
            index.pass_over(Reason::ListedTwice);
        }
    }
    if named.is_empty() {
        return Err(Error::EmptyList {
            list: list.to_owned(),
            n_comments,
        });
    }
    // Of millions of lines it takes as much as their paths.
    drop(seen);
    add_files(index, list, named.into_iter())
}

/// The first name of a list that stands for no file.
struct Missing {
    line: usize,
    path: PathBuf,
    fault: Option<ListFault>,
}

/// Adds the files that a text file names, by line and path from the folder of that file.
pub(super) fn add_files<'a>(
    index: &mut Index<'_>,
    list: &Path,
    named: impl Iterator<Item = (usize, &'a str)>,
) -> Result<(), Error> {
    let folder = list.parent().unwrap_or(Path::new(""));
    let mut finder = Finder::new(folder);
    let mut inside = Inside::default();
    let mut first_missing = None;
    let mut n_missing = 0;
    for (line, name) in named {
        index.looked_at_one();
        // Counted rather than given up at the first: one wrong folder makes a thousand missing files.
        let Some(found) = finder.find(name) else {
            if let Some(entry) = inside.find(index, &mut finder, name)? {
                index.entries.push(entry);
                continue;
            }
            n_missing += 1;
            first_missing.get_or_insert_with(|| Missing {
                line,
                path: folder.join(name),
                fault: finder.fault(name),
            });
            continue;
        };
        index.add_file(&found.path, found.relative_from, found.size_bytes);
    }
    match first_missing {
        None => Ok(()),
        Some(Missing { line, path, fault }) => Err(Error::ListedFileMissing {
            list: list.to_owned(),
            line,
            path,
            n_missing,
            fault,
        }),
    }
}
