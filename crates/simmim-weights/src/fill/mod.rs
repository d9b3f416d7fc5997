//! The weights of a file in a model that may be of another image, window, patch or number of channels.
//!
//! Source: microsoft/SimMIM `utils.py`, `load_pretrained`. Other than there, a file that lacks a parameter of the encoder is an
//! error: nothing is left at its first values in silence.

mod patch;
mod tables;

use simmim_autograd::{Layer, ParameterKind, ParameterSpec, Parameters};
use simmim_checkpoint::Array;
use simmim_model::EncoderConfig;

use crate::error::Error;
use crate::report::Report;
use crate::weights::{Options, Weights};

use patch::Patch;
use tables::{Grids, Sizes, first_grid, grid, of_swin, of_vit};

/// Before the names of an encoder's parameters in a model of pre-training.
const PREFIX: &str = "encoder.";
const SHARED_TABLE: &str = "rel_pos_bias.relative_position_bias_table";
const PATCHES: &str = "patch_embed.proj.weight";

const NEW_HEAD: &str = "a head begins anew";
const NO_HEAD: &str = "nothing reads it here";
const OWN_NORM: &str = "a mean of tokens has a norm of its own, which begins anew";

/// What is done with the parameters behind an encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heads {
    /// They begin anew.
    Fresh,
    /// They are taken where the file's fit, and begin anew where not.
    Fitting,
    /// They are needed.
    Needed,
}

/// The model that is filled.
#[derive(Debug, Clone, Copy)]
pub struct ToFill<'a> {
    /// Its encoder.
    pub encoder: &'a EncoderConfig,
    /// What is done with what stands behind that.
    pub heads: Heads,
}

/// Where a parameter's values come from.
enum Found {
    /// The array of that name of ours.
    Array(String),
    /// Nowhere, for a reason that is none of the file's.
    Fresh(&'static str),
    Missing,
}

impl Weights {
    /// Fills the parameters of a model. Those of an encoder may have `encoder.` before their names.
    ///
    /// # Errors
    /// [`Error::Missing`] and [`Error::Unexpected`] for arrays that nothing explains, [`Error::Shape`] for one of a shape that cannot be
    /// made to fit, and those of files. After an error some parameters are those of the file.
    pub fn fill(
        &self,
        target: ToFill<'_>,
        options: &Options,
        parameters: &mut Parameters,
    ) -> Result<Report, Error> {
        self.require_explained(options)?;
        let own = self.encoder()?;
        let job = Job {
            weights: self,
            own: &own,
            target,
        };
        let mut report = Report::default();
        let (mut used, mut missing) = (Vec::new(), Vec::new());
        // Copied, because the parameters are written to while the list is gone through.
        let wanted: Vec<ParameterSpec> =
            parameters.iter().map(|(_, spec, _)| spec.clone()).collect();
        for spec in &wanted {
            match job.find(spec) {
                Found::Array(name) => {
                    job.fill(&name, spec, parameters, &mut report)?;
                    // By its name in the file: several parameters can take one table.
                    used.push(name);
                }
                Found::Fresh(reason) => report.note_fresh(reason, &spec.name),
                Found::Missing => missing.push(spec.name.clone()),
            }
        }
        for name in self.require_filled(missing, options)? {
            report.note_fresh("allowed to be missing", &name);
        }
        self.note_left_out(&used, &mut report);
        Ok(report)
    }

    fn note_left_out(&self, used: &[String], report: &mut Report) {
        for name in self
            .names()
            .filter(|name| !used.iter().any(|own| own == name))
        {
            let reason = match name.split('.').next() {
                Some("norm") => OWN_NORM,
                Some("mask_token") => "nothing is hidden here",
                Some("decoder" | "head" | "fc_norm" | "pool") => NO_HEAD,
                _ => "this model has no such part",
            };
            for theirs in self.theirs(name) {
                report.note_left_out(reason, theirs);
            }
        }
        for (name, reason) in self.unused() {
            // What every file of a kind has is not worth a word.
            if !self.is_own() || !name.starts_with("optimizer.") {
                report.note_left_out(reason, name);
            }
        }
        for name in self.unexplained() {
            report.note_left_out("allowed to be left out", name);
        }
    }
}

struct Job<'a> {
    weights: &'a Weights,
    /// The encoder of the file.
    own: &'a EncoderConfig,
    target: ToFill<'a>,
}

