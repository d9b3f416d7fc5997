//! What lies below the settings of the command line: the encoder, and a recipe.

use std::path::Path;

use simmim_backend::fastest_precision;
use simmim_config::auto::Reason;
use simmim_config::recipe::find;
use simmim_config::{Layer, RawConfig, auto};
use simmim_device::DeviceChoice;
use simmim_train::recipe_of;

use crate::cli::progress::Progress;
use crate::cli::resume;

/// The recipe that every recipe of fine-tuning stands on, unless it extends another.
const BASE: &str = "finetune";

/// The layers below what the command line sets.
pub(crate) struct Below {
    /// The name of the recipe.
    pub(crate) name: String,
    /// The lowest first.
    pub(crate) layers: Vec<Layer>,
    /// What was chosen, where no recipe was named.
    reasons: Vec<Reason>,
}

impl Below {
    /// Says what was chosen, and why.
    pub(crate) fn tell(&self, progress: &mut Progress) {
        if !self.reasons.is_empty() {
            progress.note("no --recipe: chosen from the encoder and this machine:");
            progress.tell_choices(&self.reasons);
        }
    }
}

/// Which recipe of fine-tuning is wanted.
pub(crate) enum Recipe {
    /// The one of this name, or in this file.
    Named(String),
    /// The one that suits the encoder and the machine.
    Suitable,
    /// The one that was suitable when a run began, and its precision: later versions and other machines may choose otherwise.
    Begun {
        /// Its name.
        name: String,
        /// What the run says of its precision.
        precision: Layer,
    },
}

impl Recipe {
    /// The one that an option names, else a suitable one.
    pub(crate) fn of_option(name: Option<&str>) -> Self {
        name.map_or(Self::Suitable, |name| Self::Named(name.to_owned()))
    }

    /// The one that was chosen for the run in a folder, where there is one.
    pub(crate) fn begun_in(run: &Path) -> Option<Self> {
        let name =
            recipe_of(run).filter(|name| auto::FINE_TUNING_RECIPES.contains(&name.as_str()))?;
        // What cannot be read is for the run itself to say.
        let asked = RawConfig::from_fine_tuning(&[resume::asked(run).ok()?]).ok()?;
        let precision = asked.precision_layer("the run that was begun");
        Some(Self::Begun { name, precision })
    }

    /// The layers of the recipe, over those that describe the encoder. It stands on the one that every fine-tuning begins with.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub(crate) fn over(&self, mut layers: Vec<Layer>) -> anyhow::Result<Below> {
        let base = find(BASE)?.layer()?;
        let mut reasons = Vec::new();
        let (name, precision) = match self {
            Self::Named(name) => (name.clone(), None),
            Self::Begun { name, precision } => (name.clone(), Some(precision.clone())),
            Self::Suitable => {
                let described: Vec<Layer> = layers.iter().chain([&base]).cloned().collect();
                let encoder = RawConfig::from_fine_tuning(&described)?;
                let precision = fastest_precision(DeviceChoice::Auto);
                let choice = auto::choose_fine_tuning(&encoder, precision)?;
                reasons = choice.reasons;
                (choice.recipe.to_owned(), Some(choice.layer))
            }
        };
        let (name, own) = Layer::recipe(&name)?;
        // One that extends a recipe is whole, and hides what is below it.
        if name != BASE && own.base().is_none() {
            layers.push(base);
        }
        layers.push(own);
        layers.extend(precision);
        Ok(Below {
            name,
            layers,
            reasons,
        })
    }
}

/// What fresh weights need besides a recipe: there is nothing to keep, so all layers learn at the full rate. The authors' recipe
/// stays as it was.
pub(crate) fn of_fresh_weights(recipe: &str) -> anyhow::Result<Option<Layer>> {
    let is_small = recipe == auto::FINE_TUNING_RECIPES[0];
    let layer = is_small.then(|| Layer::set("finetune.layer_decay=1"));
    Ok(layer.transpose()?)
}

/// The layers of `--set`. Who gives a length of the run asks for that, and for no longer one.
pub(crate) fn set_layers(set: &[String]) -> anyhow::Result<Vec<Layer>> {
    let names = |key: &str| {
        let mut keys = set.iter().filter_map(|text| text.split('=').next());
        keys.any(|name| name.trim() == key)
    };
    let mut layers = Vec::new();
    if names("train.epochs") || names("train.max_steps") {
        layers.push(Layer::set("train.min_steps=0")?);
    }
    for assignment in set {
        layers.push(Layer::set(assignment)?);
    }
    Ok(layers)
}
