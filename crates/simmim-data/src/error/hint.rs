//! What the user can do about a failure.

use super::Error;
use crate::report::BadImage;

impl Error {
    /// What the user can do about it, where there is something to say.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NotFound { .. } => "check the path; a relative path starts at the current folder",
            Self::UnknownSource { .. } => {
                "give the folder that holds the images, or rename the file to its true extension"
            }
            Self::NoMatch { .. } => "quote the pattern so that the shell leaves it alone",
            Self::NoImages { .. } => {
                "images are known by extension: jpg, jpeg, jpe, jfif, png, webp, bmp, gif, tif, tiff"
            }
            Self::ListedFileMissing { .. } => "paths in a list start at the folder of the list",
            Self::ArchiveCut { .. } => "the archive is incomplete: copy or download it again",
            Self::Unpack { .. } => {
                "a compressed archive is unpacked once: set TMPDIR to a folder with room, or use a plain .tar"
            }
            Self::Channels { .. } => {
                "set the number of channels of the model to that of the images"
            }
            Self::TooManyPixels { .. } | Self::TooManyBands { .. } => {
                "make the image smaller, or raise data.max_pixels: memory is taken for the whole image"
            }
            Self::TooFewImages { .. } => "use a smaller batch, or hold out fewer images",
            Self::TooManyBad { examples, .. } => {
                let own = hint_of(examples).unwrap_or("remove or repair these files");
                return Some(format!("{own}; or raise the limit (data.max_bad)"));
            }
            Self::NoReadableImage { examples, .. } => hint_of(examples).unwrap_or(
                "open one of these files with an image viewer: it is empty, damaged, or of another kind than its name says",
            ),
            Self::RandAugment { .. } => "the published setting is rand-m9-mstd0.5-inc1",
            Self::BatchDivision { .. } => {
                "choose a batch size that is a multiple of processes x micro-batches"
            }
            _ => return self.hint_of_labels().map(str::to_owned),
        };
        Some(hint.to_owned())
    }

    /// The same for what is wrong with labels.
    fn hint_of_labels(&self) -> Option<&'static str> {
        Some(match self {
            Self::ImagesBesideClasses { .. } => {
                "move these images into the folders of their classes, or out of the data set"
            }
            Self::NoClassFolders { .. } => {
                "put the images of each class into a folder of its own, or list them in a .csv: path,label"
            }
            Self::NestedClasses { .. } => {
                "give the folder whose folders are the classes, or list the images in a .csv: path,label"
            }
            Self::ClassWithoutImages { .. } => {
                "remove the folder, or put the images of its class into it"
            }
            Self::OneClass { .. } => {
                "give the folder that holds the folders of the classes, at least two"
            }
            Self::TooManyClasses { .. } => {
                "labels are names of classes: neither file names nor measurements"
            }
            Self::ClassNotTrained { .. } => {
                "use the same class names in both parts, or remove the class from the held-out images"
            }
            Self::NoLabels { .. } => {
                "write each image's label into the column `label` of the table"
            }
            Self::PartWithoutImages { .. } => {
                "put images into that part, or do not divide them: then a share of each class is held out"
            }
            Self::DuplicateImage { .. } => {
                "name each image once: where two paths or patterns hold the same images, leave out one"
            }
            Self::Table { .. } => {
                "a table is UTF-8 text with as many values on each line as the first one names columns; a value with a comma \
                 stands in double quotes"
            }
            Self::TableEmpty { .. } => "write a line for each image below that of the columns",
            Self::ListedTwice { .. } => {
                "remove one of the two lines; an image with several labels has them in one, as in cat;dog"
            }
            Self::UnknownPart { .. } => {
                "write train or val on every line, or leave out the column `split`"
            }
            Self::SubsetShare { .. } => "0.1 stands for a tenth of each class",
            Self::TableColumns { .. } => "the first line names the columns, separated by commas",
            Self::LabelMissing { .. } => {
                "images may be without a label only where others have several, as in cat;dog"
            }
            _ => return None,
        })
    }
}

/// What can be done about the first unreadable image of which something is known.
fn hint_of(examples: &[BadImage]) -> Option<&str> {
    examples.iter().find_map(|image| image.hint.as_deref())
}
