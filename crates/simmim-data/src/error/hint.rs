//! What the user can do about a failure.

use std::path::Path;

use super::Error;
use crate::content::Content;
use crate::report::BadImage;
use crate::source::ListFault;

/// About a file that holds no whole image.
const DAMAGED: &str = "open the file with an image viewer: it is empty, damaged, or of another kind than its name says";

/// Whether the shell has left a tilde in a path.
fn has_tilde(path: &Path) -> bool {
    let mut parts = path.components();
    parts.any(|part| part.as_os_str().as_encoded_bytes().starts_with(b"~"))
}

/// What can be done about the first unreadable image of which something is known.
fn hint_of(examples: &[BadImage]) -> Option<&str> {
    examples.iter().find_map(|image| image.hint.as_deref())
}

/// What to do about more unreadable images than are allowed.
fn hint_of_too_many(examples: &[BadImage]) -> String {
    let own = hint_of(examples).filter(|own| *own != DAMAGED);
    let own = own.unwrap_or("remove or repair these files");
    format!("{own}, or raise the limit (data.max_bad)")
}

/// What to do about a name in a list or a table that stands for no file.
fn hint_of_list(fault: Option<&ListFault>) -> String {
    let hint = match fault {
        None => "paths in a list start at the folder of the list",
        Some(ListFault::Quotes) => "the quotes are read as a part of the name: remove them",
        Some(ListFault::MoreColumns { path }) => {
            return format!(
                "`{path}` is a file, and what stands behind it is no part of a path: a list has one path a line and nothing else; \
                 labels stand in a table (.csv) with the columns path,label"
            );
        }
        Some(ListFault::OtherCase { found }) => {
            return format!(
                "there is a file `{found}`: capital and small letters are not the same"
            );
        }
        Some(ListFault::Backslashes) => {
            "a path is written with slashes (/); with backslashes it is looked for in both ways, from the folder of the list"
        }
        Some(ListFault::WebAddress) => {
            "images are not fetched from the web: download them, and list the files"
        }
        Some(ListFault::Tilde) => {
            "a tilde is not replaced in a list: write the path of the home folder in full"
        }
        Some(ListFault::Member) => {
            "the archive has no image of that name: `tar -tf ARCHIVE` lists its members"
        }
        Some(ListFault::Folder) => {
            "a list names single images: give a folder or an archive itself, several of them separated by commas"
        }
    };
    hint.to_owned()
}

