//! What can go wrong with a picture.

use std::path::PathBuf;

/// Why a picture could not be drawn or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file's name does not say in which format the picture is to be written.
    #[error("cannot write a picture to {}: its ending is that of no format of pictures", path.display())]
    UnknownFormat {
        /// The file.
        path: PathBuf,
    },

    /// The picture has more pixels on a side than its format can hold.
    #[error("cannot write a picture of {width} x {height} pixels to {}: {reason}", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Pixels of a row.
        width: usize,
        /// Rows.
        height: usize,
        /// What the format says.
        reason: String,
    },

    /// The file could not be written.
    #[error(transparent)]
    File(#[from] simmim_checkpoint::Error),

    /// Letters or lines could not be drawn.
    #[error("cannot draw the picture: {reason}")]
    Plot {
        /// What the drawing said.
        reason: String,
    },
}

impl Error {
    /// What the user can do about it, where there is something to say.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownFormat { .. } => Some("end its name in .png, .jpg or .jpeg".to_owned()),
            Self::TooLarge { .. } => Some("draw fewer images, or end its name in .png".to_owned()),
            Self::File(error) => error.hint(),
            Self::Plot { .. } => None,
        }
    }
}
