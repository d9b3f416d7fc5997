//! What a user should know of a source of labels.

use std::fmt;

/// Something that is no fault, and that a user should know of a source of labels.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Remark {
    /// A part to measure on at the very end, of which no image is among those of the set.
    TestUnused {
        /// The folder, or the part of the table.
        part: String,
        /// How many images it has.
        n_images: usize,
    },
    /// A folder beside those of the parts, of which no image is among those of the set.
    FolderUnused {
        /// The folder.
        folder: String,
        /// How many images it has.
        n_images: usize,
        /// The folder that the held-out images are in.
        held_out: String,
    },
    /// Folders that are called as parts of a data set are, and hold images directly: they are classes.
    PartsAsClasses {
        /// The folders.
        names: String,
    },
    /// Columns of a table that are not read.
    ColumnsUnread {
        /// Their names.
        names: String,
    },
    /// Columns of a table that are taken for classes.
    OneHot {
        /// How many.
        n_columns: usize,
    },
    /// Labels are those of the files beside the images of an archive.
    Beside,
    /// Labels with a sign in them that elsewhere separates labels.
    Bars {
        /// One of them.
        label: String,
    },
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TestUnused { part, n_images } => {
                write!(f, "{part} is left alone ({n_images} images)")
            }
            Self::FolderUnused {
                folder,
                n_images,
                held_out,
            } => write!(
                f,
                "{folder} is used for nothing ({n_images} images): the held-out images are those of {held_out}"
            ),
            Self::PartsAsClasses { names } => write!(
                f,
                "{names}: taken for classes as the folders beside them are, because images lie directly in them"
            ),
            Self::ColumnsUnread { names } => write!(f, "columns that are not read: {names}"),
            Self::OneHot { n_columns } => write!(
                f,
                "no column of labels: {n_columns} columns of 0 and 1 are taken for a class each"
            ),
            Self::Beside => {
                f.write_str("labels are those of the .cls and .json files beside the images")
            }
            Self::Bars { label } => write!(
                f,
                "the label {label} is taken for the name of one class: several labels of an image are separated by semicolons"
            ),
        }
    }
}
