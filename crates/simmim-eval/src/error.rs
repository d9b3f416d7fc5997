//! What can go wrong when a trained model is put to use.

use std::path::PathBuf;

use simmim_config::near::choices;

/// Why a trained model could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A run could not be read, or the machine could not be used.
    #[error(transparent)]
    Train(#[from] simmim_train::Error),

    /// The configuration is not usable.
    #[error(transparent)]
    Config(#[from] simmim_config::Error),

    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] simmim_checkpoint::Error),

    /// The images could not be read, cropped or masked as asked.
    #[error(transparent)]
    Data(#[from] simmim_data::Error),

    /// The other processes that look at the same images are gone, have failed, or do something else.
    #[error(transparent)]
    Ranks(#[from] simmim_collective::Error),

    /// A checkpoint says that it was trained by a configuration that does not fit together.
    #[error("cannot use the configuration in {}", path.display())]
    Stored {
        /// The checkpoint.
        path: PathBuf,
        /// What is wrong with it.
        source: simmim_config::Error,
    },

    /// A file of another program lacks what is needed.
    #[error("{} has no {}: it holds {held}", path.display(), what.trim_start_matches("a "))]
    NoHead {
        /// The file.
        path: PathBuf,
        /// What it holds.
        held: String,
        /// What is needed, with an article.
        what: &'static str,
    },

    /// An image given by name could not be used.
    #[error("cannot use the image {}", path.display())]
    Image {
        /// The file.
        path: PathBuf,
        /// Why.
        source: simmim_data::Error,
    },

    /// An encoder has no such feature.
    #[error("the encoder has no {what}")]
    NoFeature {
        /// What was asked for, without an article.
        what: String,
        /// What it has.
        has: String,
    },

    /// A file's name does not say in which format it is to be written.
    #[error("cannot write features to {}: its ending is that of no format", path.display())]
    UnknownFormat {
        /// The file.
        path: PathBuf,
        /// Endings that are most like it; all of them where none is.
        near: Vec<String>,
    },

    /// Images with a label that a model does not know.
    #[error("the model knows no class `{class}`")]
    UnknownClass {
        /// The class.
        class: String,
        /// The classes that are most like it; all of them where none is.
        near: Vec<String>,
    },

    /// Images with several labels, for a model that gives each image one.
    #[error("these images have several labels each, and the model gives each image one label")]
    SeveralLabels,

    /// The tokens of images could not be kept on disk while they were needed.
    #[error("cannot keep tokens in {}", folder.display())]
    Tokens {
        /// The folder.
        folder: PathBuf,
        /// Why.
        source: std::io::Error,
    },

    /// A picture could not be drawn or written.
    #[error(transparent)]
    Picture(#[from] simmim_picture::Error),
}

impl Error {
    /// What the user can do about it, where there is something to say.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Train(error) => error.hint(),
            Self::Config(error) => error.hint(),
            Self::File(error) => error.hint(),
            Self::Data(error) | Self::Image { source: error, .. } => error.hint(),
            Self::Ranks(error) => error.hint(),
            Self::Stored { .. } => {
                Some("the file was changed, or another version of simmim wrote it".to_owned())
            }
            Self::NoHead { .. } => Some(
                "fine-tune it with `simmim finetune --from`, or go on with its pre-training with `simmim pretrain --from`"
                    .to_owned(),
            ),
            Self::NoFeature { has, .. } => Some(has.clone()),
            Self::UnknownFormat { near, .. } => Some(format!("the endings are {}", choices(near))),
            Self::UnknownClass { near, .. } => {
                const MAX_LISTED: usize = 10;
                let some = near.len().min(MAX_LISTED);
                let more = if near.len() > MAX_LISTED {
                    " and more"
                } else {
                    ""
                };
                Some(format!(
                    "it knows {}{more}; rename or remove the folder or the lines of that class",
                    choices(&near[..some])
                ))
            }
            Self::SeveralLabels => Some(
                "fine-tune a model on images with several labels, or give each image one"
                    .to_owned(),
            ),
            Self::Tokens { .. } => Some(
                "choose a folder with room for them by --cache, or take fewer labels".to_owned(),
            ),
            Self::Picture(error) => error.hint(),
        }
    }
}
