//! One source of values: a recipe, a file, or an override.

use std::fs;
use std::path::Path;

use toml::{Table, Value};

use crate::error::Error;
use crate::near::{closest, distance, near_or_all};
use crate::raw::{Key, RawConfig};
use crate::recipe::{self, Recipe};

/// Names the recipe that a file overlays.
const EXTENDS: &str = "extends";

/// Values that overlay others: parsed, not yet checked against the keys that there are.
#[derive(Debug, Clone)]
pub struct Layer {
    origin: String,
    table: Table,
    /// The recipe that it overlays, whose values are among its own.
    base: Option<String>,
    /// For an override: the value as it was typed, where TOML reads it as something other than text.
    typed: Option<String>,
}

/// The recipe that `extends` names. A recipe that ships extends only others that ship: a test holds that it ends.
fn base_of(base: &Value, origin: &str) -> Result<Layer, Error> {
    let unknown = |near| Error::UnknownBase {
        origin: origin.to_owned(),
        base: base.to_string(),
        near,
    };
    let name = base.as_str().ok_or_else(|| unknown(Vec::new()))?;
    // Only what ships: files that name files could go round in circles.
    let recipe = recipe::find(name).map_err(|_| unknown(recipe::near_names(name)))?;
    recipe.layer()
}

/// The sections of `base` with the keys of `over` in them.
fn overlay(mut base: Table, over: Table) -> Table {
    for (section, value) in over {
        match (base.get_mut(&section), value) {
            // Key by key: a section that sets one key must not lose the recipe's others.
            (Some(Value::Table(keys)), Value::Table(over)) => keys.extend(over),
            (_, value) => {
                base.insert(section, value);
            }
        }
    }
    base
}

impl Recipe {
    /// The recipe as a layer of a configuration.
    ///
    /// # Errors
    /// [`Error::Syntax`]; a test holds that no recipe that ships has one.
    pub fn layer(&self) -> Result<Layer, Error> {
        Layer::text(format!("recipe `{}`", self.name), self.text)
    }
}

impl RawConfig {
    /// The defaults overlaid by `layers`, the last one strongest, every value checked against its range.
    ///
    /// # Errors
    /// [`Error::UnknownSection`], [`Error::UnknownKey`], [`Error::Type`] and
    /// [`Error::TwoTasks`] name the layer that is at fault; [`Error::Range`] is about the result.
    pub fn from_layers(layers: &[Layer]) -> Result<Self, Error> {
        let config = Self::overlaid(layers)?;
        config.check()?;
        Ok(config)
    }

    /// As [`RawConfig::from_layers`], the ranges not checked.
    ///
    /// # Errors
    /// As [`RawConfig::from_layers`], but for [`Error::Range`].
    pub fn overlaid(layers: &[Layer]) -> Result<Self, Error> {
        let mut config = Self::default();
        for layer in layers {
            layer.apply(&mut config)?;
        }
        if config.finetune.is_some() {
            // All layers are read first, because a later one may say that it is a fine-tuning.
            let other = |layer: &&Layer| layer.has("mask") || layer.has("objective");
            if let Some(layer) = layers.iter().find(other) {
                return Err(Error::TwoTasks {
                    origin: layer.origin().to_owned(),
                });
            }
        }
        Ok(config)
    }

    /// As [`RawConfig::from_layers`], for a fine-tuning. Where a later layer than the encoder's own gives another image
    /// size and no window, the usual window for that size is taken.
    ///
    /// # Errors
    /// As [`RawConfig::from_layers`].
    pub fn from_fine_tuning(layers: &[Layer]) -> Result<Self, Error> {
        let mut config = Self::overlaid(layers)?;
        // Neither the encoder's layer nor a recipe has to name the section.
        config.finetune.get_or_insert_default();
        let sets = |key: &str| {
            layers
                .iter()
                // From the end, because the last layer that sets a key is the one that counts.
                .rposition(|layer| layer.keys().any(|own| own == key))
        };
        // A later layer has a higher place, and a key that no layer sets is below all places.
        if sets("data.image_size") > sets("model.window") {
            config.model.window = None;
        }
        config.check()?;
        Ok(config)
    }
}

