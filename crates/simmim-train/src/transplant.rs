//! Weights of one encoder in another: of another size, without what only pre-training has.
//!
//! Source: microsoft/SimMIM `utils.py`, `load_pretrained`. Other than there, a file that lacks a parameter of the encoder is an
//! error: nothing is left at its first values in silence.

use std::fmt::{self, Display};

use simmim_autograd::{Layer, ParameterKind, ParameterSpec, Parameters};
use simmim_checkpoint::resample::{absolute_positions, relative_table};
use simmim_checkpoint::{Archive, Array};
use simmim_model::{EncoderConfig, SwinConfig, VitConfig};

use crate::encoder::encoder_config;
use crate::family::Family;
use crate::{Error, checkpoint};

/// Before the names of an encoder's parameters in files of pre-training.
const PREFIX: &str = "encoder.";
const SHARED_TABLE: &str = "rel_pos_bias.relative_position_bias_table";
/// Rows of a ViT's table that are about its class token.
const CLASS_ROWS: usize = 3;
/// Parts of names that stand for things that an encoder in use has not, or makes anew.
const LEFT_ASIDE: [&str; 6] = [
    "relative_position_index",
    "relative_coords_table",
    "attn_mask",
    "mask_token",
    "optimizer.",
    "average.",
];

/// What came over.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Transplanted {
    /// Parameters that were filled.
    pub(crate) n_filled: usize,
    /// Of these, tables of positions that were resampled: from and to which size, and how many.
    pub(crate) resampled: Vec<(String, usize)>,
    /// Arrays of the file that no parameter took, but for the optimiser's and those that follow from the geometry.
    pub(crate) unused: Vec<String>,
}

impl Display for Transplanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MOST: usize = 4;
        write!(f, "{} tensors", self.n_filled)?;
        for (sizes, n) in &self.resampled {
            write!(f, "; {n} tables of positions resampled from {sizes}")?;
        }
        if !self.unused.is_empty() {
            let named = self.unused[..self.unused.len().min(MOST)].join(", ");
            let more = self.unused.len().saturating_sub(MOST);
            write!(f, "; not used: {named}")?;
            if more > 0 {
                write!(f, " and {more} more")?;
            }
        }
        Ok(())
    }
}

/// Fills the parameters of an encoder, which stand in `parameters` without a prefix, from a file; those of a head and its
/// norm stay as they are.
///
/// # Errors
/// [`Error::OtherEncoder`] for a file without such an encoder; [`Error::File`] for a missing array;
/// [`Error::Weights`] for one of a shape that cannot be made to fit.
pub(crate) fn transplant(
    archive: &Archive,
    encoder: &EncoderConfig,
    parameters: &mut Parameters,
) -> Result<Transplanted, Error> {
    let source = Source::of(archive, encoder)?;
    let mut found = Transplanted::default();
    let mut used = Vec::new();
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
        used.push(own);
    }
    let is_left = |name: &&str| LEFT_ASIDE.iter().any(|part| name.contains(part));
    let unused = archive
        .names()
        .filter(|name| !is_left(name) && !used.iter().any(|own| own == name));
    found.unused = unused.map(str::to_owned).collect();
    Ok(found)
}

impl Transplanted {
    fn note(&mut self, sizes: &Sizes) {
        let text = sizes.to_string();
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
    /// The encoder of the file, where this program wrote it.
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
            return Err(Error::OtherEncoder {
                path: archive.path().to_owned(),
                wanted: wanted.to_string(),
                found: found.unwrap_or_else(|| "no encoder under the authors' names".to_owned()),
                is_own: checkpoint::is_own(archive),
            });
        }
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

    /// The name in the file of what a parameter takes.
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

