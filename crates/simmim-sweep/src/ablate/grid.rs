//! A grid of runs as its file says it.
//!
//! ```text
//! recipe = "cifar10-vit"        # a recipe's name, or a file, seen from the folder of the grid
//! seeds = [0, 1]                # each point once a seed
//! skip_misfits = true           # leave out what does not fit; without it, nothing is run
//!
//! [set]                         # for all points
//! train.epochs = 2
//!
//! [grid]                        # every combination
//! mask.kind = ["random", "square", "blockwise"]
//! mask.ratio = [0.3, 0.6, 0.9]
//!
//! [[also]]                      # one more point
//! mask.cell_px = 16
//!
//! [score]                       # the mask that all encoders are measured under
//! cell_px = 8
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use simmim_config::near::near_or_all;
use simmim_config::{Layer, RawConfig, recipe};
use toml::{Table, Value};

use super::shipped;
use crate::error::Error;

/// A key, `section.key`, and its value.
pub(super) type Setting = (String, Value);

/// A grid of runs: read, its keys and values not yet tried.
#[derive(Debug, Clone)]
pub struct Grid {
    name: String,
    origin: String,
    text: String,
    /// Where a recipe's file is looked for.
    folder: PathBuf,
    recipe: Option<String>,
    set: Vec<Setting>,
    pub(super) axes: Vec<(String, Vec<Value>)>,
    pub(super) also: Vec<Vec<Setting>>,
    pub(super) seeds: Vec<Value>,
    pub(super) skip_misfits: bool,
    score: Vec<Setting>,
}

impl Grid {
    /// A grid that ships, by its name, or one in a file.
    ///
    /// # Errors
    /// [`Error::UnknownGrid`], [`simmim_config::Error::Read`], and those of [`Grid::text`].
    pub fn open(name_or_file: &str) -> Result<Self, Error> {
        let path = Path::new(name_or_file);
        // By the look of it, so that a file that is missing is not looked for among the names.
        if !recipe::is_file(path) {
            let found = shipped::find(name_or_file)?;
            let origin = format!("the grid `{}`", found.name);
            return Self::text(found.name, &origin, found.text);
        }
        let text = fs::read_to_string(path).map_err(|source| simmim_config::Error::Read {
            path: path.to_owned(),
            source,
        })?;
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let grid = Self::text(&stem, name_or_file, &text)?;
        // A grid names its recipe as seen from its own folder, wherever the program is called.
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        Ok(Self { folder, ..grid })
    }

    /// A grid from TOML text.
    ///
    /// # Errors
    /// [`simmim_config::Error::Syntax`], [`Error::UnknownKey`], [`Error::Type`].
    pub fn text(name: &str, origin: &str, text: &str) -> Result<Self, Error> {
        let table: Table = text
            .parse()
            .map_err(|source| simmim_config::Error::Syntax {
                origin: origin.to_owned(),
                source,
            })?;
        let mut grid = Self {
            name: name.to_owned(),
            origin: origin.to_owned(),
            text: text.to_owned(),
            folder: PathBuf::new(),
            recipe: None,
            set: Vec::new(),
            axes: Vec::new(),
            also: Vec::new(),
            seeds: Vec::new(),
            skip_misfits: false,
            score: Vec::new(),
        };
        // By hand, not by a derived type: the error then names the key and what it takes.
        for (key, value) in table {
            grid.take(&key, value)?;
        }
        Ok(grid)
    }