impl Layer {
    /// Name and values of a recipe that is given by its name or, where it looks like one, by a file.
    ///
    /// # Errors
    /// Those of [`recipe::find`], and [`Error::Read`] and [`Error::Syntax`] of a file.
    pub fn recipe(name_or_file: &str) -> Result<(String, Self), Error> {
        let path = Path::new(name_or_file);
        // A name with a slash may be both: what ships comes first.
        if recipe::is_file(path) && recipe::find(name_or_file).is_err() {
            let stem = path.file_stem().unwrap_or_default();
            return Ok((stem.to_string_lossy().into_owned(), Self::file(path)?));
        }
        let found = recipe::find(name_or_file)?;
        Ok((found.name.to_owned(), found.layer()?))
    }

    /// A layer from TOML text; `origin` says in errors where it came from. With `extends = "NAME"` before its
    /// sections it overlays the recipe of that name.
    ///
    /// # Errors
    /// [`Error::Syntax`] with line and column; [`Error::UnknownBase`].
    pub fn text(origin: impl Into<String>, text: &str) -> Result<Self, Error> {
        let origin = origin.into();
        let mut table: Table = match text.parse() {
            Ok(table) => table,
            Err(source) => return Err(Error::Syntax { origin, source }),
        };
        // A key of the file and not of the configuration, so the checks must not meet it.
        let base = table.remove(EXTENDS);
        if let Some(base) = &base {
            table = overlay(base_of(base, &origin)?.table, table);
        }
        Ok(Self {
            origin,
            table,
            base: base.as_ref().and_then(Value::as_str).map(str::to_owned),
            typed: None,
        })
    }

