//! What can go wrong in a run.

use std::io;
use std::path::{Path, PathBuf};

use crate::codebook::CodebookFault;
use crate::config::ConfigError;

/// Why a run could not start, go on or be read back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration is not usable.
    #[error(transparent)]
    Config(#[from] ConfigError),

    /// A grid of runs is not usable.
    #[error(transparent)]
    Grid(#[from] crate::ablate::GridError),

    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] simmim_checkpoint::Error),

    /// The images could not be read, cropped or masked as asked.
    #[error(transparent)]
    Data(#[from] simmim_data::Error),

    /// Stored values do not fit the model.
    #[error("{}", path.display())]
    Weights {
        /// The file of the values.
        path: PathBuf,
        /// Which parameter, and how it differs.
        source: simmim_autograd::Error,
    },

    /// No model is named so.
    #[error("there is no model variant `{name}`")]
    UnknownVariant {
        /// The name asked for.
        name: String,
    },

    /// A run or a configuration of another task than the one asked for.
    #[error("this is {found}")]
    OtherTask {
        /// What it is.
        found: &'static str,
        /// The command that takes it.
        command: &'static str,
    },

    /// A file holds another kind of encoder than the one to be filled.
    #[error("{} holds {found}, and {wanted} is to be filled", path.display())]
    OtherEncoder {
        /// The file.
        path: PathBuf,
        /// What is to be filled.
        wanted: String,
        /// What was found.
        found: String,
        /// Whether this program wrote the file, so that it says of its geometry itself.
        is_own: bool,
    },

    /// A file's name does not say in which format it is to be written.
    #[error("{} ends in no format that features are written in", path.display())]
    UnknownFormat {
        /// The file.
        path: PathBuf,
        /// Endings that are most like it; all of them where none is.
        near: Vec<String>,
    },

    /// An encoder has no such feature.
    #[error("the encoder has not {what}")]
    NoFeature {
        /// What was asked for.
        what: String,
        /// What it has.
        has: String,
    },

    /// A plot could not be drawn.
    #[error("cannot draw the plot: {reason}")]
    Plot {
        /// What the drawing said.
        reason: String,
    },

    /// Predictions that are no numbers.
    #[error(transparent)]
    Scores(#[from] crate::scores::NotANumber),

    /// Images with several labels, for a model that gives each image one.
    #[error(
        "these images have several labels each, and the model was trained to give each image one"
    )]
    SeveralLabels,

    /// Images with a label that a model does not know.
    #[error("the model knows no class `{class}`")]
    UnknownClass {
        /// The class.
        class: String,
        /// The classes that are most like it; all of them where none is.
        near: Vec<String>,
    },

    /// Two keys do not fit together.
    #[error("`{key}` is {found}, which does not fit: {reason}")]
    Geometry {
        /// The key.
        key: &'static str,
        /// Its value.
        found: String,
        /// What would fit, and with what it has to.
        reason: String,
    },

    /// A checkpoint says that it was trained by a configuration that does not fit together.
    #[error("the configuration in {} cannot be used", path.display())]
    Stored {
        /// The checkpoint.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<Error>,
    },

    /// A tensor given as a codebook is none.
    #[error("tensor `{tensor}` of {} is not a codebook", path.display())]
    Codebook {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// What is wrong with it.
        source: CodebookFault,
    },

    /// It is not clear which tensor of a file is the codebook.
    #[error("{} has {n_matrices} matrices and no tensor `codebook`", path.display())]
    NoCodebook {
        /// The file.
        path: PathBuf,
        /// Its tensors of two axes.
        n_matrices: usize,
    },

    /// There is nothing to cluster.
    #[error("the images show {found} colours, at least 2 are needed for clusters")]
    FewColours {
        /// Distinct colours of the pixels that were looked at.
        found: usize,
    },

    /// Classes of pixels need the mean and the deviation in numbers.
    #[error("the mean and deviation of the channels are not known yet")]
    NotMeasured,

    /// The loss or the gradients are not numbers any more.
    #[error("training diverged at step {step}: `{metric}` is {value}")]
    Diverged {
        /// The step, counted from 1.
        step: u64,
        /// What is not finite.
        metric: &'static str,
        /// Its value.
        value: f64,
        /// The last checkpoint, whose weights are good.
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

    /// An image given by name could not be used.
    #[error("cannot use the image {}", path.display())]
    Image {
        /// The file.
        path: PathBuf,
        /// Why.
        source: simmim_data::Error,
    },

    /// The threads of the computation could not be started.
    #[error("cannot start {threads} threads")]
    Threads {
        /// How many were asked for.
        threads: usize,
        /// What the system said.
        source: rayon::ThreadPoolBuildError,
    },

    /// No recipe of that name ships with the program.
    #[error("there is no recipe `{name}`")]
    UnknownRecipe {
        /// The name asked for.
        name: String,
        /// The names that are most like it, best first; all names where none is like it.
        near: Vec<String>,
    },

    /// The folder for a new run has something in it.
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
            Self::Config(error) => error.hint(),
            Self::Grid(error) => error.hint(),
            Self::File(error) => error.hint(),
            Self::Data(error) | Self::Image { source: error, .. } => error.hint(),
            Self::Weights { .. } => Some("the file holds another model: compare with `simmim inspect FILE`".into()),
            Self::UnknownVariant { .. } => Some(format!(
                "the variants are {}, each with the side of a patch in pixels after a slash: `vit-b/16`",
                simmim_model::Variant::names().collect::<Vec<_>>().join(", ")
            )),
            Self::Geometry { .. } => Some("change one of the two, for example with `--set KEY=VALUE`".into()),
            Self::Stored { .. } => Some("the file was changed, or another version of simmim wrote it".into()),
            Self::Codebook { .. } | Self::NoCodebook { .. } => Some(
                "a codebook is a matrix of values of 0 to 1, one codeword a row, laid out channel by channel; \
                 `simmim inspect FILE` lists the tensors of a file"
                    .into(),
            ),
            Self::FewColours { .. } => Some("choose another `objective.target`".into()),
            Self::NotMeasured => Some("give `data.mean` and `data.std`".into()),
            Self::Diverged { checkpoint, .. } => Some(format!(
                "lower `train.base_lr` or lengthen `train.warmup_epochs`; the weights in {} are good",
                checkpoint.display()
            )),
            Self::Changed { .. } => Some("put it back as it was, or start a new run with another --out".into()),
            Self::NoLast { path, newest } => Some(format!(
                "to go on from an earlier one: cp {} {}",
                newest.display(),
                path.display()
            )),
            Self::NoMetadata { .. } => Some("name a run folder or one of its checkpoints".into()),
            Self::Metadata { .. } => Some("use another checkpoint of the run".into()),
            Self::Threads { .. } => Some("ask for fewer with `train.threads`".into()),
            Self::UnknownRecipe { near, .. } => Some(format!("did you mean {}?", choices(near))),
            Self::FolderNotEmpty { is_run: true, .. } => {
                Some("pass --resume to go on with that run, --overwrite to replace it, or name another folder".into())
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
            Self::MetricsLine { .. } => Some("the log was edited or damaged: mend or remove that line".into()),
            Self::NotFinite { .. } => {
                Some("lower `train.base_lr`, lengthen `train.warmup_epochs`, or look for broken images".into())
            }
            _ => self.hint_of_use(),
        }
    }

    /// The same for what goes wrong when a trained encoder is put to use.
    fn hint_of_use(&self) -> Option<String> {
        match self {
            Self::UnknownClass { near, .. } => {
                const MOST: usize = 10;
                let some = near.len().min(MOST);
                let more = if near.len() > MOST { " and more" } else { "" };
                Some(format!("it knows {}{more}; rename or remove the folder or the lines of that class", choices(&near[..some])))
            }
            Self::OtherTask { command, .. } => Some(format!("use `{command}`")),
            Self::OtherEncoder { is_own: true, .. } => Some(
                "leave away the recipe or the `model.variant` that asks for the other kind, so that the geometry is taken \
                 from the checkpoint"
                    .into(),
            ),
            Self::OtherEncoder { is_own: false, .. } => Some(
                "give the file's own geometry with `model.variant`, or name other weights; `simmim inspect FILE` lists \
                 what a file holds"
                    .into(),
            ),
            Self::UnknownFormat { near, .. } => Some(format!("the endings are {}", choices(near))),
            Self::NoFeature { has, .. } => Some(has.clone()),
            Self::SeveralLabels => Some("fine-tune a model on images with several labels, or give each image one".into()),
            Self::Scores(_) => Some("use an earlier checkpoint of the run".into()),
            _ => None,
        }
    }
}