    /// Takes one key of the file.
    fn take(&mut self, key: &str, value: Value) -> Result<(), Error> {
        // Described now, because the match below takes the value apart.
        let found = found(&value);
        let wrong = |expected| Error::Type {
            origin: self.origin.clone(),
            key: key.to_owned(),
            expected,
            found,
        };
        match (key, value) {
            ("recipe", Value::String(name)) => self.recipe = Some(name),
            ("recipe", _) => return Err(wrong("the name of a recipe, or of a file")),
            ("skip_misfits", Value::Boolean(skip)) => self.skip_misfits = skip,
            ("skip_misfits", _) => return Err(wrong("true or false")),
            ("seeds", Value::Array(seeds)) if seeds.iter().all(Value::is_integer) => {
                self.seeds = seeds;
            }
            ("seeds", _) => return Err(wrong("a list of whole numbers")),
            ("set", Value::Table(table)) => self.set = flat(table),
            ("score", Value::Table(table)) => self.score = flat(table),
            ("set" | "score", _) => return Err(wrong("a section of keys and values")),
            ("grid", Value::Table(table)) => self.take_axes(table)?,
            ("grid", _) => return Err(wrong("a section of keys, each with a list of values")),
            ("also", Value::Array(points)) if points.iter().all(Value::is_table) => {
                let tables = points.into_iter().filter_map(|point| match point {
                    Value::Table(table) => Some(flat(table)),
                    // The guard above has let only tables through.
                    _ => None,
                });
                self.also = tables.collect();
            }
            ("also", _) => return Err(wrong("tables of keys and values, each under `[[also]]`")),
            _ => return Err(self.unknown_key(key)),
        }
        Ok(())
    }

    fn take_axes(&mut self, table: Table) -> Result<(), Error> {
        for (key, value) in flat(table) {
            let found = found(&value);
            match value {
                // An empty list would make the whole product empty.
                Value::Array(values) if !values.is_empty() => self.axes.push((key, values)),
                _ => {
                    return Err(Error::Type {
                        origin: self.origin.clone(),
                        key: format!("grid.{key}"),
                        expected: "a list of values, one at least",
                        found,
                    });
                }
            }
        }
        Ok(())
    }

    fn unknown_key(&self, key: &str) -> Error {
        const KEYS: [&str; 7] = [
            "recipe",
            "seeds",
            "skip_misfits",
            "set",
            "grid",
            "also",
            "score",
        ];
        Error::UnknownKey {
            origin: self.origin.clone(),
            key: key.to_owned(),
            near: near_or_all(key, KEYS),
        }
    }

    /// Its name: that of its file, without the ending.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it was given, in words.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The whole file.
    pub fn source(&self) -> &str {
        &self.text
    }

    /// What all points share, before anything is varied: the recipe, `[set]`, then `overrides`.
    ///
    /// # Errors
    /// [`UnknownRecipe`](simmim_config::Error::UnknownRecipe), [`Error::Config`].
    pub fn base(&self, overrides: &[Layer]) -> Result<RawConfig, Error> {
        Ok(RawConfig::from_layers(&self.base_layers(overrides)?)?)
    }

    pub(super) fn base_layers(&self, overrides: &[Layer]) -> Result<Vec<Layer>, Error> {
        let mut layers = Vec::new();
        if let Some(recipe) = &self.recipe {
            layers.push(Layer::recipe(&self.recipe_place(recipe))?.1);
        }
        let set = self.set.iter().map(|setting| self.layer("set", setting));
        layers.extend(set);
        layers.extend_from_slice(overrides);
        Ok(layers)
    }

    /// The recipe's name, or the path of its file.
    fn recipe_place(&self, recipe: &str) -> String {
        let path = Path::new(recipe);
        if recipe::is_file(path) {
            // Joining leaves an absolute path as it is.
            return self.folder.join(path).to_string_lossy().into_owned();
        }
        recipe.to_owned()
    }

    /// What is written into runs as their recipe.
    pub(super) fn recipe_name(&self) -> &str {
        self.recipe.as_deref().unwrap_or(&self.name)
    }

    /// One value of a part of the grid.
    pub(super) fn layer(&self, part: &str, (key, value): &Setting) -> Layer {
        let origin = format!("`{part}` of {}", self.origin);
        Layer::of_key(&origin, key, value.clone())
    }

    /// The keys that are the same for all points: those of `[set]` and of the overrides.
    pub(super) fn set_keys(&self, overrides: &[Layer]) -> Vec<String> {
        let set = self.set.iter().map(|(key, _)| key.clone());
        set.chain(overrides.iter().flat_map(Layer::keys)).collect()
    }