    /// A layer from a TOML file.
    ///
    /// # Errors
    /// [`Error::Read`] and [`Error::Syntax`].
    pub fn file(path: &Path) -> Result<Self, Error> {
        let text = fs::read_to_string(path).map_err(|source| Error::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::text(path.display().to_string(), &text)
    }

    /// A layer of one key, from `section.key=value`. The value is TOML; what is not TOML is taken as text, so
    /// `--set model.variant=vit-s/16` needs no quotes.
    ///
    /// # Errors
    /// [`Error::Override`] where it is not of that form.
    pub fn set(assignment: &str) -> Result<Self, Error> {
        let malformed = || Error::Override {
            text: assignment.to_owned(),
        };
        // `=` may be part of the value: only the first one divides.
        let (path, typed) = assignment.split_once('=').ok_or_else(malformed)?;
        let (section, key) = path.split_once('.').ok_or_else(malformed)?;
        let (section, key, typed) = (section.trim(), key.trim(), typed.trim());
        if section.is_empty() || key.is_empty() {
            return Err(malformed());
        }
        let value = toml_value(typed).unwrap_or_else(|| Value::String(typed.to_owned()));
        let keys = Table::from_iter([(key.to_owned(), value)]);
        Ok(Self {
            origin: format!("`--set {assignment}`"),
            table: Table::from_iter([(section.to_owned(), Value::Table(keys))]),
            base: None,
            typed: Some(typed.to_owned()),
        })
    }

    /// A layer of one key, `section.key`. One without a section is refused where the layer is applied.
    pub fn of_key(origin: &str, key: &str, value: Value) -> Self {
        let (name, value) = match key.split_once('.') {
            Some((section, key)) => {
                let keys = Table::from_iter([(key.to_owned(), value)]);
                (section, Value::Table(keys))
            }
            None => (key, value),
        };
        Self {
            origin: origin.to_owned(),
            table: Table::from_iter([(name.to_owned(), value)]),
            base: None,
            typed: None,
        }
    }

    /// A layer of whole sections.
    pub(crate) fn of_sections<const N: usize>(origin: &str, sections: [(&str, Table); N]) -> Self {
        let table = sections.map(|(name, keys)| (name.to_owned(), Value::Table(keys)));
        Self {
            origin: origin.to_owned(),
            table: Table::from_iter(table),
            base: None,
            typed: None,
        }
    }

    /// The keys that it sets, each as `section.key`.
    pub fn keys(&self) -> impl Iterator<Item = String> {
        self.table.iter().flat_map(|(section, value)| {
            let keys = value.as_table().into_iter().flat_map(Table::keys);
            keys.map(move |key| format!("{section}.{key}"))
        })
    }

    /// Whether it sets a key of that section.
    pub fn has(&self, section: &str) -> bool {
        self.table.contains_key(section)
    }

    /// The recipe that it extends: such a layer is whole, and hides everything below it.
    pub fn base(&self) -> Option<&str> {
        self.base.as_deref()
    }

    /// Where the values came from, in words.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Sets the keys of this layer in `config`.
    pub(crate) fn apply(&self, config: &mut RawConfig) -> Result<(), Error> {
        for (section, value) in &self.table {
            match value {
                Value::Table(keys) => self.apply_section(config, section, keys)?,
                // A key before the first section; the hint shows where it belongs.
                _ => return Err(self.unknown_key(section)),
            }
        }
        Ok(())
    }

    fn apply_section(&self, config: &mut RawConfig, name: &str, keys: &Table) -> Result<(), Error> {
        let Some(section) = config.section_mut(name) else {
            return Err(self.unknown_section(name));
        };
        for (key, value) in keys {
            let Some(expected) = section.expected(key) else {
                return Err(self.unknown_key(&format!("{name}.{key}")));
            };
            // `--set data.path=2024` means the text, though TOML reads a number.
            let set_as_typed = || self.typed.clone().map(Value::String);
            if !section.set(key, value)
                && !set_as_typed().is_some_and(|text| section.set(key, &text))
            {
                return Err(Error::Type {
                    origin: self.origin.clone(),
                    key: format!("{name}.{key}"),
                    expected,
                    found: format!("{} {value}", value.type_str()),
                });
            }
        }
        Ok(())
    }

    fn unknown_section(&self, section: &str) -> Error {
        let sections = RawConfig::all_sections();
        let known = sections.iter().map(|section| section.name());
        Error::UnknownSection {
            origin: self.origin.clone(),
            section: section.to_owned(),
            near: near_or_all(section, known),
        }
    }

    /// The error for a key that does not exist, with the keys that are most like it: another section counts as one
    /// typing error, so that a key in the wrong section is shown its place.
    fn unknown_key(&self, path: &str) -> Error {
        let (section, name) = path.split_once('.').unwrap_or(("", path));
        let score = |key: Key| {
            let elsewhere = usize::from(key.section != section);
            (
                distance(name, key.name) + elsewhere,
                format!("{}.{}", key.section, key.name),
            )
        };
        let known = FIELD_NAMES.iter().find(|(other, _)| *other == name);
        let near = match known {
            Some((_, own)) => vec![(*own).to_owned()],
            None => closest(name, RawConfig::keys().into_iter().map(score).collect()),
        };
        Error::UnknownKey {
            origin: self.origin.clone(),
            key: path.to_owned(),
            near,
        }
    }
}

/// What other programs call a key: the authors' code, timm, Hugging Face, Lightning.
const FIELD_NAMES: [(&str, &str); 20] = [
    ("lr", "train.base_lr"),
    ("learning_rate", "train.base_lr"),
    ("blr", "train.base_lr"),
    ("wd", "train.weight_decay"),
    ("num_epochs", "train.epochs"),
    ("max_epochs", "train.epochs"),
    ("num_train_epochs", "train.epochs"),
    ("bs", "train.batch_size"),
    ("amp", "train.precision"),
    ("clip_grad", "train.clip_norm"),
    ("img_size", "data.image_size"),
    ("input_size", "data.image_size"),
    ("num_workers", "data.workers"),
    ("patch_size", "model.patch_px"),
    ("embed_dim", "model.width"),
    ("num_heads", "model.heads"),
    ("window_size", "model.window"),
    ("drop_path_rate", "model.drop_path"),
    ("mask_ratio", "mask.ratio"),
    ("mask_patch_size", "mask.cell_px"),
];

/// The one value that `text` is in TOML, if it is one.
fn toml_value(text: &str) -> Option<Value> {
    let mut table: Table = format!("value = {text}").parse().ok()?;
    let value = table.remove("value")?;
    // Text with a line break may bring keys of its own.
    table.is_empty().then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_other_programs_use_lead_to_keys_that_there_are() {
        for (name, key) in FIELD_NAMES {
            let layer = Layer::set(&format!("train.{name}=1")).unwrap();
            let found = RawConfig::overlaid(&[layer]).unwrap_err();
            assert!(
                matches!(&found, Error::UnknownKey { near, .. } if *near == [key]),
                "{found}"
            );
            let (section, name) = key.split_once('.').unwrap();
            let mut keys = RawConfig::keys().into_iter();
            assert!(
                keys.any(|key| key.section == section && key.name == name),
                "{key}"
            );
        }
    }

    fn with(layers: &[Result<Layer, Error>]) -> Result<RawConfig, Error> {
        let layers: Vec<Layer> = layers
            .iter()
            .map(|layer| layer.as_ref().unwrap().clone())
            .collect();
        RawConfig::from_layers(&layers)
    }

    fn error_and_hint(layer: Result<Layer, Error>) -> (String, String) {
        let error = with(&[layer]).unwrap_err();
        (error.to_string(), error.hint().unwrap())
    }

    #[test]
    fn the_last_layer_wins_and_the_others_stay_where_it_is_silent() {
        let recipe = Layer::text(
            "recipe",
            "[train]\nepochs = 800\nwarmup_epochs = 5\n[mask]\nratio = 0.5",
        );
        let user = Layer::text("mine.toml", "train.epochs = 300");
        let config = with(&[recipe, user, Layer::set("train.epochs = 20")]).unwrap();
        assert_eq!(config.train.epochs, 20);
        assert_eq!(config.train.warmup_epochs, 5.0);
        assert_eq!(config.mask.ratio, 0.5);
        assert_eq!(config.data.image_size, [224, 224]);
    }

    #[test]
    fn an_override_is_toml_or_else_text() {
        let set = |assignment: &str| with(&[Layer::set(assignment)]).unwrap();
        assert_eq!(set("model.variant=vit-s/16").model.variant, "vit-s/16");
        assert_eq!(set("model.variant=\"vit-s/16\"").model.variant, "vit-s/16");
        assert_eq!(set("data.image_size=[96, 64]").data.image_size, [96, 64]);
        assert!(!set("data.flip=false").data.flip);
        assert_eq!(
            set("mask.kind=square").mask.kind,
            simmim_data::MaskKind::Square
        );
        assert_eq!(set("data.path=2024").data.path.as_deref(), Some("2024"));
        assert_eq!(set("data.path=a=b").data.path.as_deref(), Some("a=b"));
    }

    #[test]
    fn a_malformed_override_is_an_error_with_an_example() {
        for text in ["epochs=5", "train.epochs", "", ".x=1", "train.=1"] {
            let error = Layer::set(text).unwrap_err();
            assert!(matches!(error, Error::Override { .. }), "{text}");
            assert!(error.hint().unwrap().contains("--set train.epochs"));
        }
    }

    #[test]
    fn a_mistyped_key_names_its_origin_and_the_key_that_was_meant() {
        let (error, hint) = error_and_hint(Layer::text("mine.toml", "[train]\nbach_size = 4"));
        assert_eq!(error, "unknown key `train.bach_size` in mine.toml");
        assert_eq!(hint, "did you mean `train.batch_size`?");
    }

    #[test]
    fn a_key_in_the_wrong_section_is_shown_its_place() {
        let (error, hint) = error_and_hint(Layer::text("mine.toml", "[train]\nratio = 0.5"));
        assert_eq!(error, "unknown key `train.ratio` in mine.toml");
        assert_eq!(hint, "did you mean `mask.ratio`?");
        let (error, hint) = error_and_hint(Layer::text("mine.toml", "epochs = 5"));
        assert_eq!(error, "unknown key `epochs` in mine.toml");
        assert_eq!(hint, "did you mean `train.epochs`?");
        let (_, hint) = error_and_hint(Layer::set("data.bach_size=5"));
        assert_eq!(hint, "did you mean `train.batch_size`?");
    }

    #[test]
    fn an_unknown_section_names_the_one_that_was_meant() {
        let (error, hint) = error_and_hint(Layer::text("mine.toml", "[trian]\nepochs = 5"));
        assert_eq!(error, "unknown section `[trian]` in mine.toml");
        assert_eq!(hint, "did you mean `train`?");
        let (_, hint) = error_and_hint(Layer::text("mine.toml", "[optimizer]\nlr = 5"));
        assert_eq!(
            hint,
            "did you mean `data`, `model`, `mask`, `objective`, `finetune` or `train`?"
        );
    }

    #[test]
    fn a_value_of_the_wrong_type_says_what_was_expected_and_what_was_found() {
        let (error, _) = error_and_hint(Layer::text("mine.toml", "[train]\nepochs = \"many\""));
        assert_eq!(
            error,
            "`train.epochs` in mine.toml is string \"many\", expected a whole number that is not negative"
        );
        let (error, _) = error_and_hint(Layer::set("mask.kind=rnadom"));
        assert!(
            error.contains("expected one of \"random\", \"square\", \"blockwise\""),
            "{error}"
        );
    }

    #[test]
    fn text_that_is_not_toml_says_where() {
        let error = Layer::text("mine.toml", "[train]\nepochs = = 5").unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains("line 2"), "{source}");
    }
}
