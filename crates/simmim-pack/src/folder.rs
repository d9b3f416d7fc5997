//! The folder that shards are written to.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use simmim_checkpoint::{TEMPORARY_PREFIX, free_bytes, remove_leftovers};
use simmim_data::{MANIFEST, TABLE};

use crate::error::Error;
use crate::manifest::Manifest;
use crate::shard;
use crate::table::UNREADABLE;

/// The file that the process which writes to a folder holds.
const LOCK: &str = "pack.lock";

/// A folder that this process alone writes to.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    _lock: File,
}

impl Folder {
    /// Makes the folder if need be, and takes it.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::Folder {
            path: path.to_owned(),
            source,
        };
        fs::create_dir_all(path).map_err(failed)?;
        refuse_strangers(path)?;
        let mut options = OpenOptions::new();
        let options = options.write(true).create(true).truncate(false);
        let lock = options.open(path.join(LOCK)).map_err(failed)?;
        // A disk without locks cannot keep another process away, and need not keep this one.
        if let Err(TryLockError::WouldBlock) = lock.try_lock() {
            return Err(Error::Locked {
                path: path.to_owned(),
            });
        }
        remove_leftovers(path)?;
        Ok(Self {
            path: path.to_owned(),
            _lock: lock,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What was written before of what is `asked` for; with `overwrite` what was written before is removed.
    pub(crate) fn begin(&self, asked: Manifest, overwrite: bool) -> Result<Manifest, Error> {
        let before = Manifest::read(&self.path)?;
        let manifest = match before {
            Some(before) if overwrite => {
                self.remove(&before)?;
                asked
            }
            Some(mut before) => {
                before.require_same(&asked, &self.path)?;
                before.keep_intact(&self.path);
                before
            }
            None => asked,
        };
        if !manifest.finished {
            // From here on the folder is known as one of a pack.
            manifest.write(&self.path)?;
        }
        Ok(manifest)
    }

    /// Removes what a pack has written, and nothing else. What says so goes last.
    fn remove(&self, manifest: &Manifest) -> Result<(), Error> {
        // One more than are listed: it may have got its name before it was listed.
        let shards = (0..=manifest.shards.len()).map(|idx| shard::name(&manifest.settings, idx));
        let others = [UNREADABLE, TABLE, MANIFEST].map(str::to_owned);
        for name in shards.chain(others) {
            let path = self.path.join(&name);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::Folder {
                        path,
                        source: error,
                    });
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Refuses a disk without room for `needed_bytes` more. Passes where the system does not say.
    pub(crate) fn require_room(&self, needed_bytes: u64) -> Result<(), Error> {
        match free_bytes(&self.path) {
            Some(free) if free < needed_bytes => Err(Error::FreeSpace {
                path: self.path.clone(),
                needed_bytes,
                free_bytes: free,
            }),
            _ => Ok(()),
        }
    }
}

/// Refuses a folder with something in it that no pack has written.
fn refuse_strangers(path: &Path) -> Result<(), Error> {
    if path.join(MANIFEST).exists() {
        return Ok(());
    }
    let failed = |source| Error::Folder {
        path: path.to_owned(),
        source,
    };
    let mut names = HashSet::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        names.insert(entry.map_err(failed)?.file_name());
    }
    let is_own = |name: &std::ffi::OsString| {
        let name = name.to_string_lossy();
        name == LOCK || name.starts_with(TEMPORARY_PREFIX)
    };
    if names.iter().all(is_own) {
        return Ok(());
    }
    Err(Error::NotEmpty {
        path: path.to_owned(),
    })
}