    /// The sizes that a table of positions is resampled from and to; none for what is no such table or fits as it is.
    fn sizes_of(&self, parameter: &ParameterSpec, array: &Array) -> Option<Sizes> {
        let sizes = match (self.target, &self.own) {
            (EncoderConfig::Vit(vit), own) => {
                let own = match own {
                    Some(EncoderConfig::Vit(own)) => Some(grid(own)),
                    _ => None,
                };
                of_vit(parameter, array, (own, grid(vit)))
            }
            (EncoderConfig::Swin(swin), own) => {
                let own = match own {
                    Some(EncoderConfig::Swin(own)) => Some(first_grid(own)),
                    _ => None,
                };
                of_swin(parameter, array, (own, first_grid(swin)))
            }
        }?;
        (sizes.from != sizes.to).then_some(sizes)
    }
}

fn grid(vit: &VitConfig) -> [usize; 2] {
    vit.image_size.map(|side| side / vit.patch_px)
}

fn first_grid(swin: &SwinConfig) -> [usize; 2] {
    swin.image_size.map(|side| side / swin.patch_px)
}

/// Sizes of a ViT's tables: of the file's grid where it is known, else of a square one.
fn of_vit(
    parameter: &ParameterSpec,
    array: &Array,
    (own, to): (Option<[usize; 2]>, [usize; 2]),
) -> Option<Sizes> {
    let offsets = |grid: [usize; 2]| grid.map(|side| 2 * side - 1);
    let shape = parameter.shape.as_slice();
    if parameter.kind == ParameterKind::PositionTable {
        let &[rows, n_heads] = array.shape.as_slice() else {
            return None;
        };
        let rows = rows.checked_sub(CLASS_ROWS)?;
        let from = own.map(offsets).or_else(|| odd_square(rows))?;
        let fits = from[0] * from[1] == rows && shape.get(1) == Some(&n_heads);
        let to = offsets(to);
        let kind = Kind::Relative {
            class_rows: CLASS_ROWS,
        };
        return fits.then_some(Sizes { kind, from, to });
    }
    if parameter.kind != ParameterKind::AbsolutePositions {
        return None;
    }
    let from = positions(array, shape, (own, 1))?;
    let kind = Kind::Absolute { class_rows: 1 };
    Some(Sizes { kind, from, to })
}

/// Sizes of a Swin transformer's tables, whose windows are square.
fn of_swin(
    parameter: &ParameterSpec,
    array: &Array,
    (own, to): (Option<[usize; 2]>, [usize; 2]),
) -> Option<Sizes> {
    let shape = parameter.shape.as_slice();
    if parameter.kind == ParameterKind::PositionTable {
        let (&[rows, n_heads], &[wanted, heads]) = (array.shape.as_slice(), shape) else {
            return None;
        };
        let (from, to) = (odd_square(rows)?, odd_square(wanted)?);
        let kind = Kind::Relative { class_rows: 0 };
        return (n_heads == heads).then_some(Sizes { kind, from, to });
    }
    if parameter.kind != ParameterKind::AbsolutePositions {
        return None;
    }
    let from = positions(array, shape, (own, 0))?;
    let kind = Kind::Absolute { class_rows: 0 };
    Some(Sizes { kind, from, to })
}

/// The grid of an array of absolute positions, if it has one of the right width.
fn positions(
    array: &Array,
    shape: &[usize],
    (own, class_rows): (Option<[usize; 2]>, usize),
) -> Option<[usize; 2]> {
    let &[1, rows, width] = array.shape.as_slice() else {
        return None;
    };
    let rows = rows.checked_sub(class_rows)?;
    let from = own.or_else(|| square(rows))?;
    (from[0] * from[1] == rows && shape.get(2) == Some(&width)).then_some(from)
}

fn square(n: usize) -> Option<[usize; 2]> {
    let side = n.isqrt();
    (side > 0 && side * side == n).then_some([side; 2])
}

/// The offsets of a square window: an odd number each way.
fn odd_square(n: usize) -> Option<[usize; 2]> {
    square(n).filter(|[side, _]| side % 2 == 1)
}

