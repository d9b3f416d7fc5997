//! What can be wrong with several runs, or with the folder of their results.

use std::path::PathBuf;

use simmim_collective::Member;
use simmim_config::near::choices;

/// A point whose values do not fit together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit {
    /// The point.
    pub name: String,
    /// What does not fit.
    pub reason: String,
}

/// Why runs could not be done or compared. `origin` says where a grid was given.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A run could not be done.
    #[error(transparent)]
    Train(#[from] simmim_train::Error),

    /// The other processes that share the runs are gone, have failed, or do others.
    #[error(transparent)]
    Ranks(#[from] simmim_collective::Error),

    /// A process does not see the folder that rank 0 has opened.
    #[error("{} of rank 0 is not there for {who}", path.display())]
    NotShared {
        /// The folder.
        path: PathBuf,
        /// Who does not see it.
        who: Member,
    },

    /// A run could not be measured.
    #[error(transparent)]
    Eval(#[from] simmim_eval::Error),

    /// The plot of the results could not be drawn or written.
    #[error(transparent)]
    Picture(#[from] simmim_picture::Error),

    /// A configuration is not usable.
    #[error(transparent)]
    Config(#[from] simmim_config::Error),

    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] simmim_checkpoint::Error),

    /// The images could not be read.
    #[error(transparent)]
    Data(#[from] simmim_data::Error),

    /// No grid of that name ships with the program.
    #[error("there is no grid `{name}`")]
    UnknownGrid {
        /// The name asked for.
        name: String,
        /// The names that are most like it, best first; all names where none is like it.
        near: Vec<String>,
    },

    /// A grid has no such key or section.
    #[error("unknown key `{key}` in {origin}")]
    UnknownKey {
        /// The grid.
        origin: String,
        /// The key.
        key: String,
        /// The keys that are most like it; all keys where none is.
        near: Vec<String>,
    },

    /// The value of a grid's own key has the wrong type.
    #[error("`{key}` in {origin} is {found}, expected {expected}")]
    Type {
        /// The grid.
        origin: String,
        /// The key.
        key: String,
        /// The values that the key takes.
        expected: &'static str,
        /// The value that was given.
        found: String,
    },

    /// More runs than anyone would wait for.
    #[error("{origin} has {found} runs, {most} at the most")]
    TooMany {
        /// The grid.
        origin: String,
        /// The product of its lists, seeds included.
        found: u128,
        /// The most.
        most: u128,
    },

    /// A key that no grid may vary.
    #[error("`{key}` cannot be varied in {origin}: {reason}")]
    Fixed {
        /// The grid.
        origin: String,
        /// The key.
        key: String,
        /// Why not.
        reason: &'static str,
    },

    /// A key is varied, and set to one value for all points as well.
    #[error("`{key}` is varied in {origin} and is set for all points as well")]
    Twice {
        /// The grid.
        origin: String,
        /// The key.
        key: String,
    },

    /// Two points are one.
    #[error("{origin} asks twice for the same run: {one} and {other}")]
    SamePoint {
        /// The grid.
        origin: String,
        /// The name of the first.
        one: String,
        /// The name of the second.
        other: String,
    },

    /// Points whose values do not fit together.
    #[error("{} of {n_points} points do not fit, the first of them {}: {}", misfits.len(), misfits[0].name, misfits[0].reason)]
    Misfits {
        /// These points; one at least.
        misfits: Vec<Misfit>,
        /// How many points there are.
        n_points: usize,
    },

    /// A run that has begun was made by another configuration than the grid asks for now.
    #[error(
        "the run {point} was made with `{key} = {before}`, the grid now asks for `{key} = {now}`"
    )]
    Contradicts {
        /// The point.
        point: String,
        /// The key.
        key: String,
        /// The value that the run was made with.
        before: String,
        /// The value that the grid asks for.
        now: String,
    },

    /// The folder holds something else than a sweep of this kind.
    #[error("the folder {} is not empty and holds no {kind}", path.display())]
    NotASweep {
        /// The folder.
        path: PathBuf,
        /// What it should hold.
        kind: &'static str,
    },

    /// What is stored of a result cannot be read.
    #[error("{} is damaged", path.display())]
    Result {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },

    /// A point's images cannot be hidden by the mask that all encoders are measured under.
    #[error("the common mask of the score does not fit")]
    CommonMask(#[source] simmim_config::Error),

    /// A point without images to measure its encoder on.
    #[error("`data.held_out` is 0, and the score is measured on held-out images")]
    NothingHeldOut,
}

impl Error {
    /// What the user can do about it, where there is something to say.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Train(error) => return error.hint(),
            Self::Ranks(error) => return error.hint(),
            Self::Eval(error) => return error.hint(),
            Self::Picture(error) => return error.hint(),
            Self::Config(error) | Self::CommonMask(error) => return error.hint(),
            Self::File(error) => return error.hint(),
            Self::Data(error) => return error.hint(),
            Self::UnknownGrid { near, .. } => format!(
                "did you mean {}? A file is named by its path, with `.toml` at its end",
                choices(near)
            ),
            Self::UnknownKey { near, .. } => format!("did you mean {}?", choices(near)),
            Self::Type { .. } => {
                "`simmim ablate cifar10 --print` shows a grid with every part of it".to_owned()
            }
            Self::Fixed { .. } | Self::NothingHeldOut => return None,
            Self::TooMany { .. } => "cut it into several grids".to_owned(),
            Self::Twice { .. } => {
                "remove it from the one or the other; `--set` counts as well".to_owned()
            }
            Self::SamePoint { .. } => "remove one of the two".to_owned(),
            Self::Misfits { .. } => {
                "change the values, or leave these points out with `skip_misfits = true` in the grid"
                    .to_owned()
            }
            Self::Contradicts { point, .. } => format!(
                "put it back as it was, name another --out, or remove the folder `runs/{point}` to train it anew"
            ),
            Self::NotShared { .. } => "name a folder on a disk that all machines share".to_owned(),
            Self::NotASweep { .. } => "name a new or an empty folder".to_owned(),
            Self::Result { .. } => {
                "remove the file: what it held is measured again, without training".to_owned()
            }
        })
    }
}
