//! What can go wrong in a run.

use std::io;
use std::path::{Path, PathBuf};

use crate::scores::NotANumber;

/// Why a run could not start, go on or be read back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration is not usable.
    #[error(transparent)]
    Config(#[from] simmim_config::Error),

    /// The configuration that a checkpoint was written with is not usable.
    #[error("cannot use the configuration of {}", path.display())]
    StoredConfig {
        /// The checkpoint.
        path: PathBuf,
        /// Which key, and why.
        source: simmim_config::Error,
    },

    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] simmim_checkpoint::Error),

    /// The images could not be read, cropped or masked as asked.
    #[error(transparent)]
    Data(#[from] simmim_data::Error),

    /// A picture could not be drawn or written.
    #[error(transparent)]
    Picture(#[from] simmim_picture::Error),

    /// There is no such device, or it cannot be used.
    #[error(transparent)]
    Device(#[from] simmim_backend::Error),

    /// The other processes of the training have ended, failed, or were not started alike.
    #[error(transparent)]
    Ranks(#[from] simmim_collective::Error),

    /// Stored values do not fit the model.
    #[error("cannot load the weights of {}", path.display())]
    Weights {
        /// The file of the values.
        path: PathBuf,
        /// Which parameter, and how it differs.
        source: simmim_autograd::Error,
    },

    /// A file holds another family of encoders than the one that is needed.
    #[error("{} holds {found}; {wanted} is needed", path.display())]
    OtherEncoder {
        /// The file.
        path: PathBuf,
        /// What is needed.
        wanted: String,
        /// What was found.
        found: String,
        /// Whether this program wrote the file, which then states its own geometry.
        is_own: bool,
    },

    /// Weights to begin with cannot be used.
    #[error(transparent)]
    Foreign(#[from] simmim_weights::Error),

    /// A prediction is not a number.
    #[error(transparent)]
    Scores(#[from] NotANumber),

    /// There is nothing to cluster.
    #[error("clusters need at least 2 colours, the images show {found}")]
    FewColours {
        /// Distinct colours of the pixels that were looked at.
        found: usize,
    },

    /// Classes of pixels need the channels' mean and deviation, which are still to be measured.
    #[error("the mean and deviation of the channels are not known yet")]
    NotMeasured,

    /// The loss, the gradients or the weights are no longer finite.
    #[error("training diverged at step {step}: `{metric}` is {value}")]
    Diverged {
        /// The step, counted from 1.
        step: u64,
        /// What is not finite.
        metric: &'static str,
        /// Its value.
        value: f64,
        /// The last checkpoint, whose weights are finite.
        checkpoint: PathBuf,
    },

    /// A resumed run would not go on where it stopped.
    #[error("the run cannot go on exactly: {what} was {expected}, now it is {found}")]
    Changed {
        /// What has changed.
        what: String,
        /// What it was.
        expected: String,
        /// What it is.
        found: String,
    },

    /// The images of a run that is to go on are not where they were.
    #[error("there is nothing at {}, where the images of the run were", path.display())]
    ImagesGone {
        /// Where they were.
        path: PathBuf,
    },

    /// The checkpoint to go on from is gone.
    #[error("the newest checkpoint of the run is missing: {}", path.display())]
    NoLast {
        /// Where it should be.
        path: PathBuf,
        /// The newest of those that are there.
        newest: PathBuf,
    },

    /// A weights file without the configuration that made it.
    #[error("{} has no `{key}` in its metadata: it was not written by simmim", path.display())]
    NoMetadata {
        /// The file.
        path: PathBuf,
        /// The key.
        key: &'static str,
    },

    /// A checkpoint that was written by this program and has lost its checksum, by which it would be known to be whole.
    #[error("{} has no checksum, which every checkpoint of simmim has: it is damaged", path.display())]
    NoChecksum {
        /// The file.
        path: PathBuf,
    },

    /// Metadata of a weights file that cannot be read.
    #[error("`{key}` in the metadata of {} is damaged", path.display())]
    Metadata {
        /// The file.
        path: PathBuf,
        /// The key.
        key: &'static str,
        /// What is wrong with it.
        source: serde_json::Error,
    },

    /// The threads of the computation could not be started.
    #[error("cannot start {threads} threads")]
    Threads {
        /// How many were asked for.
        threads: usize,
        /// What the system says.
        source: rayon::ThreadPoolBuildError,
    },

    /// The folder for a new run is not empty.
    #[error("the run folder {} is not empty", path.display())]
    FolderNotEmpty {
        /// The folder.
        path: PathBuf,
        /// Whether it holds a run (which can be resumed or overwritten).
        is_run: bool,
    },

    /// The folder to be resumed or overwritten holds no run.
    #[error("{} is not a run folder: it has no config.toml", path.display())]
    NotARun {
        /// The folder.
        path: PathBuf,
    },

    /// Another process is writing to the run folder.
    #[error("another process is writing to the run folder {}", path.display())]
    Locked {
        /// The folder.
        path: PathBuf,
    },

    /// The disk of the run folder has too little room.
    #[error("the disk of {} has {free_bytes} bytes free, the run needs {needed_bytes}", path.display())]
    FreeSpace {
        /// The folder.
        path: PathBuf,
        /// Bytes that the run is going to write.
        needed_bytes: u64,
        /// Bytes that are free for this user.
        free_bytes: u64,
    },

    /// A line in the middle of a log of metrics cannot be read.
    #[error("line {line} of {} is not a record of metrics", path.display())]
    MetricsLine {
        /// The log.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        source: serde_json::Error,
    },

    /// A metric is NaN or infinite.
    #[error("`{metric}` is {value} at step {step}")]
    NotFinite {
        /// The step.
        step: u64,
        /// The name of the metric.
        metric: &'static str,
        /// Its value.
        value: f64,
    },

    /// An image for TensorBoard is not a PNG.
    #[error("the image `{tag}` for TensorBoard is not a PNG file")]
    NotPng {
        /// The tag under which it was to be shown.
        tag: String,
    },
}

impl Error {
    /// What the user can do about it, where there is something to say.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Config(error) | Self::StoredConfig { source: error, .. } => error.hint(),
            Self::Device(error) => error.hint(),
            Self::Ranks(error) => error.hint(),
            Self::File(error) => error.hint(),
            Self::Foreign(error) => error.hint(),
            Self::Data(error) => error.hint(),
            Self::Picture(error) => error.hint(),
            Self::Weights { .. } => Some("compare with `simmim inspect FILE`: the file holds another model".into()),
            Self::FewColours { .. } => Some("choose another `objective.target`".into()),
            Self::NotMeasured => Some("give `data.mean` and `data.std`".into()),
            Self::Diverged { checkpoint, .. } => Some(format!(
                "lower `train.base_lr` or lengthen `train.warmup_epochs`; the weights in {} are good",
                checkpoint.display()
            )),
            Self::Changed { .. } => Some(
                "put it back as it was, or start a new run with another --out".into(),
            ),
            Self::ImagesGone { .. } => Some("name the place that they are at now: --resume RUN --data PLACE".into()),
            Self::NoLast { path, newest } => Some(format!(
                "go on from an earlier one: cp {} {}",
                newest.display(),
                path.display()
            )),
            Self::NoMetadata { .. } => Some("name a run folder or one of its checkpoints".into()),
            Self::NoChecksum { .. } | Self::Metadata { .. } => Some("use another checkpoint of the run".into()),
            Self::Threads { .. } => Some("lower `train.threads`".into()),
            Self::FolderNotEmpty { is_run: true, .. } => {
                Some("pass --resume to go on with that run, --auto-resume for the same command again, --overwrite to replace it, or name another folder".into())
            }
            Self::FolderNotEmpty { is_run: false, .. } => Some(
                "name another folder; --resume and --overwrite are for folders that hold a run, and this one does not"
                    .into(),
            ),
            Self::NotARun { .. } => Some("check the path; a new run needs an empty or a new folder".into()),
            Self::Locked { .. } => Some("wait for that process or stop it, or name another folder".into()),
            Self::FreeSpace { .. } => {
                Some("free some space, lower `train.keep`, or put the run folder on another disk".into())
            }
            Self::MetricsLine { .. } => Some("mend or remove that line: the log was edited or damaged".into()),
            Self::NotFinite { .. } => {
                Some("lower `train.base_lr`, lengthen `train.warmup_epochs`, or look for broken images".into())
            }
            Self::OtherEncoder { is_own: true, .. } => Some(
                "leave out the recipe or the `model.variant` that asks for another family: the geometry is taken from the \
                 checkpoint"
                    .into(),
            ),
            Self::OtherEncoder { is_own: false, .. } => Some(
                "give the file's own geometry with `model.variant`, or name other weights; `simmim inspect FILE` lists \
                 what a file holds"
                    .into(),
            ),
            Self::Scores(_) => Some("use an earlier checkpoint of the run".into()),
            Self::NotPng { .. } => None,
        }
    }
}

/// A file or folder that could not be read.
pub(crate) fn read_error(path: &Path, source: io::Error) -> Error {
    let path = path.to_owned();
    Error::File(simmim_checkpoint::Error::Read { path, source })
}

/// A file that could not be written.
pub(crate) fn write_error(path: &Path, source: io::Error) -> Error {
    let path = path.to_owned();
    Error::File(simmim_checkpoint::Error::Write { path, source })
}
