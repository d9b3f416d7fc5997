//! The replacement of a file as one act.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use tempfile::{Builder, NamedTempFile};

use crate::Error;
use crate::error::{read_error, write_error};

/// How the name of every temporary file of this crate starts.
pub const TEMPORARY_PREFIX: &str = ".simmim-partial-";

/// Replaces the file at `path` by what `write` writes, or leaves everything as it was.
///
/// The bytes go to a temporary file in the same folder, are forced to the disk, and the file is renamed into
/// place; then the folder is forced to the disk too. A reader sees the old file or the new one. If anything
/// fails the temporary file is removed and the old file is untouched. A symbolic link at `path` is replaced, not
/// followed.
///
/// # Errors
/// [`Error::Write`] with the operating system's reason: no such folder, no permission, disk full.
pub fn write_atomic(
    path: &Path,
    write: impl FnOnce(&mut (dyn Write + Send)) -> io::Result<()>,
) -> Result<(), Error> {
    replace(path, |file| write(file).map_err(write_error(path)))
}

/// Replaces the file at `path` by `bytes`, or leaves everything as it was. See [`write_atomic`].
///
/// # Errors
/// [`Error::Write`] with the operating system's reason.
pub fn write_bytes_atomic(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    write_atomic(path, |writer| writer.write_all(bytes))
}

/// Removes the temporary files that a killed process left in `folder`; says how many there were.
///
/// Call it only where no other process is writing: a run does so once it holds the lock of its folder.
///
/// # Errors
/// [`Error::Read`] where the folder cannot be listed, [`Error::Write`] where a file cannot be removed.
pub fn remove_leftovers(folder: &Path) -> Result<usize, Error> {
    let unlisted = read_error(folder);
    let mut n_removed = 0;
    for entry in fs::read_dir(folder).map_err(&unlisted)? {
        let entry = entry.map_err(&unlisted)?;
        let is_ours = entry
            .file_name()
            .to_string_lossy()
            .starts_with(TEMPORARY_PREFIX);
        if is_ours {
            fs::remove_file(entry.path()).map_err(write_error(&entry.path()))?;
            n_removed += 1;
        }
    }
    Ok(n_removed)
}

/// As [`write_atomic`], for what is written with going back, or can fail for reasons of its own.
pub(crate) fn replace(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<&mut File>) -> Result<(), Error>,
) -> Result<(), Error> {
    let failed = write_error(path);
    // Dropped before `settle`, the temporary file removes itself.
    let mut temporary = temporary_beside(path).map_err(&failed)?;
    let mut writer = BufWriter::with_capacity(1 << 16, temporary.as_file_mut());
    write(&mut writer)?;
    // Not left to the drop, which would swallow the error of a full disk.
    writer.flush().map_err(&failed)?;
    drop(writer);
    settle(temporary, path).map_err(&failed)
}

fn temporary_beside(path: &Path) -> io::Result<NamedTempFile> {
    // Renaming onto a folder fails on some systems only, and late.
    if path.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    let mut builder = Builder::new();
    builder.prefix(TEMPORARY_PREFIX);
    // A temporary file is private unless told otherwise; this one becomes an ordinary file, under the umask.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(folder_of(path))
}

/// Forces the file to the disk and gives it its name.
fn settle(temporary: NamedTempFile, path: &Path) -> io::Result<()> {
    // Before the renaming: else a power cut could leave the new name with nothing behind it.
    temporary.as_file().sync_all()?;
    temporary.persist(path).map_err(|error| error.error)?;
    sync_folder(folder_of(path))
}

/// The folder of a file; a bare name has an empty parent, which cannot be opened.
fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Makes the renaming itself last. Only Unix lets a folder be opened and forced to the disk.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_created_and_then_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        write_bytes_atomic(&path, b"first, and longer").unwrap();
        write_bytes_atomic(&path, b"second").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(names(folder.path()), ["config.toml"]);
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_no_temporary_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights");
        write_bytes_atomic(&path, b"old").unwrap();
        let error = write_atomic(&path, |writer| {
            writer.write_all(&vec![0; 100_000])?;
            Err(io::ErrorKind::StorageFull.into())
        })
        .unwrap_err();
        assert!(error.hint().unwrap().contains("full"));
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(folder.path()), ["weights"]);
    }

    #[test]
    fn a_missing_folder_is_an_error_that_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let error = write_bytes_atomic(&folder.path().join("absent/file"), b"x").unwrap_err();
        assert!(error.hint().unwrap().contains("create the folder"));
    }

    #[test]
    fn a_folder_is_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        assert!(write_bytes_atomic(folder.path(), b"x").is_err());
        assert!(names(folder.path()).is_empty());
    }

    #[test]
    fn leftovers_of_a_killed_process_are_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(".simmim-partial-a1b2c3"), b"half").unwrap();
        fs::write(folder.path().join("keep"), b"whole").unwrap();
        assert_eq!(remove_leftovers(folder.path()).unwrap(), 1);
        assert_eq!(names(folder.path()), ["keep"]);
    }

    #[cfg(unix)]
    #[test]
    fn others_may_read_the_file_as_far_as_the_umask_lets_them() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let (ours, plain) = (folder.path().join("ours"), folder.path().join("plain"));
        write_bytes_atomic(&ours, b"x").unwrap();
        fs::write(&plain, b"x").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&ours), mode(&plain));
    }
}
