//! The room that a disk has.

use std::path::Path;

/// Bytes that this user may still write to the disk of `path`; `None` where the system does not say.
#[cfg(unix)]
pub fn free_bytes(path: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(path).ok()?;
    // Not `f_bfree`, which counts the blocks that are kept for the superuser.
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Bytes that this user may still write to the disk of `path`; `None` where the system does not say.
#[cfg(not(unix))]
pub fn free_bytes(_path: &Path) -> Option<u64> {
    None
}
