//! The weights of a file, whoever wrote it, under our names.

use std::path::Path;

use glob::Pattern as Glob;
use simmim_checkpoint::{Archive, Array};
use simmim_config::near::near;
use simmim_config::{ClassList, Layer, RawConfig, encoder_config};
use simmim_model::{EncoderConfig, Pooling};

use crate::coordinates;
use crate::dialects::Format;
use crate::error::Error;
use crate::family::Family;
use crate::geometry::Model;
use crate::hints::{self, Hints};
use crate::recognise::{self, Mapped, Recognised, recognise};
use crate::store::Store;

/// What the user says of a file.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Whose names its arrays have; unset: those that explain most.
    pub format: Option<Format>,
    /// Heads of a block, of a Swin transformer's first stage; unset: as the file or what is usual says.
    pub heads: Option<usize>,
    /// The side of the first stage's window that a SwinV2's position biases were learned with; unset: as the file or its name says.
    pub window: Option<usize>,
    /// The side of the images in pixels, of a model whose positions do not say it; unset: as the file or its name says.
    pub image_px: Option<usize>,
    /// Patterns of parameters that may begin at random where the file lacks them.
    pub allow_missing: Vec<String>,
    /// Patterns of arrays that may be left out though nothing explains them.
    pub allow_unexpected: Vec<String>,
}

/// Weights of another program, under our names.
#[derive(Debug)]
pub struct Weights {
    store: Store,
    recognised: Recognised,
    hints: Hints,
    config: RawConfig,
    is_own: bool,
}

impl Weights {
    /// Opens a file of weights, an index of several, or a folder with either, and finds out what model it holds.
    ///
    /// # Errors
    /// [`Error::Unknown`] where the names are of no model that is known here, [`Error::OtherArithmetic`] where that computes something
    /// else, [`Error::Geometry`] where it cannot be known which model it is, and those of files.
    pub fn open(path: &Path, options: &Options) -> Result<Self, Error> {
        let store = Store::open(path)?;
        let recognised = recognise(&store, options.format)?;
        let mut hints = hints::read(&store, recognised.dialect)?;
        let said = options.image_px.map(|side| [side; 2]);
        hints.image_size = said.or(hints.image_size);
        let windows = coordinates::windows(&store)?;
        let shapes = recognised.arrays.iter();
        let model = Model {
            path: store.path(),
            dialect: recognised.dialect,
            shapes: shapes
                .map(|(name, mapped)| (name.as_str(), mapped.shape.as_slice()))
                .collect(),
            hints: &hints,
            window: options.window,
            windows: windows.as_ref(),
            heads: options.heads,
        };
        let config = model.config()?;
        if said.is_some_and(|said| said != config.data.image_size) {
            let [height, width] = config.data.image_size;
            return Err(Error::Geometry {
                path: store.path().to_owned(),
                what: format!("its positions are of images of {height} x {width} px"),
                key: "data.image_size",
            });
        }
        let unusable = |source| Error::Config {
            path: store.path().to_owned(),
            source,
        };
        config.check().map_err(unusable)?;
        encoder_config(&config).map_err(unusable)?;
        Ok(Self {
            store,
            recognised,
            hints,
            config,
            is_own: false,
        })
    }

    /// The weights of a checkpoint of this program, which says its own configuration.
    ///
    /// # Errors
    /// [`Error::Config`] for a configuration of no known encoder.
    pub fn own(archive: Archive, config: RawConfig) -> Result<Self, Error> {
        let store = Store::of_archive(archive);
        let encoder = encoder_config(&config).map_err(|source| Error::Config {
            path: store.path().to_owned(),
            source,
        })?;
        Ok(Self {
            recognised: recognise::own(&store, Family::of_encoder(&encoder)),
            store,
            hints: Hints::default(),
            config,
            is_own: true,
        })
    }

    /// Whether this program wrote the file.
    pub fn is_own(&self) -> bool {
        self.is_own
    }

    /// The file, or the index of several.
    pub fn path(&self) -> &Path {
        self.store.path()
    }

    /// Proves that the file is whole, where it has a checksum.
    ///
    /// # Errors
    /// [`Error::File`] for a damaged file.
    pub fn verify(&self) -> Result<(), Error> {
        self.store.verify()
    }

    /// Whose names its arrays have.
    pub fn format(&self) -> Format {
        self.recognised.dialect.format
    }

    /// What its encoder is.
    pub fn family(&self) -> Family {
        self.recognised.dialect.family
    }

    /// The keys that make its encoder, and the size and normalisation of its images; all others as they are by default.
    pub fn config(&self) -> &RawConfig {
        &self.config
    }

    /// The same as a layer of a configuration.
    pub fn layer(&self) -> Layer {
        let origin = format!("the encoder of {}", self.path().display());
        self.config.encoder_layer(&origin)
    }

    /// Its encoder.
    ///
    /// # Errors
    /// [`Error::Config`]; [`Weights::open`] has made sure that there is none.
    pub fn encoder(&self) -> Result<EncoderConfig, Error> {
        encoder_config(&self.config).map_err(|source| Error::Config {
            path: self.path().to_owned(),
            source,
        })
    }

