//! What can go wrong while images are packed.

use std::io;
use std::path::PathBuf;

/// Every failure of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The images cannot be found or told apart.
    #[error(transparent)]
    Data(#[from] simmim_data::Error),
    /// A file cannot be written.
    #[error(transparent)]
    File(#[from] simmim_checkpoint::Error),
    /// The operating system refused something.
    #[error("cannot write to {}", path.display())]
    Folder {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A setting that no pack can have.
    #[error("the {setting} is {found}, expected {expected}")]
    Setting {
        /// What it is called.
        setting: &'static str,
        /// What was asked for.
        found: String,
        /// What is possible.
        expected: &'static str,
    },
    /// The folder holds something else.
    #[error("{} is not empty and holds no pack", path.display())]
    NotEmpty {
        /// The folder.
        path: PathBuf,
    },
    /// The folder holds a pack that was begun otherwise.
    #[error("the pack in {} was begun with {what} {before}, and is asked for with {now}", path.display())]
    OtherPack {
        /// The folder.
        path: PathBuf,
        /// What differs.
        what: &'static str,
        /// As it was.
        before: String,
        /// As it is asked for.
        now: String,
    },
    /// The file that says what a folder holds cannot be read.
    #[error("{} is not a file that this program has written", path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// Another process is writing to the folder.
    #[error("another process is packing into {}", path.display())]
    Locked {
        /// The folder.
        path: PathBuf,
    },
    /// The disk has too little room.
    #[error("the disk of {} has {free_bytes} bytes free, and about {needed_bytes} are needed", path.display())]
    FreeSpace {
        /// The folder.
        path: PathBuf,
        /// As far as a sample of the images tells.
        needed_bytes: u64,
        /// What the system says.
        free_bytes: u64,
    },
    /// No image at all can be read.
    #[error("none of the {n_images} images can be read: {example}")]
    NoneReadable {
        /// Images of the source.
        n_images: usize,
        /// One of them, with the reason.
        example: String,
    },
}

impl Error {
    /// What the user can do about it, where there is something to say.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Data(error) => return error.hint(),
            Self::File(error) => return error.hint(),
            Self::Folder { .. } | Self::Setting { .. } | Self::NoneReadable { .. } => return None,
            Self::NotEmpty { .. } => "name another --out, or empty the folder",
            Self::OtherPack { .. } => {
                "ask for what it was begun with, name another --out, or pack anew with --overwrite"
            }
            Self::Manifest { .. } => "name another --out, or remove the folder",
            Self::Locked { .. } => "wait for it, or name another --out",
            Self::FreeSpace { .. } => {
                "name an --out on another disk, or a smaller --short-side or --quality"
            }
        };
        Some(hint.to_owned())
    }
}
