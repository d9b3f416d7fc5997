//! Every recipe that ships builds its model, of exactly so many parameters. No weight is allocated.
//!
//! `recipes.txt` beside this file holds the counts; `SIMMIM_BLESS=1` writes it again.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

use simmim_config::codebook::CodebookShape;
use simmim_config::keys::Target;
use simmim_config::{ClassList, FineTunePlan, Plan, RawConfig, recipe};
use std::path::Path;

fn plan(recipe: &recipe::Recipe) -> Plan {
    let config = RawConfig::from_layers(&[recipe.layer().unwrap()]).unwrap();
    // BEiT's tokenizer has 8192 tokens of 16 px; the file is the user's.
    let tokens = CodebookShape { n: 8192, side: 16 };
    let codebook = (config.objective.target == Target::Tokens).then_some(tokens);
    Plan::with_codebook(config, codebook).unwrap_or_else(|e| panic!("{}: {e}", recipe.name))
}

/// A plan of a recipe of fine-tuning, for ImageNet's classes.
fn fine_tuning(config: RawConfig) -> FineTunePlan {
    let classes = ClassList {
        classes: (0..1000).map(|class| class.to_string()).collect(),
        multi_label: false,
    };
    FineTunePlan::new(config, classes).unwrap()
}

#[test]
fn every_recipe_builds_a_model_of_the_recorded_size() {
    let line = |recipe: &recipe::Recipe| {
        let config = RawConfig::from_layers(&[recipe.layer().unwrap()]).unwrap();
        if config.finetune.is_some() {
            let n_values = fine_tuning(config).model().1.n_values();
            let name = recipe.name;
            return format!("{name:<30} {n_values:>11} parameters, 1000 classes\n");
        }
        let plan = plan(recipe);
        let n_values = plan.model().1.n_values();
        let (hidden, [h, w]) = (plan.masks().n_hidden(), plan.masks().grid());
        format!(
            "{:<30} {n_values:>11} parameters, {hidden:>4} of {:>4} patches hidden\n",
            recipe.name,
            h * w
        )
    };
    let found: String = recipe::all().iter().map(line).collect();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recipes.txt");
    if std::env::var_os("SIMMIM_BLESS").is_some() {
        std::fs::write(&path, &found).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap();
    assert_eq!(found, expected, "SIMMIM_BLESS=1 writes {}", path.display());
}

/// Published or counted for the authors' models, with the linear head.
#[test]
fn the_authors_models_have_the_authors_numbers_of_parameters() {
    for (name, expected) in [
        ("swin-base", 89_874_104),
        ("swin-base-800ep", 89_874_104),
        ("swin-large", 199_881_204),
        ("paper/mask-random-32-60", 89_874_104),
    ] {
        let found = plan(&recipe::find(name).unwrap()).model().1.n_values();
        assert_eq!(found, expected, "{name}");
    }
}