    /// Our names of its arrays, sorted, without a prefix.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.recognised.arrays.keys().map(String::as_str)
    }

    /// Whether it has an array of that name of ours.
    pub fn contains(&self, name: &str) -> bool {
        self.recognised.arrays.contains_key(name)
    }

    /// The shape of the array of that name of ours.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        Some(&self.recognised.arrays.get(name)?.shape)
    }

    /// The names that an array of ours has in the file.
    pub fn theirs(&self, name: &str) -> &[String] {
        let mapped = self.recognised.arrays.get(name);
        mapped.map_or(&[], |mapped| &mapped.theirs)
    }

    /// What is done to make that array of ours of theirs, in words; none where nothing is.
    pub fn rule(&self, name: &str) -> Option<&'static str> {
        let mapped = self.recognised.arrays.get(name)?;
        mapped.how.words()
    }

    /// The array of that name of ours.
    ///
    /// # Errors
    /// [`Error::NoArray`], [`Error::File`].
    pub fn array(&self, name: &str) -> Result<Array, Error> {
        let missing = || Error::NoArray {
            path: self.path().to_owned(),
            name: name.to_owned(),
        };
        let mapped = self.recognised.arrays.get(name).ok_or_else(missing)?;
        let Mapped { theirs, how, shape } = mapped;
        let theirs = theirs.iter().map(|name| self.store.array(name));
        Ok(how.apply(shape.clone(), theirs.collect::<Result<_, _>>()?))
    }

    /// Arrays of the file that have no place in a model of ours, each with the reason.
    pub fn unused(&self) -> impl Iterator<Item = (&str, &'static str)> {
        let unused = self.recognised.unused.iter();
        unused.map(|(name, reason)| (name.as_str(), *reason))
    }

    /// Refuses arrays that nothing explains, but for those of the patterns that are allowed.
    ///
    /// # Errors
    /// [`Error::Unexpected`], [`Error::Pattern`].
    pub fn require_explained(&self, options: &Options) -> Result<(), Error> {
        let allowed = globs(&options.allow_unexpected)?;
        let is_allowed = |name: &&String| allowed.iter().any(|glob| glob.matches(name));
        let unexplained = self.unexplained().iter().filter(|name| !is_allowed(name));
        let known = || {
            self.recognised
                .arrays
                .values()
                .flat_map(|mapped| &mapped.theirs)
        };
        let names: Vec<String> = unexplained
            .map(|name| with_nearest(name, known().map(String::as_str)))
            .collect();
        if names.is_empty() {
            return Ok(());
        }
        Err(Error::Unexpected {
            path: self.path().to_owned(),
            names,
        })
    }

    /// Arrays of the file that nothing explains.
    pub fn unexplained(&self) -> &[String] {
        &self.recognised.unexplained
    }

    /// Refuses parameters that no array fills, but for those of the patterns that are allowed: these are handed back.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Pattern`].
    pub fn require_filled(
        &self,
        missing: Vec<String>,
        options: &Options,
    ) -> Result<Vec<String>, Error> {
        let allowed = globs(&options.allow_missing)?;
        let (allowed, refused): (Vec<_>, Vec<_>) = missing
            .into_iter()
            .partition(|name| allowed.iter().any(|glob| glob.matches(name)));
        if refused.is_empty() {
            return Ok(allowed);
        }
        let known = || self.unexplained().iter().map(String::as_str);
        let names = refused.iter().map(|name| with_nearest(name, known()));
        Err(Error::Missing {
            path: self.path().to_owned(),
            names: names.collect(),
        })
    }

    /// How a classifier of the file makes one vector of its tokens; none where it has no head, or one that nothing here computes.
    pub fn pooling(&self) -> Option<Pooling> {
        if !self.contains("head.weight") {
            return None;
        }
        if self.family() != Family::Vit {
            return Some(Pooling::Mean);
        }
        // A norm of its own behind the pooling says that this was a mean; without one all tokens were normalised before.
        match (self.contains("fc_norm.weight"), self.hints.pooling) {
            (true, _) => Some(Pooling::Mean),
            (false, Some(Pooling::ClassToken) | None) if self.contains("cls_token") => {
                Some(Pooling::ClassToken)
            }
            _ => None,
        }
    }

    /// The classes of its head, by number where it has no names for them; none where it has no head.
    pub fn classes(&self) -> Option<ClassList> {
        let n_classes = *self.shape("head.weight")?.first()?;
        let named = self.hints.classes.clone();
        let named = named.filter(|names| names.len() == n_classes);
        Some(ClassList {
            classes: named.unwrap_or_else(|| (0..n_classes).map(|n| n.to_string()).collect()),
            multi_label: false,
        })
    }

    /// What the file holds, in one line.
    pub fn describe(&self) -> String {
        let (data, model) = (&self.config.data, &self.config.model);
        let [height, width] = data.image_size;
        let blocks = match (&model.depths, model.depth) {
            (Some(depths), _) => format!("{depths:?} blocks"),
            (None, depth) => format!("{} blocks", depth.unwrap_or_default()),
        };
        let window = model
            .window
            .map_or_else(String::new, |side| format!(", windows of {side}"));
        let head = match (self.contains("decoder.0.weight"), self.classes()) {
            (true, _) => "; with a head that predicts pixels".to_owned(),
            (false, Some(list)) => format!("; a classifier of {} classes", list.classes.len()),
            (false, None) => String::new(),
        };
        format!(
            "{} under {}: {} wide, {blocks}, {} heads{window}, patches of {} px, {height} x {width} px, {} channels{head}",
            self.family(),
            self.format(),
            model.width.unwrap_or_default(),
            model.heads.unwrap_or_default(),
            model.patch_px.unwrap_or_default(),
            data.channels,
        )
    }
}

fn globs(patterns: &[String]) -> Result<Vec<Glob>, Error> {
    let parse = |text: &String| {
        Glob::new(text).map_err(|error| Error::Pattern {
            pattern: text.clone(),
            reason: error.to_string(),
        })
    };
    patterns.iter().map(parse).collect()
}

/// A name with the one of the others that is most like it.
fn with_nearest<'a>(name: &str, others: impl Iterator<Item = &'a str>) -> String {
    match near(name, others).first() {
        Some(nearest) => format!("`{name}` (nearest: `{nearest}`)"),
        None => format!("`{name}`"),
    }
}
