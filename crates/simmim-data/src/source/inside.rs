//! Members of archives that a list or a table names: `shard.tar:0001.jpg`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::index::{Entry, Index, Place};
use super::members::plain;
use super::named::Finder;
use crate::Error;

/// The endings of archives, in lower case.
const ENDINGS: [&str; 3] = [".tar", ".tar.gz", ".tgz"];

/// The archives that were named so far, each indexed once.
#[derive(Default)]
pub(super) struct Inside {
    archives: HashMap<PathBuf, HashMap<String, Entry>>,
}

impl Inside {
    /// The member that a name stands for; `None` where there is no such archive, or nothing of that name in it.
    ///
    /// # Errors
    /// Those of an archive that cannot be read.
    pub(super) fn find(
        &mut self,
        index: &mut Index<'_>,
        finder: &mut Finder<'_>,
        name: &str,
    ) -> Result<Option<Entry>, Error> {
        let Some((archive, member)) = split(name) else {
            return Ok(None);
        };
        let Some(found) = finder.find(archive) else {
            return Ok(None);
        };
        if !self.archives.contains_key(&found.path) {
            let members = members_of(index, &found.path)?;
            self.archives.insert(found.path.clone(), members);
        }
        let members = &self.archives[&found.path];
        Ok(members.get(&plain(&member.replace('\\', "/"))).cloned())
    }
}

/// A name as those of an archive and of a member.
pub(super) fn split(name: &str) -> Option<(&str, &str)> {
    let mut places = name.match_indices(':').map(|(at, _)| name.split_at(at));
    let is_archive = |archive: &str| {
        let archive = archive.to_ascii_lowercase();
        ENDINGS.iter().any(|ending| archive.ends_with(ending))
    };
    let (archive, member) = places.find(|(archive, _)| is_archive(archive))?;
    Some((archive, member.trim_start_matches(':')))
}

/// The images of an archive by their names in it; its files go to those that `index` has open.
fn members_of(index: &mut Index<'_>, path: &Path) -> Result<HashMap<String, Entry>, Error> {
    let n_before = index.archives.len() as u32;
    let mut own = Index::default();
    own.n_sources = n_before as usize + 1;
    super::add_path(&mut own, path)?;
    index.archives.append(&mut own.archives);
    let moved = |mut entry: Entry| {
        if let Place::Piece { archive_idx, .. } = &mut entry.place {
            *archive_idx += n_before;
        }
        (plain(entry.relative_name()), entry)
    };
    Ok(own.entries.into_iter().map(moved).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_an_archive_is_taken_apart_and_no_other() {
        assert_eq!(split("a/s.tar:b/0.png"), Some(("a/s.tar", "b/0.png")));
        assert_eq!(split("s.TAR.GZ:0:1.png"), Some(("s.TAR.GZ", "0:1.png")));
        assert_eq!(split("C:\\s.tgz:0.png"), Some(("C:\\s.tgz", "0.png")));
        assert_eq!(split("a:b/s.tar"), None);
        assert_eq!(split("a:b.png"), None);
    }
}