/// What a table is about.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Relative { class_rows: usize },
    Absolute { class_rows: usize },
}

/// The sizes between which a table is resampled: offsets along each axis, or sides of a grid.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    kind: Kind,
    from: [usize; 2],
    to: [usize; 2],
}

impl Sizes {
    /// The table at its new size. Rows of a class token stand apart and stay: behind relative offsets, before absolute
    /// positions.
    fn resample(self, array: &Array, shape: &[usize]) -> Array {
        let width = *array.shape.last().unwrap_or(&1);
        let values = &array.values;
        let values = match self.kind {
            Kind::Relative { class_rows } => {
                let (table, class) = values.split_at(values.len() - class_rows * width);
                let mut new = relative_table(table, width, self.from, self.to);
                new.extend(class);
                new
            }
            Kind::Absolute { class_rows } => {
                let (class, table) = values.split_at(class_rows * width);
                let mut new = class.to_vec();
                new.extend(absolute_positions(table, width, self.from, self.to));
                new
            }
        };
        Array {
            shape: shape.to_vec(),
            values,
        }
    }
}

impl Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sides = |size: [usize; 2]| match self.kind {
            Kind::Relative { .. } => size.map(|offsets| offsets.div_ceil(2)),
            Kind::Absolute { .. } => size,
        };
        let ([h, w], [to_h, to_w]) = (sides(self.from), sides(self.to));
        write!(f, "{h} x {w} to {to_h} x {to_w} tokens")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::PathBuf;

    use simmim_autograd::{Tape, Tensor};
    use simmim_checkpoint::{Entry, write_archive};
    use tempfile::TempDir;

    use super::*;
    use crate::checkpoint::{Origin, Progress, save_weights};
    use crate::config::{Layer, RawConfig};
    use crate::finetune::{ClassList, FineTunePlan, LabelNetwork};
    use crate::learner::Network;
    use crate::plan::Plan;

    const VIT: &str =
        "[data]\nimage_size = 32\n[model]\nvariant = 'vit-t/8'\nwidth = 24\ndepth = 2\nheads = 3\n";
    const SWIN: &str = "[data]\nimage_size = 32\n[model]\nvariant = 'swin-t/2'\nwidth = 12\ndepths = [2, 1]\nheads = 2\n\
        window = 4\n";

    fn config(layers: &[Layer]) -> RawConfig {
        RawConfig::from_layers(layers).unwrap()
    }

    /// A pre-training's weights on disk, with every parameter moved away from its first value.
    fn pretrained(text: &str) -> (TempDir, PathBuf, Network) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights.safetensors");
        let layer = Layer::text("test", &format!("{text}[mask]\ncell_px = 8")).unwrap();
        let plan = Plan::new(config(&[layer])).unwrap();
        let mut network = Network::new(&plan, None).unwrap();
        let specs: Vec<_> = network
            .parameters
            .iter()
            .map(|(_, spec, _)| spec.clone())
            .collect();
        for (k, spec) in specs.iter().enumerate() {
            let value = |i: usize| ((i * 7 + k * 13) as f32 * 0.37).sin() * 0.2;
            let values: Vec<f32> = (0..spec.len()).map(value).collect();
            network
                .parameters
                .set(&spec.name, &spec.shape, &values)
                .unwrap();
        }
        let origin = Origin {
            recipe: "test".to_owned(),
            config: plan.config().clone(),
            progress: Progress::start(0),
        };
        save_weights(&path, &network, &origin).unwrap();
        (folder, path, network)
    }

    /// A classifier as a fine-tuning of that file with these changes begins it.
    fn begun(
        path: &std::path::Path,
        changes: &[&str],
    ) -> Result<(LabelNetwork, Transplanted), Error> {
        let layers: Vec<Layer> = changes
            .iter()
            .map(|text| Layer::set(text).unwrap())
            .collect();
        begun_over(path, &layers)
    }

    /// The same with whole layers of changes.
    fn begun_over(
        path: &std::path::Path,
        changes: &[Layer],
    ) -> Result<(LabelNetwork, Transplanted), Error> {
        let mut layers: Vec<Layer> = crate::finetune::source_layer(path)?.into_iter().collect();
        layers.extend(changes.iter().cloned());
        let classes = ClassList {
            classes: vec!["a".to_owned(), "b".to_owned()],
            multi_label: false,
        };
        let plan = FineTunePlan::new(RawConfig::from_fine_tuning(&layers)?, classes)?;
        let mut network = LabelNetwork::new(&plan, None);
        let archive = Archive::open(path)?;
        let found = transplant(&archive, plan.encoder(), &mut network.parameters)?;
        Ok((network, found))
    }

    fn values(parameters: &Parameters, name: &str) -> Vec<f32> {
        parameters.get(parameters.find(name).unwrap()).to_vec()
    }

    #[test]
    fn the_shared_table_of_a_vit_becomes_that_of_every_block() {
        let (_folder, path, network) = pretrained(VIT);
        let (filled, found) = begun(&path, &[]).unwrap();
        let shared = values(
            &network.parameters,
            "encoder.rel_pos_bias.relative_position_bias_table",
        );
        for block in 0..2 {
            let name = format!("blocks.{block}.attn.relative_position_bias_table");
            assert_eq!(values(&filled.parameters, &name), shared);
        }
        let text = found.to_string();
        assert!(
            text.contains("not used: decoder.0.bias, decoder.0.weight, encoder.norm.bias"),
            "{text}"
        );
        assert!(found.resampled.is_empty());
    }

    #[test]
    fn a_swin_transformer_of_the_same_size_has_the_features_of_its_pre_training() {
        for version in ["swin-t/2", "swinv2-t/2"] {
            let (_folder, path, network) = pretrained(&SWIN.replace("swin-t/2", version));
            let (filled, _) = begun(&path, &[]).unwrap();
            let pixels: Vec<f32> = (0..2 * 3 * 32 * 32)
                .map(|i| (i as f32 * 0.11).cos())
                .collect();
            let images = Tensor::from_slice(filled.parameters.device(), &[2, 3, 32, 32], &pixels);
            let mut tape = Tape::inference(&filled.parameters);
            let found = filled.model.features(&mut tape, &images).tensor().to_vec();
            let encoder = network.model.encoder();
            let mut tape = Tape::inference(&network.parameters);
            let tokens = encoder.embed(&mut tape, &images);
            let features = encoder.encode(&mut tape, tokens);
            let expected = tape.mean_tokens(&features).tensor().to_vec();
            assert_eq!(found, expected, "{version}");
        }
    }

    #[test]
    fn another_window_and_another_grid_resample_the_tables() {
        let (_folder, path, network) = pretrained(SWIN);
        let changes = ["data.image_size=48", "model.window=6"];
        let (filled, found) = begun(&path, &changes).unwrap();
        assert_eq!(found.resampled, [("4 x 4 to 6 x 6 tokens".to_owned(), 3)]);
        let name = "layers.0.blocks.1.attn.relative_position_bias_table";
        let old = values(&network.parameters, &format!("encoder.{name}"));
        assert_eq!(
            values(&filled.parameters, name),
            relative_table(&old, 2, [7, 7], [11, 11])
        );

        let absolute = VIT.to_owned() + "positions = 'relative-absolute'\n";
        let (_folder, path, network) = pretrained(&absolute);
        let (filled, found) = begun(&path, &["data.image_size=[48, 32]"]).unwrap();
        assert_eq!(found.resampled, [("4 x 4 to 6 x 4 tokens".to_owned(), 3)]);
        let (old, new) = (
            values(&network.parameters, "encoder.pos_embed"),
            values(&filled.parameters, "pos_embed"),
        );
        assert_eq!(new[..24], old[..24], "the class token's");
        assert_eq!(
            new[24..],
            absolute_positions(&old[24..], 24, [4, 4], [6, 4])
        );
        let name = "blocks.1.attn.relative_position_bias_table";
        let (old, new) = (
            values(&network.parameters, &format!("encoder.{name}")),
            values(&filled.parameters, name),
        );
        assert_eq!(
            new[11 * 7 * 3..],
            old[7 * 7 * 3..],
            "the rows of the class token"
        );
        assert_eq!(
            new[..11 * 7 * 3],
            relative_table(&old[..7 * 7 * 3], 3, [7, 7], [11, 7])
        );
    }

    #[test]
    fn a_swin_v2_remembers_the_windows_that_it_learned_with() {
        let (_folder, path, _) = pretrained(&SWIN.replace("swin-t/2", "swinv2-t/2"));
        let layer = crate::finetune::source_layer(&path).unwrap().unwrap();
        let set = ["data.image_size=48", "model.window=6"].map(|text| Layer::set(text).unwrap());
        let config = RawConfig::from_fine_tuning(&[&[layer], &set[..]].concat()).unwrap();
        assert_eq!(config.model.pretrained_windows, Some(vec![4, 4]));
        let (filled, found) = begun(&path, &["data.image_size=48", "model.window=6"]).unwrap();
        assert!(found.resampled.is_empty());
        assert!(crate::learner::is_finite(&filled.parameters));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let (_folder, path, _) = pretrained(VIT);
        let refuse = |changes: &[&str], says: &[&str]| {
            let error = begun(&path, changes).unwrap_err();
            let text = format!("{error}: {:?}", std::error::Error::source(&error));
            for part in says {
                assert!(text.contains(part), "no `{part}` in {text}");
            }
        };
        refuse(&["model.depth=3"], &["no tensor `encoder.blocks.2."]);
        refuse(
            &["model.width=48"],
            &["cls_token", "[1, 1, 48]", "[1, 1, 24]"],
        );
        refuse(&["model.patch_px=16"], &["patch_embed.proj.weight"]);
        let of_swin = [
            "model.variant=swin-t/2",
            "model.depth=unset",
            "model.depths=[1]",
            "model.layer_scale=0",
        ];
        refuse(
            &of_swin,
            &["holds a vision transformer, and a Swin transformer is to be filled"],
        );
    }

    #[test]
    fn the_versions_of_swin_transformers_are_told_apart_in_files_of_other_programs_too() {
        let second = SWIN.replace("swin-t/2", "swinv2-t/2");
        for (held, asked, says) in [
            (
                SWIN,
                "swinv2-t/2",
                "holds a Swin transformer, and a SwinV2 transformer is",
            ),
            (
                &second,
                "swin-t/2",
                "holds a SwinV2 transformer, and a Swin transformer is",
            ),
        ] {
            let (folder, path, _) = pretrained(held);
            let archive = Archive::open(&path).unwrap();
            let names: Vec<String> = archive.names().map(str::to_owned).collect();
            let arrays: Vec<Array> = names
                .iter()
                .map(|name| archive.array(name).unwrap())
                .collect();
            let entries: Vec<Entry<'_>> = names
                .iter()
                .zip(&arrays)
                .map(|(name, array)| Entry::f32(name, &array.shape, &array.values))
                .collect();
            let foreign = folder.path().join("foreign.safetensors");
            write_archive(&foreign, &entries, &BTreeMap::new()).unwrap();
            let geometry = SWIN.replace("swin-t/2", asked);
            let layer = Layer::text("test", &geometry).unwrap();
            let error = begun_over(&foreign, &[layer]).unwrap_err();
            assert!(error.to_string().contains(says), "{error}");
            let hint = error.hint().unwrap();
            assert!(!hint.contains("taken from the checkpoint"), "{hint}");
        }
    }
}
