//! What a training begins with: the weights of a run of this program, or of a file of another.

use std::path::Path;

use simmim_autograd::Parameters;
use simmim_checkpoint::Archive;
use simmim_config::{Layer, RawConfig};
use simmim_weights::{Family, Options, Report, ToFill, Weights, is_torch};

use crate::checkpoint::{self, Origin};
use crate::error::Error;
use crate::run_folder::weights_of;

/// Opened weights to begin with.
#[derive(Debug)]
pub struct Source {
    weights: Weights,
    origin: Option<Origin>,
}

impl Source {
    /// Opens a run folder (its best weights, or its last where none are best), one of its checkpoints, or a file or folder of another
    /// program, and proves that it is whole where it has a checksum.
    ///
    /// # Errors
    /// [`Error::File`] for a missing or damaged file, [`Error::Foreign`] for one of another program that cannot be used, and those of
    /// [`origin`](checkpoint::origin).
    pub fn open(from: &Path, options: &Options) -> Result<Self, Error> {
        let file = weights_of(from);
        if let Some(archive) = own_archive(&file)? {
            checkpoint::verify(&archive)?;
            let origin = checkpoint::origin(&archive)?;
            let weights = Weights::own(archive, origin.config.clone())?;
            return Ok(Self {
                weights,
                origin: Some(origin),
            });
        }
        Ok(Self {
            weights: of_others(&file, options)?,
            origin: None,
        })
    }

    /// The weights.
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// What the file says of its run, where this program wrote it.
    pub fn origin(&self) -> Option<&Origin> {
        self.origin.as_ref()
    }

    /// What the file holds, in one line, where that is not a run of this program.
    pub fn describe(&self) -> Option<String> {
        self.origin.is_none().then(|| self.weights.describe())
    }

    /// The geometry of the encoder, and how images are normalised, as the lowest layer of a configuration.
    pub fn encoder_layer(&self) -> Layer {
        self.weights.layer()
    }

    /// As [`Source::encoder_layer`], for a layer over others: keys that it has no value for are unset.
    pub fn geometry_layer(&self) -> Layer {
        let origin = format!("the encoder of {}", self.weights.path().display());
        self.weights.config().geometry_layer(&origin)
    }

    /// Refuses a configuration that asks for another family of encoders. Later, only keys that do not fit would be reported.
    ///
    /// # Errors
    /// [`Error::OtherEncoder`].
    pub fn require_family(&self, config: &RawConfig) -> Result<(), Error> {
        let found = self.weights.family();
        match Family::of_variant(config) {
            Some(wanted) if found != wanted => Err(Error::OtherEncoder {
                path: self.weights.path().to_owned(),
                wanted: format!("{wanted} (`{}`)", config.model.variant),
                found: format!("{found} (`{}`)", self.weights.config().model.variant),
                is_own: self.weights.is_own(),
            }),
            _ => Ok(()),
        }
    }

    /// Fills the parameters of a model.
    ///
    /// # Errors
    /// [`Error::OtherEncoder`] for one of another family; [`Error::Foreign`] for arrays that are missing, unexplained, or of a shape that
    /// cannot be made to fit.
    pub fn fill(
        &self,
        target: ToFill<'_>,
        options: &Options,
        parameters: &mut Parameters,
    ) -> Result<Report, Error> {
        let (found, wanted) = (self.weights.family(), Family::of_encoder(target.encoder));
        if found != wanted {
            return Err(Error::OtherEncoder {
                path: self.weights.path().to_owned(),
                wanted: wanted.to_string(),
                found: found.to_string(),
                is_own: self.weights.is_own(),
            });
        }
        Ok(self.weights.fill(target, options, parameters)?)
    }
}

/// What a configuration says of the file to begin with.
///
/// # Errors
/// [`Error::Foreign`] for a format that is none.
pub fn options(config: &RawConfig) -> Result<Options, Error> {
    let train = &config.train;
    let list = |patterns: &Option<String>| -> Vec<String> {
        let patterns = patterns.iter().flat_map(|patterns| patterns.split(','));
        patterns.map(|pattern| pattern.trim().to_owned()).collect()
    };
    let format = train.from_format.as_deref().map(str::parse).transpose();
    Ok(Options {
        format: format.map_err(simmim_weights::Error::from)?,
        heads: config.model.heads,
        window: learned_window(config),
        // The run's own size may be another one.
        image_px: None,
        allow_missing: list(&train.allow_missing),
        allow_unexpected: list(&train.allow_unexpected),
    })
}

/// The window that a SwinV2's position biases were learned with, where the configuration says one.
fn learned_window(config: &RawConfig) -> Option<usize> {
    let learned = config.model.pretrained_windows.as_ref();
    let learned = learned.and_then(|windows| windows.first().copied());
    learned.or(config.model.window)
}

/// The weights of another program that a path names; none where it is a run of this program or one of its checkpoints.
///
/// # Errors
/// As [`Source::open`].
pub fn foreign(from: &Path, options: &Options) -> Result<Option<Weights>, Error> {
    let file = weights_of(from);
    match own_archive(&file)? {
        Some(_) => Ok(None),
        None => of_others(&file, options).map(Some),
    }
}

fn of_others(file: &Path, options: &Options) -> Result<Weights, Error> {
    let weights = Weights::open(file, options)?;
    weights.verify()?;
    Ok(weights)
}

/// The file, opened, if it is one of this program.
fn own_archive(file: &Path) -> Result<Option<Archive>, Error> {
    if file.is_dir() {
        return Ok(None);
    }
    let is_index = file.extension().is_some_and(|ending| ending == "json");
    if is_index || is_torch(file) {
        return Ok(None);
    }
    let archive = Archive::open(file)?;
    Ok(Some(archive).filter(checkpoint::is_own))
}
