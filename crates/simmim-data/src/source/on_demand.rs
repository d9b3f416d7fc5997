//! Archives that are open only while they are read from: of a set of thousands a process may read a part alone.

use std::collections::{HashMap, VecDeque};
use std::fs::{File, Metadata};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use super::file::{SharedFile, unreadable};
use crate::Error;

/// Archives that are open at a time, at most.
const MOST_OPEN: usize = 512;

/// What tells a file from another that has taken its place, or from itself after a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    n_bytes: u64,
    modified: Option<SystemTime>,
    node: Node,
}

/// Zeros on systems that number no files.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Node {
    device: u64,
    number: u64,
}

impl Identity {
    pub(super) fn of(found: &Metadata) -> Self {
        Self {
            n_bytes: found.len(),
            modified: found.modified().ok(),
            node: node_of(found),
        }
    }
}

#[cfg(unix)]
fn node_of(found: &Metadata) -> Node {
    use std::os::unix::fs::MetadataExt;
    Node {
        device: found.dev(),
        number: found.ino(),
    }
}

#[cfg(not(unix))]
fn node_of(_: &Metadata) -> Node {
    Node {
        device: 0,
        number: 0,
    }
}

/// The archives that are open now.
#[derive(Debug, Default)]
pub(super) struct OpenArchives(Mutex<Open>);

#[derive(Debug, Default)]
struct Open {
    by_number: HashMap<u32, Arc<SharedFile>>,
    /// The one that was opened first comes first.
    order: VecDeque<u32>,
}

impl OpenArchives {
    /// The archive of that number, which is opened if it is not.
    ///
    /// # Errors
    /// [`Error::ArchiveChanged`] where another file is there, or the file has changed since it was indexed: what would be read
    /// is another image.
    pub(super) fn get(
        &self,
        number: u32,
        path: &Path,
        expected: &Identity,
    ) -> Result<Arc<SharedFile>, Error> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = open.by_number.get(&number) {
            return Ok(Arc::clone(file));
        }
        let file = File::open(path).map_err(|source| unreadable(path, source))?;
        let found = file.metadata().map_err(|source| unreadable(path, source))?;
        if Identity::of(&found) != *expected {
            let path = path.to_owned();
            return Err(Error::ArchiveChanged { path });
        }
        let file = Arc::new(SharedFile::new(file));
        if open.order.len() == MOST_OPEN
            && let Some(oldest) = open.order.pop_front()
        {
            // Whoever reads from it has it open until that is done.
            open.by_number.remove(&oldest);
        }
        open.order.push_back(number);
        open.by_number.insert(number, Arc::clone(&file));
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_are_opened_once_up_to_a_limit_and_a_changed_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = |number: u32| folder.path().join(format!("{number}.tar"));
        let open = OpenArchives::default();
        let n = MOST_OPEN as u32 + 3;
        let mut identities = Vec::new();
        for number in 0..n {
            std::fs::write(path(number), number.to_le_bytes()).unwrap();
            identities.push(Identity::of(&path(number).metadata().unwrap()));
        }
        let get = |number: u32| open.get(number, &path(number), &identities[number as usize]);
        for number in 0..n {
            let mut bytes = [0; 4];
            let file = get(number).unwrap();
            file.read_exact_at(&mut bytes, 0).unwrap();
            assert_eq!(u32::from_le_bytes(bytes), number);
            assert!(Arc::ptr_eq(&file, &get(number).unwrap()));
        }
        assert_eq!(open.0.lock().unwrap().by_number.len(), MOST_OPEN);
        // The first ones are closed by now.
        std::fs::write(path(0), b"longer than before").unwrap();
        let refused = get(0).unwrap_err();
        assert!(matches!(refused, Error::ArchiveChanged { .. }), "{refused}");
    }
}