impl Job<'_> {
    fn find(&self, spec: &ParameterSpec) -> Found {
        let name = spec.name.strip_prefix(PREFIX).unwrap_or(&spec.name);
        if spec.layer == Layer::Head {
            return self.find_head(spec, name);
        }
        if self.weights.contains(name) {
            return Found::Array(name.to_owned());
        }
        // One table for all blocks becomes one for each.
        let is_table = spec.kind == ParameterKind::PositionTable;
        let is_of_vit = matches!(self.target.encoder, EncoderConfig::Vit(_));
        if is_table && is_of_vit && self.weights.contains(SHARED_TABLE) {
            return Found::Array(SHARED_TABLE.to_owned());
        }
        match name {
            "mask_token" => Found::Fresh("the file's model hides nothing"),
            "norm.weight" | "norm.bias" if self.weights.contains("fc_norm.weight") => {
                Found::Fresh("the file's last norm stands behind a mean")
            }
            _ => Found::Missing,
        }
    }

    fn find_head(&self, spec: &ParameterSpec, name: &str) -> Found {
        match self.target.heads {
            Heads::Fresh => Found::Fresh(NEW_HEAD),
            Heads::Fitting => match self.weights.shape(name) {
                Some(shape) if shape == spec.shape => Found::Array(name.to_owned()),
                Some(_) => Found::Fresh("that of the file predicts another number of values"),
                None => Found::Fresh("the file has none"),
            },
            Heads::Needed if self.weights.contains(name) => Found::Array(name.to_owned()),
            // Of one token the norm of all tokens is the norm of it alone.
            Heads::Needed => match name {
                "fc_norm.weight" => Found::Array("norm.weight".to_owned()),
                "fc_norm.bias" => Found::Array("norm.bias".to_owned()),
                _ => Found::Missing,
            },
        }
    }

    fn fill(
        &self,
        name: &str,
        spec: &ParameterSpec,
        parameters: &mut Parameters,
        report: &mut Report,
    ) -> Result<(), Error> {
        let array = self.weights.array(name)?;
        let found = array.shape.clone();
        let array = self.fitted(name, spec, array, report);
        let misfit = |_| Error::Shape {
            path: self.weights.path().to_owned(),
            name: self.weights.theirs(name).join(" and "),
            expected: spec.shape.clone(),
            found,
        };
        parameters
            .set(&spec.name, &array.shape, &array.values)
            .map_err(misfit)?;
        report.note_filled(self.weights.rule(name));
        Ok(())
    }

    /// The array at the size of the parameter, where it can be resampled to that; else as it is.
    fn fitted(&self, name: &str, spec: &ParameterSpec, array: Array, report: &mut Report) -> Array {
        if let Some(sizes) = self.sizes_of(spec, &array) {
            report.note_resampled(format!("tables of positions resampled from {sizes}"));
            return sizes.resample(&array, &spec.shape);
        }
        if name != PATCHES {
            return array;
        }
        match Patch::between(&array.shape, &spec.shape) {
            Some(patch) => {
                report.note_resampled(format!("layer of patches made of {patch}"));
                patch.resample(&array)
            }
            None => array,
        }
    }

    /// The sizes that a table of positions is resampled from and to; none for any other parameter, or where it fits.
    fn sizes_of(&self, spec: &ParameterSpec, array: &Array) -> Option<Sizes> {
        let sizes = match (self.target.encoder, self.own) {
            (EncoderConfig::Vit(vit), EncoderConfig::Vit(own)) => {
                let grids = Grids {
                    from: grid(own),
                    to: grid(vit),
                };
                of_vit(spec, array, grids, vit.class_positions())
            }
            (EncoderConfig::Swin(swin), EncoderConfig::Swin(own)) => {
                let grids = Grids {
                    from: first_grid(own),
                    to: first_grid(swin),
                };
                of_swin(spec, array, grids)
            }
            _ => None,
        }?;
        (sizes.from != sizes.to).then_some(sizes)
    }
}
