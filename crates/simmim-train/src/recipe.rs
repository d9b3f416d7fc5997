//! The recipes that ship with the program.
//!
//! A recipe is a TOML file of the repository's `recipes` folder. Its leading comment states the command, the cost,
//! the expected result and the source.

use std::path::Path;

use crate::Error;
use crate::config::{ConfigError, Layer};
use crate::error::near;

/// A recipe that ships with the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recipe {
    /// Its name: that of its file, without the ending.
    pub name: &'static str,
    /// The whole file.
    pub text: &'static str,
}

const RECIPES: &[Recipe] = &[
    Recipe {
        name: "demo",
        text: include_str!("../../../recipes/demo.toml"),
    },
    Recipe {
        name: "cifar10-vit",
        text: include_str!("../../../recipes/cifar10-vit.toml"),
    },
    Recipe {
        name: "vit-base",
        text: include_str!("../../../recipes/vit-base.toml"),
    },
];

/// All recipes, the cheapest first.
pub fn all() -> &'static [Recipe] {
    RECIPES
}

/// The recipe of that name.
///
/// # Errors
/// [`Error::UnknownRecipe`] with the names that are most like it, or all names where none is.
pub fn find(name: &str) -> Result<Recipe, Error> {
    let found = RECIPES.iter().find(|recipe| recipe.name == name);
    found.copied().ok_or_else(|| {
        let names = RECIPES.iter().map(|recipe| recipe.name);
        let mut alike = near(name, names.clone());
        if alike.is_empty() {
            alike = names.map(str::to_owned).collect();
        }
        Error::UnknownRecipe {
            name: name.to_owned(),
            near: alike,
        }
    })
}

/// Name and values of a recipe that is given by its name or, where it looks like one, by a file.
///
/// # Errors
/// Those of [`find`], and [`ConfigError::Read`] and [`ConfigError::Syntax`] of a file.
pub fn layer_of(name_or_file: &str) -> Result<(String, Layer), Error> {
    let path = Path::new(name_or_file);
    if is_file(path) {
        let stem = path.file_stem().unwrap_or_default();
        return Ok((stem.to_string_lossy().into_owned(), Layer::file(path)?));
    }
    let found = find(name_or_file)?;
    Ok((found.name.to_owned(), found.layer()?))
}

/// Whether a name is that of a file rather than that of something that ships.
pub(crate) fn is_file(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension == "toml")
        || path.components().count() > 1
}

impl Recipe {
    /// The comment that the file starts with, without the signs of a comment.
    pub fn header(&self) -> String {
        let comment = self.text.lines().map_while(|line| line.strip_prefix('#'));
        let lines: Vec<&str> = comment
            .map(|line| line.strip_prefix(' ').unwrap_or(line))
            .collect();
        lines.join("\n")
    }

    /// The first line of the header: what the recipe is, in one sentence.
    pub fn summary(&self) -> &'static str {
        let first = self.text.lines().next().unwrap_or_default();
        first.trim_start_matches(['#', ' '])
    }

    /// The recipe as a layer of a configuration.
    ///
    /// # Errors
    /// [`ConfigError::Syntax`]; a test holds that no recipe that ships has one.
    pub fn layer(&self) -> Result<Layer, ConfigError> {
        Layer::text(format!("recipe `{}`", self.name), self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RawConfig;

    #[test]
    fn every_recipe_is_a_configuration_without_unknown_keys() {
        for recipe in all() {
            let config = RawConfig::from_layers(&[recipe.layer().unwrap()]);
            assert!(config.is_ok(), "{}: {}", recipe.name, config.unwrap_err());
        }
    }

    #[test]
    fn every_file_of_the_recipes_folder_ships() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../recipes");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .filter_map(|entry| {
                entry
                    .unwrap()
                    .file_name()
                    .to_str()?
                    .strip_suffix(".toml")
                    .map(str::to_owned)
            })
            .collect();
        let mut names: Vec<&str> = all().iter().map(|recipe| recipe.name).collect();
        files.sort();
        names.sort_unstable();
        assert_eq!(files, names);
    }

    #[test]
    fn every_header_states_command_cost_expectation_and_source() {
        for recipe in all() {
            let header = recipe.header();
            for part in ["Command:", "Cost:", "Expected:", "Source:"] {
                assert!(header.contains(part), "{} lacks {part}", recipe.name);
            }
            assert!(header.contains(&format!("--recipe {}", recipe.name)));
            assert!(header.starts_with(recipe.summary()) && recipe.summary().ends_with('.'));
        }
    }

    #[test]
    fn the_authors_recipe_has_the_authors_values() {
        // Source: microsoft/SimMIM, configs/vit_base__800ep, as listed in arXiv 2111.09886's released code.
        let config = RawConfig::from_layers(&[find("vit-base").unwrap().layer().unwrap()]).unwrap();
        assert_eq!((config.train.epochs, config.train.batch_size), (800, 2048));
        assert_eq!((config.train.base_lr, config.train.warmup_lr), (1e-4, 5e-7));
        assert_eq!(config.train.milestones, [700]);
        assert_eq!((config.mask.cell_px, config.mask.ratio), (32, 0.6));
    }

    #[test]
    fn an_unknown_name_brings_up_the_one_that_was_meant() {
        assert_eq!(
            find("vit-bas").unwrap_err().hint().unwrap(),
            "did you mean `vit-base`?"
        );
        let hint = find("nothing like it").unwrap_err().hint().unwrap();
        assert_eq!(hint, "did you mean `demo`, `cifar10-vit` or `vit-base`?");
    }
}