/// A file that could not be written.
pub(crate) fn write_error(path: &Path, source: io::Error) -> Error {
    let path = path.to_owned();
    Error::File(simmim_checkpoint::Error::Write { path, source })
}

/// `` `a`, `b` or `c` ``.
pub(crate) fn choices(names: &[String]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        Some((last, _)) => last.clone(),
        None => String::new(),
    }
}

/// The candidates that are most like `wanted`, best first, three at most.
pub(crate) fn near<'a>(wanted: &str, candidates: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let scored = candidates
        .into_iter()
        .map(|name| (distance(wanted, name), name.to_owned()));
    closest(wanted, scored.collect())
}

/// The names that are most like `wanted`, best first; all of them where none is.
pub(crate) fn near_or_all<'a>(
    wanted: &str,
    names: impl IntoIterator<Item = &'a str> + Clone,
) -> Vec<String> {
    let alike = near(wanted, names.clone());
    if alike.is_empty() {
        return names.into_iter().map(str::to_owned).collect();
    }
    alike
}

/// Typing errors between two names.
pub(crate) fn distance(wanted: &str, name: &str) -> usize {
    strsim::damerau_levenshtein(wanted, name)
}

/// The names at a distance of at most a third of the length of `wanted`, or of two; best first, three at most.
pub(crate) fn closest(wanted: &str, mut scored: Vec<(usize, String)>) -> Vec<String> {
    const MOST: usize = 3;
    let limit = (wanted.chars().count() / 3).max(2);
    scored.retain(|(distance, _)| *distance <= limit);
    scored.sort_unstable();
    scored
        .into_iter()
        .take(MOST)
        .map(|(_, name)| name)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_come_best_first_and_far_ones_not_at_all() {
        let known = ["batch_size", "base_lr", "patch_px", "bath_siz"];
        assert_eq!(near("bach_size", known), ["batch_size", "bath_siz"]);
        assert!(near("zzzzzzzz", known).is_empty());
    }

    #[test]
    fn choices_read_as_a_sentence() {
        let names = |names: &[&str]| {
            names
                .iter()
                .map(|&name| name.to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(choices(&names(&["a"])), "`a`");
        assert_eq!(choices(&names(&["a", "b", "c"])), "`a`, `b` or `c`");
    }
}
