//! The lock on a folder that one process writes to.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::path::Path;

use crate::error::{Error, write_error};

/// The name of the file that the process which writes to a folder holds.
pub const LOCK: &str = "run.lock";

/// A lock that this process holds; dropping it releases it.
#[derive(Debug)]
pub struct Lock {
    _file: File,
    /// Why there is none, on a disk that has no locks.
    fault: Option<io::Error>,
}

impl Lock {
    /// Takes the lock of a folder. A disk without locks, as some in networks are, is no error: [`Lock::warning`] then says so.
    ///
    /// # Errors
    /// [`Error::Locked`] while another process holds it, [`Error::File`] where it cannot be written.
    pub fn of(folder: &Path) -> Result<Self, Error> {
        let path = folder.join(LOCK);
        // Kept when the run ends: to remove it would let two processes lock two files of the same name.
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path);
        let file = file.map_err(|source| write_error(&path, source))?;
        let fault = refusal(folder, file.try_lock())?;
        Ok(Self { _file: file, fault })
    }

    /// What the user is told where the disk has no locks.
    pub fn warning(&self) -> Option<String> {
        let fault = self.fault.as_ref()?;
        Some(format!(
            "warning: the disk of the run folder has no locks ({fault}): see to it that no other process writes to this folder"
        ))
    }
}

/// Why there is no lock, where that need not keep anybody from writing.
fn refusal(folder: &Path, tried: Result<(), TryLockError>) -> Result<Option<io::Error>, Error> {
    match tried {
        Ok(()) => Ok(None),
        Err(TryLockError::WouldBlock) => Err(Error::Locked {
            path: folder.to_owned(),
        }),
        Err(TryLockError::Error(source)) if has_no_locks(&source) => Ok(Some(source)),
        Err(TryLockError::Error(source)) => Err(write_error(&folder.join(LOCK), source)),
    }
}

/// Whether an error says that there are no locks: `ENOSYS` and `EOPNOTSUPP` are of one kind, `ENOLCK` of none.
fn has_no_locks(error: &io::Error) -> bool {
    #[cfg(unix)]
    if error.raw_os_error() == Some(rustix::io::Errno::NOLCK.raw_os_error()) {
        return true;
    }
    error.kind() == ErrorKind::Unsupported
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;

    #[test]
    fn a_disk_without_locks_is_warned_of_and_any_other_fault_is_one() {
        let folder = Path::new("run");
        let tried = |errno: Errno| Err(TryLockError::Error(errno.into()));
        for errno in [Errno::NOSYS, Errno::OPNOTSUPP, Errno::NOLCK] {
            assert!(refusal(folder, tried(errno)).unwrap().is_some(), "{errno}");
        }
        for errno in [Errno::IO, Errno::INTR] {
            let error = refusal(folder, tried(errno)).unwrap_err();
            assert!(error.to_string().contains("run.lock"), "{error}");
        }
        let busy = refusal(folder, Err(TryLockError::WouldBlock));
        assert!(matches!(busy, Err(Error::Locked { .. })));
        assert!(refusal(folder, Ok(())).unwrap().is_none());
    }

    #[test]
    fn one_process_holds_the_lock_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let held = Lock::of(folder.path()).unwrap();
        assert!(held.warning().is_none());
        assert!(matches!(Lock::of(folder.path()), Err(Error::Locked { .. })));
        drop(held);
        Lock::of(folder.path()).unwrap();
    }
}
