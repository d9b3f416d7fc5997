//! The recipes that ship with the program.
//!
//! A recipe is a TOML file of the repository's `recipes` folder. Its leading comment states the command, the cost,
//! the expected result and the source. One that differs from another by a few keys `extends` it: those of
//! `recipes/paper`, one for each row of the paper's ablations, all extend `swin-base`.

use std::path::Path;

use crate::error::Error;
use crate::near::near;

/// A recipe that ships with the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recipe {
    /// Its name: that of its file, without the ending.
    pub name: &'static str,
    /// The whole file.
    pub text: &'static str,
}

/// The recipes of these names, each with the text of its file.
macro_rules! recipes {
    ($($name:literal)*) => {
        &[$(Recipe {
            name: $name,
            text: include_str!(concat!("../../../recipes/", $name, ".toml")),
        },)*]
    };
}

const RECIPES: &[Recipe] = recipes! {
    "demo"
    "demo-swin"
    "cifar10-vit"
    "cifar10-swin"
    "cifar10-pretrain"
    "cifar10-finetune"
    "finetune"
    "finetune-small"
    "vit-base"
    "swin-base"
    "swin-base-800ep"
    "swin-large"
    "swinv2-base"
    "finetune/swin-base-192"
    "finetune/swin-base-224"
    "finetune/swin-base-800ep-224"
    "finetune/swin-large-224"
    "finetune/vit-base-224"
    "finetune/swinv2-base-224"
    "paper/mask-square-32-11"
    "paper/mask-square-32-25"
    "paper/mask-square-32-50"
    "paper/mask-blockwise-16-40"
    "paper/mask-blockwise-16-60"
    "paper/mask-blockwise-16-80"
    "paper/mask-blockwise-32-40"
    "paper/mask-blockwise-32-60"
    "paper/mask-blockwise-32-80"
    "paper/mask-random-4-40"
    "paper/mask-random-4-60"
    "paper/mask-random-4-80"
    "paper/mask-random-8-40"
    "paper/mask-random-8-60"
    "paper/mask-random-8-80"
    "paper/mask-random-16-40"
    "paper/mask-random-16-60"
    "paper/mask-random-16-80"
    "paper/mask-random-32-10"
    "paper/mask-random-32-20"
    "paper/mask-random-32-30"
    "paper/mask-random-32-40"
    "paper/mask-random-32-50"
    "paper/mask-random-32-60"
    "paper/mask-random-32-70"
    "paper/mask-random-32-80"
    "paper/mask-random-32-90"
    "paper/mask-random-64-10"
    "paper/mask-random-64-20"
    "paper/mask-random-64-30"
    "paper/mask-random-64-40"
    "paper/mask-random-64-50"
    "paper/mask-random-64-60"
    "paper/mask-random-64-70"
    "paper/mask-random-64-80"
    "paper/head-linear"
    "paper/head-mlp"
    "paper/head-inverse-swin-t"
    "paper/head-inverse-swin-b"
    "paper/resolution-6"
    "paper/resolution-12"
    "paper/resolution-24"
    "paper/resolution-48"
    "paper/resolution-96"
    "paper/resolution-192"
    "paper/loss-l1"
    "paper/loss-l2"
    "paper/loss-smooth-l1"
    "paper/target-bins-8"
    "paper/target-bins-256"
    "paper/target-clusters"
    "paper/target-tokens"
    "paper/scope-full"
};

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
    found.copied().ok_or_else(|| Error::UnknownRecipe {
        name: name.to_owned(),
        near: near_names(name),
    })
}

/// The names that are most like `name`; where none is, all but those of the paper's ablations.
pub(crate) fn near_names(name: &str) -> Vec<String> {
    let alike = near(name, RECIPES.iter().map(|recipe| recipe.name));
    if !alike.is_empty() {
        return alike;
    }
    // The many rows of the paper's tables would bury the names that someone may have meant.
    let alone = RECIPES.iter().filter(|recipe| !recipe.is_of_family());
    alone.map(|recipe| recipe.name.to_owned()).collect()
}

/// Whether a name is that of a file rather than that of something that ships.
pub fn is_file(path: &Path) -> bool {
    // By its look and not by looking for it, so that a missing file is called missing.
    path.extension()
        .is_some_and(|extension| extension == "toml")
        || path.components().count() > 1
}

impl Recipe {
    /// The comment that the file starts with, without the signs of a comment.
    pub fn header(&self) -> String {
        // Up to the first line that is none: comments further down belong to the keys below them.
        let comment = self.text.lines().map_while(|line| line.strip_prefix('#'));
        let lines: Vec<&str> = comment
            .map(|line| line.strip_prefix(' ').unwrap_or(line))
            .collect();
        lines.join("\n")
    }

    /// Whether it is one of many of a kind, which have a folder: `paper/...`, `finetune/...`.
    pub fn is_of_family(&self) -> bool {
        self.name.contains('/')
    }

    /// The first line of the header: what the recipe is, in one sentence.
    pub fn summary(&self) -> &'static str {
        let first = self.text.lines().next().unwrap_or_default();
        first.trim_start_matches(['#', ' '])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::Layer;
    use crate::raw::RawConfig;

    #[test]
    fn every_recipe_is_a_configuration_without_unknown_keys() {
        for recipe in all() {
            let config = RawConfig::from_layers(&[recipe.layer().unwrap()]);
            assert!(config.is_ok(), "{}: {}", recipe.name, config.unwrap_err());
        }
    }

    /// Names of the files of a folder of recipes, without the ending.
    fn files_of(folder: &str) -> Vec<String> {
        let path = format!("{}/../../{folder}", env!("CARGO_MANIFEST_DIR"));
        let names = std::fs::read_dir(path).unwrap().filter_map(|entry| {
            let name = entry.unwrap().file_name();
            name.to_str()?.strip_suffix(".toml").map(str::to_owned)
        });
        names.collect()
    }

    #[test]
    fn every_file_of_the_recipes_folder_ships() {
        let mut files = files_of("recipes");
        for folder in ["paper", "finetune"] {
            let inside = files_of(&format!("recipes/{folder}")).into_iter();
            files.extend(inside.map(|name| format!("{folder}/{name}")));
        }
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
            assert!(!header.contains("MEASURE"), "{}", recipe.name);
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
    fn a_recipe_that_extends_another_overlays_it_key_by_key() {
        let read = |text: &str| {
            Layer::text("mine", text).map(|layer| RawConfig::from_layers(&[layer]).unwrap())
        };
        let config = read("extends = 'paper/loss-l2'\n[train]\nepochs = 3").unwrap();
        // Its own, that of the row, and that of the authors' Swin-B.
        assert_eq!(config.train.epochs, 3);
        assert_eq!(config.objective.loss, simmim_autograd::PixelLoss::L2);
        assert_eq!(
            (config.model.window, config.train.batch_size),
            (Some(6), 2048)
        );
        let error = read("extends = 'swin-bas'").unwrap_err();
        assert_eq!(
            error.to_string(),
            "mine extends \"swin-bas\", which is not the name of a recipe"
        );
        assert_eq!(error.hint().unwrap(), "did you mean `swin-base`?");
        assert!(read("extends = 3").is_err());
    }

    #[test]
    fn an_unknown_name_brings_up_the_one_that_was_meant() {
        assert_eq!(
            find("vit-bas").unwrap_err().hint().unwrap(),
            "did you mean `vit-base`?"
        );
        let hint = find("nothing like it").unwrap_err().hint().unwrap();
        assert!(hint.starts_with("did you mean `demo`, "), "{hint}");
        assert!(!hint.contains("paper/"), "{hint}");
    }
}
