//! The weights of an encoder's file in an encoder that may be of another image size.
//!
//! Source: microsoft/SimMIM `utils.py`, `load_pretrained`. Other than there, a file that lacks a parameter of the encoder is an
//! error: nothing is left at its first values in silence.

mod tables;

use std::fmt::{self, Display};

use simmim_autograd::{Layer, ParameterKind, ParameterSpec, Parameters};
use simmim_checkpoint::{Archive, Array};
use simmim_config::encoder_config;
use simmim_model::EncoderConfig;

use crate::checkpoint;
use crate::error::Error;
use crate::family::Family;

use tables::{Grids, Sizes, first_grid, grid, of_swin, of_vit};

/// Before the names of an encoder's parameters in files of pre-training.
const PREFIX: &str = "encoder.";
const SHARED_TABLE: &str = "rel_pos_bias.relative_position_bias_table";
/// Parts of the names of what an encoder in use does not have, or computes itself.
const IGNORED: [&str; 6] = [
    "relative_position_index",
    "relative_coords_table",
    "attn_mask",
    "mask_token",
    "optimizer.",
    "average.",
];

/// What was loaded.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Loaded {
    /// Parameters that were filled.
    pub n_filled: usize,
    /// The tables of positions among these that were resampled: from and to which size, and how many.
    pub resampled: Vec<(String, usize)>,
    /// Arrays of the file that were not used, other than the optimiser's and those that follow from the geometry.
    pub unused: Vec<String>,
}

impl Display for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MAX_NAMED: usize = 4;
        write!(f, "{} tensors", self.n_filled)?;
        for (sizes, n) in &self.resampled {
            write!(f, "; {n} tables of positions resampled from {sizes}")?;
        }
        if !self.unused.is_empty() {
            let named = self.unused[..self.unused.len().min(MAX_NAMED)].join(", ");
            let more = self.unused.len().saturating_sub(MAX_NAMED);
            write!(f, "; not used: {named}")?;
            if more > 0 {
                write!(f, " and {more} more")?;
            }
        }
        Ok(())
    }
}

/// Fills the parameters of an encoder from a file. In `parameters` they have no prefix; those of a head and its norm stay
/// as they are.
///
/// # Errors
/// [`Error::OtherEncoder`] for a file without such an encoder; [`Error::File`] for a missing array;
/// [`Error::Weights`] for one of a shape that cannot be made to fit.
pub fn load_encoder(
    archive: &Archive,
    encoder: &EncoderConfig,
    parameters: &mut Parameters,
) -> Result<Loaded, Error> {
    let source = Source::of(archive, encoder)?;
    let mut found = Loaded::default();
    let mut used = Vec::new();
    // Copied, because the parameters are written to while the list is gone through.
    let wanted: Vec<ParameterSpec> = parameters
        .iter()
        .map(|(_, spec, _)| spec.clone())
        .filter(|spec| spec.layer != Layer::Head)
        .collect();
    for spec in wanted {
        let own = source.name_of(&spec);
        let array = archive.array(&own)?;
        let array = match source.sizes_of(&spec, &array) {
            Some(sizes) => {
                found.note(&sizes);
                sizes.resample(&array, &spec.shape)
            }
            None => array,
        };
        let set = parameters.set(&spec.name, &array.shape, &array.values);
        set.map_err(|source| Error::Weights {
            path: archive.path().to_owned(),
            source,
        })?;
        found.n_filled += 1;
        // By its name in the file: several parameters can take one table.
        used.push(own);
    }
    let is_ignored = |name: &&str| IGNORED.iter().any(|part| name.contains(part));
    let unused = archive
        .names()
        .filter(|name| !is_ignored(name) && !used.iter().any(|own| own == name));
    found.unused = unused.map(str::to_owned).collect();
    Ok(found)
}

impl Loaded {
    fn note(&mut self, sizes: &Sizes) {
        let text = sizes.to_string();
        // Every block has a table of the same sizes: one line for all.
        match self.resampled.iter_mut().find(|(known, _)| *known == text) {
            Some((_, n)) => *n += 1,
            None => self.resampled.push((text, 1)),
        }
    }
}

/// A file with an encoder.
struct Source<'a> {
    archive: &'a Archive,
    prefix: &'static str,
    target: &'a EncoderConfig,
    /// The encoder of the file, where this program wrote the file.
    own: Option<EncoderConfig>,
}

impl<'a> Source<'a> {
    fn of(archive: &'a Archive, target: &'a EncoderConfig) -> Result<Self, Error> {
        let has_prefix = archive.names().any(|name| name.starts_with(PREFIX));
        let prefix = if has_prefix { PREFIX } else { "" };
        let (found, wanted) = (
            Family::of_names(archive, prefix),
            Family::of_encoder(target),
        );
        if found != Some(wanted) {
            let found = found.map(|found| found.to_string());
            // Said before a name is looked for, which would only be reported as missing.
            return Err(Error::OtherEncoder {
                path: archive.path().to_owned(),
                wanted: wanted.to_string(),
                found: found.unwrap_or_else(|| "no encoder under the authors' names".to_owned()),
                is_own: checkpoint::is_own(archive),
            });
        }
        // A square grid can be guessed from the length of a table, any other has to be known.
        let own = if checkpoint::is_own(archive) {
            encoder_config(&checkpoint::origin(archive)?.config).ok()
        } else {
            None
        };
        Ok(Self {
            archive,
            prefix,
            target,
            own,
        })
    }

    /// The name in the file of a parameter's values.
    fn name_of(&self, parameter: &ParameterSpec) -> String {
        let own = format!("{}{}", self.prefix, parameter.name);
        let shared = format!("{}{SHARED_TABLE}", self.prefix);
        // One table for all blocks becomes one for each.
        let is_table = parameter.kind == ParameterKind::PositionTable;
        let is_of_vit = matches!(self.target, EncoderConfig::Vit(_));
        if is_table && is_of_vit && !self.archive.contains(&own) && self.archive.contains(&shared) {
            return shared;
        }
        own
    }

    /// The sizes that a table of positions is resampled from and to; none for any other parameter, or where it fits.
    fn sizes_of(&self, parameter: &ParameterSpec, array: &Array) -> Option<Sizes> {
        let sizes = match (self.target, &self.own) {
            (EncoderConfig::Vit(vit), own) => {
                let from = match own {
                    Some(EncoderConfig::Vit(own)) => Some(grid(own)),
                    _ => None,
                };
                let to = grid(vit);
                of_vit(parameter, array, Grids { from, to })
            }
            (EncoderConfig::Swin(swin), own) => {
                let from = match own {
                    Some(EncoderConfig::Swin(own)) => Some(first_grid(own)),
                    _ => None,
                };
                let to = first_grid(swin);
                of_swin(parameter, array, Grids { from, to })
            }
        }?;
        (sizes.from != sizes.to).then_some(sizes)
    }
}