    /// The keys of `[score]`, as those of the section `mask`.
    pub(super) fn score_layers(&self) -> Vec<Layer> {
        // As keys of the mask they are checked by its names and ranges, and refused in its words.
        let of_mask =
            |(key, value): &Setting| self.layer("score", &(format!("mask.{key}"), value.clone()));
        self.score.iter().map(of_mask).collect()
    }
}

/// The keys of all sections as `section.key`, however they are written: quoted, dotted, or under a section.
fn flat(table: Table) -> Vec<Setting> {
    let mut settings = Vec::new();
    for (key, value) in table {
        match value {
            // TOML reads a dotted key as a table too, so both ways of writing it end here.
            Value::Table(keys) => {
                settings.extend(
                    keys.into_iter()
                        .map(|(name, value)| (format!("{key}.{name}"), value)),
                );
            }
            // A key without a section is refused where the layer is applied, with the keys most like it.
            value => settings.push((key, value)),
        }
    }
    settings
}

fn found(value: &Value) -> String {
    match value {
        Value::Table(_) => "a section".to_owned(),
        value => format!("{} {value}", value.type_str()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Grid, Error> {
        Grid::text("mine", "mine.toml", text)
    }

    #[track_caller]
    fn refused(text: &str) -> (String, String) {
        let error = read(text).unwrap_err();
        (error.to_string(), error.hint().unwrap_or_default())
    }

    #[test]
    fn keys_may_be_quoted_dotted_or_under_a_section() {
        for text in [
            "[grid]\n\"mask.kind\" = ['random']\n\"mask.ratio\" = [0.3]\n[set]\n\"train.epochs\" = 2",
            "[grid]\nmask.kind = ['random']\nmask.ratio = [0.3]\n[set]\ntrain.epochs = 2",
            "[grid.mask]\nkind = ['random']\nratio = [0.3]\n[set.train]\nepochs = 2",
        ] {
            let grid = read(text).unwrap();
            let keys: Vec<&str> = grid.axes.iter().map(|(key, _)| key.as_str()).collect();
            assert_eq!(keys, ["mask.kind", "mask.ratio"], "{text}");
            assert_eq!(grid.base(&[]).unwrap().train.epochs, 2);
        }
    }

    #[test]
    fn axes_stand_in_the_order_of_the_file() {
        let grid = read("[grid]\ntrain.epochs = [1]\nmask.ratio = [0.3]\nmask.kind = ['random']");
        let keys: Vec<String> = grid.unwrap().axes.into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["train.epochs", "mask.ratio", "mask.kind"]);
    }

    #[test]
    fn a_key_that_no_grid_has_brings_up_the_one_that_was_meant() {
        let (error, hint) = refused("skip_misfit = true");
        assert_eq!(error, "unknown key `skip_misfit` in mine.toml");
        assert_eq!(hint, "did you mean `skip_misfits`?");
        assert!(
            refused("[mask]\nkind = 'random'")
                .1
                .contains("`set`, `grid`")
        );
    }

    #[test]
    fn a_value_of_the_wrong_type_says_what_was_expected() {
        let (error, _) = refused("[grid]\nmask.ratio = 0.6");
        assert_eq!(
            error,
            "`grid.mask.ratio` in mine.toml is float 0.6, expected a list of values, one at least"
        );
        assert!(
            refused("[grid]\nmask.ratio = []")
                .0
                .contains("one at least")
        );
        assert!(
            refused("seeds = [0.5]")
                .0
                .contains("a list of whole numbers")
        );
        assert!(refused("also = 3").0.contains("`[[also]]`"));
    }

    #[test]
    fn a_recipe_in_a_file_is_looked_for_beside_the_grid() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("own.toml"), "train.epochs = 7").unwrap();
        let path = folder.path().join("grid.toml");
        fs::write(&path, "recipe = 'own.toml'").unwrap();
        let grid = Grid::open(&path.to_string_lossy()).unwrap();
        assert_eq!(grid.base(&[]).unwrap().train.epochs, 7);
        assert_eq!(grid.name(), "grid");
    }
}