impl Error {
    /// What the user can do about it, where there is something to say.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::PackUnfinished { .. } => {
                "give the same `simmim pack` once more: it goes on where it stopped; or give its shards themselves, as in \
                 'FOLDER/*.tar'"
            }
            Self::SurveyLine { .. } => "name another file, or remove this one to look at all images again",
            Self::PackManifest { .. } => {
                "give the shards themselves, as in 'FOLDER/*.tar', or pack the images again with --overwrite"
            }
            Self::NotFound { path } if has_tilde(path) => {
                "the shell puts your home in the place of ~ only where it begins a word: write --data ~/FOLDER, or $HOME/FOLDER"
            }
            Self::NotFound { .. } => "check the path; a relative path starts at the current folder",
            Self::UnknownSource { .. } => {
                "give the folder that holds the images, or rename the file to its true extension"
            }
            Self::OtherContent { found, .. } => found.way_out(),
            Self::TooManyOpenFiles { n_sources, .. } => {
                return Some(format!(
                    "allow more: run `ulimit -n {}` in the shell first, or use fewer and larger archives",
                    (n_sources + 100).next_power_of_two()
                ));
            }
            Self::ArchiveChanged { .. } => {
                "leave archives alone while a run reads from them, and start the run again"
            }
            Self::NoShard { .. } => {
                "pack the images into archives (`simmim pack`), or leave `data.shuffle` at \"images\""
            }
            Self::NotText { .. } => "save the file as UTF-8",
            Self::NoMatch { pattern } if pattern.contains('[') => {
                "in a pattern, [2024] stands for one of these characters; a folder whose name has brackets is taken as it is where \
                 it exists"
            }
            Self::NoMatch { .. } => "quote the pattern so that the shell leaves it alone",
            Self::NoImages { passed_over, .. } => passed_over.way(),
            Self::EmptyList { .. } => {
                "write one path a line; a file whose name begins with # is written as ./#NAME"
            }
            Self::ListedFileMissing { fault, .. } => return Some(hint_of_list(fault.as_ref())),
            Self::Archive { .. } => {
                "the archive is damaged, or something else than its name says: test it with `tar -tf` or `gzip -t`, and copy or \
                 download it again"
            }
            Self::ArchiveCut { .. } => "the archive is incomplete: copy or download it again",
            Self::Unpack { .. } => {
                "a compressed archive is unpacked once: set TMPDIR to a folder with room, or use a plain .tar"
            }
            Self::JpegKind { .. } => {
                "save it again as an ordinary JPEG or a PNG, for example with ImageMagick: convert in.jpg out.png"
            }
            Self::TooFewImages { .. } => "use a smaller batch, or hold out fewer images",
            Self::TooManyBad { examples, .. } => return Some(hint_of_too_many(examples)),
            Self::UnknownFormat { found, .. } => {
                found.map_or(DAMAGED, Content::way_out)
            }
            Self::CutShort { .. } => DAMAGED,
            Self::NoReadableImage { examples, .. } => hint_of(examples).unwrap_or(
                "the reason stands behind each name; an image converted to PNG of 8 or 16 bits is always read",
            ),
            Self::RandAugment { .. } => "the published setting is rand-m9-mstd0.5-inc1",
            Self::BatchDivision { .. } => {
                "choose a batch size that is a multiple of processes x micro-batches"
            }
            _ => return self.hint_of_image().or(self.hint_of_labels().map(str::to_owned)),
        };
        Some(hint.to_owned())
    }

    /// The same for what an image holds.
    fn hint_of_image(&self) -> Option<String> {
        let hint = match self {
            Self::Unsupported { convert, .. } => {
                return Some(format!("convert it, for example with `{convert}`"));
            }
            Self::Pages { .. } => {
                "set data.pages to \"channels\" to read all pages as the channels of one image"
            }
            Self::UnequalPages { .. } => "set data.pages to \"first\" to read the first page alone",
            Self::Memory { .. } => {
                "lower data.max_pixels, so that such an image counts as unreadable"
            }
            Self::Channels { .. } => {
                "set the number of channels of the model to that of the images"
            }
            Self::TooManyPixels { .. } | Self::TooManyBands { .. } => {
                "make the image smaller, or raise data.max_pixels: memory is taken for the whole image"
            }
            _ => return None,
        };
        Some(hint.to_owned())
    }

    /// The same for what is wrong with labels.
    fn hint_of_labels(&self) -> Option<&'static str> {
        Some(match self {
            Self::ImagesBesideClasses { .. } => {
                "move these images into the folders of their classes, or out of the data set"
            }
            Self::FolderOfImages { .. } => {
                "for a classifier, put the images of each class into a folder of its own, in each part (train/cat/..., val/cat/...), \
                 or list the images in a .csv: path,label,split"
            }
            Self::NoSuchPart { part: "train", .. } => {
                "name the folder of training images train, or give the folder whose folders are the classes"
            }
            Self::NoSuchPart { .. } => {
                "name the folder of held-out images val (or valid, validation, dev, eval, test), or move the other folders out: \
                 then a share of each class is held out"
            }
            Self::TwoTrainingParts { .. } => {
                "keep one of them, or put all training images into one"
            }
            Self::NoClassFolders { .. } => {
                "put the images of each class into a folder of its own, or list them in a .csv: path,label; in an archive, a .cls beside \
                 each image may state its class"
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
                "labels are names of classes: neither file names nor measurements; where there are as many, allow them: \
                 finetune.max_classes, or --max-classes"
            }
            Self::ClassNotTrained { .. } => {
                "use the same class names in both parts, or remove the class from the held-out images"
            }
            Self::PartWithoutImages { .. } => {
                "put images into that part, or do not divide them: then a share of each class is held out"
            }
            Self::LabelFile { .. } | Self::NoLabelBeside { .. } => {
                "each image of a sample has a .cls with the number or the name of its class, or a .json with the key `label`; or list the \
                 images in a .csv: shard.tar:0001.jpg,cat"
            }
            Self::DuplicateImage { .. } => {
                "name each image once: where two paths or patterns hold the same images, leave out one"
            }
            Self::SubsetShare { .. } => "0.1 stands for a tenth of each class",
            _ => return self.hint_of_tables(),
        })
    }

    /// The same for what is wrong with a table of labels.
    fn hint_of_tables(&self) -> Option<&'static str> {
        Some(match self {
            Self::NoLabels { .. } => {
                "write each image's label into the column `label` of the table"
            }
            Self::RowLength { .. } => {
                "each line has as many values as the first one names columns; a value with a comma, a semicolon or a line break in it \
                 stands in double quotes"
            }
            Self::Table { .. } => "a table is text, a line for each image",
            Self::CellEmpty { .. } => "name an image on each line, or remove the line",
            Self::NotOneHot { .. } => {
                "name the column of labels `label`, or leave 0 and 1 alone in the columns of classes"
            }
            Self::TableEmpty { .. } => "write a line for each image below that of the columns",
            Self::ListedTwice { .. } => {
                "remove one of the two lines; an image with several labels has them in one, as in cat;dog"
            }
            Self::UnknownPart { .. } => {
                "write train, val or test on every line, or leave out the column `split`"
            }
            Self::TableColumns { .. } => {
                "the first line names the columns, as in path,label or path,label,split"
            }
            Self::LabelMissing { .. } => {
                "images may be without a label only where others have several, as in cat;dog"
            }
            _ => return None,
        })
    }
}
