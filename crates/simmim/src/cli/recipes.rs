//! `simmim recipes`: the recipes that come with the program, and every key of a configuration.

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use simmim_config::{RawConfig, recipe};

use super::{Talk, output, tell};

/// List the recipes, print one, or list every key that a recipe can set.
///
/// A recipe is one TOML file. Its header gives the command, the cost, the result to expect and the source. A file that
/// begins with `extends = "NAME"` takes the values of that recipe and overrides some of them. The value "unset" removes
/// a recipe's value of a key that may be left unset.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct RecipesArgs {
    /// List the rows of the paper's ablations and the authors' fine-tunings too.
    #[arg(long)]
    all: bool,
    #[command(subcommand)]
    command: Option<RecipesCommand>,
}

#[derive(Debug, Subcommand)]
enum RecipesCommand {
    /// List the name and summary of each recipe, also of the rows of the paper's ablations.
    List,
    /// Print a recipe's TOML, to read or to begin one of your own with.
    Show {
        /// The recipe's name.
        name: String,
    },
    /// List every key with its values, its default, and what it means.
    Keys,
}

const AFTER_HELP: &str = "\
Examples:
  simmim recipes
  simmim recipes --all
  simmim recipes show cifar10-vit > mine.toml
  simmim pretrain --recipe mine.toml --data photos/
  simmim recipes keys";

pub(crate) fn run(args: &RecipesArgs, talk: Talk) -> anyhow::Result<()> {
    let as_json = talk == Talk::Json;
    match &args.command {
        None | Some(RecipesCommand::List) if as_json => {
            let to_json =
                |recipe: &recipe::Recipe| json!({"name": recipe.name, "summary": recipe.summary()});
            let recipes: Vec<Value> = recipe::all().iter().map(to_json).collect();
            output::data(Value::from(recipes))?;
        }
        None | Some(RecipesCommand::List) => {
            list(args.all || args.command.is_some(), talk)?;
        }
        Some(RecipesCommand::Show { name }) => {
            let recipe = recipe::find(name)?;
            if as_json {
                output::data(json!({"name": recipe.name, "toml": recipe.text}))?;
            } else {
                // A line of data brings its own line break.
                output::data(recipe.text.trim_end())?;
            }
        }
        Some(RecipesCommand::Keys) => keys(as_json)?,
    }
    Ok(())
}

/// A line a recipe. The many rows of the paper's tables come when they are asked for.
fn list(all: bool, talk: Talk) -> Result<(), output::StdoutError> {
    let is_listed = |recipe: &&recipe::Recipe| all || !recipe.is_of_family();
    for recipe in recipe::all().iter().filter(is_listed) {
        output::data(format_args!("{:<26} {}", recipe.name, recipe.summary()))?;
    }
    let n_more = recipe::all()
        .iter()
        .filter(|recipe| !is_listed(recipe))
        .count();
    if n_more > 0 {
        tell(
            talk,
            format!(
                "and {n_more} more, `simmim recipes --all`: the authors' fine-tunings (finetune/...) and the rows of the paper's \
                 ablations (paper/...)"
            ),
        );
    }
    Ok(())
}

fn keys(as_json: bool) -> Result<(), output::StdoutError> {
    let keys = RawConfig::keys();
    if as_json {
        let to_json = |key: &simmim_config::Key| {
            json!({
                "key": format!("{}.{}", key.section, key.name),
                "takes": key.takes,
                "default": key.default,
                "doc": key.doc,
            })
        };
        return output::data(Value::from(keys.iter().map(to_json).collect::<Vec<_>>()));
    }
    for key in keys {
        let default = if key.default.is_empty() {
            "not set"
        } else {
            &key.default
        };
        output::data(format_args!(
            "{}.{} = {default}\n    {}\n    Takes: {}.",
            key.section, key.name, key.doc, key.takes
        ))?;
    }
    Ok(())
}
