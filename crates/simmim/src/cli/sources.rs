//! Where a configuration comes from: recipe, file, command line, or the images themselves.

use std::num::NonZero;
use std::path::Path;
use std::thread::available_parallelism;

use simmim_backend::fastest_precision;
use simmim_config::auto::Choice;
use simmim_config::keys::Train;
use simmim_config::{Layer, RawConfig, auto};
use simmim_data::{
    DataSet, HeldOut, ImageSample, LabelSettings, LabelledSet, Only, Opening, Reporter, Survey,
    absolute_spec,
};
use simmim_train::checkpoint::Origin;
use simmim_train::finetune::open_labelled;
use simmim_train::memory_of;
use simmim_train::observer::tell_looking;
use simmim_train::source::Source;

use super::failure::Usage;
use super::pretrain::PretrainArgs;
use super::progress::Progress;
use super::{Talk, tell, tell_passed_over};

/// Images whose headers are read to choose a configuration.
const SURVEYED: ImageSample = ImageSample {
    max_images: 256,
    seed: 0,
};

/// The configuration that the arguments ask for, and its name.
pub(crate) fn configuration(
    args: &PretrainArgs,
    progress: &mut Progress,
) -> anyhow::Result<(String, RawConfig)> {
    // First, so that a malformed one is told before the images are looked at.
    let given = given(args)?;
    let source = match &args.from {
        Some(from) => Some(args.weights.open(from, &args.set)?),
        None => None,
    };
    let mut layers = Vec::new();
    let mut is_chosen = false;
    let name = match (&args.recipe, &args.config) {
        (Some(recipe), _) => Layer::recipe(recipe)?.0,
        (None, Some(path)) => stem(path),
        (None, None) => {
            // The lowest layer, so that whatever the user gives lies over it.
            let (name, layer) = lowest(args, source.as_ref(), progress)?;
            layers.push(layer);
            is_chosen = pre_training(source.as_ref()).is_none();
            name
        }
    };
    layers.extend(given.recipe);
    layers.extend(source.iter().map(Source::geometry_layer));
    layers.extend(given.others);
    let mut config = RawConfig::from_layers(&layers)?;
    if source.is_some() {
        config = fitted(config, args, progress);
    }
    // Only now: given weights have a geometry of their own, and what is set may take more memory than what was chosen.
    let is_free = set_last(&args.settings(), "train.accumulation").is_none();
    let memory_bytes = memory_bytes(&config.train);
    if is_chosen
        && is_free
        && let Some(reason) = auto::divide_batch(&mut config, memory_bytes)
    {
        progress.tell_choices(&[reason]);
    }
    config.data.path = Some(data_path(args.images()?, &config)?);
    Ok((name, config))
}

/// The configuration that the arguments make of `lowest`.
pub(crate) fn configuration_over(lowest: Layer, args: &PretrainArgs) -> anyhow::Result<RawConfig> {
    let mut layers = vec![lowest];
    let given = given(args)?;
    layers.extend(given.recipe.into_iter().chain(given.others));
    Ok(RawConfig::from_layers(&layers)?)
}

/// What lies below all that the user gives: the configuration of the run that is gone on from, else what suits images and machine.
fn lowest(
    args: &PretrainArgs,
    source: Option<&Source>,
    progress: &mut Progress,
) -> anyhow::Result<(String, Layer)> {
    let Some(origin) = pre_training(source) else {
        let variant = source.map(|source| source.weights().config().model.variant.clone());
        let layer = chosen(args, variant.as_deref(), progress)?;
        return Ok(("auto".to_owned(), layer));
    };
    progress.note(&format!(
        "everything that is not given is as in the run of {}",
        source
            .map(|source| source.weights().path().display().to_string())
            .unwrap_or_default()
    ));
    let layer = Layer::text("the run to begin with", &origin.config.to_toml())?;
    Ok((origin.recipe.clone(), layer))
}

/// The pre-training of this program that weights are of. Of a fine-tuning only the encoder is of use.
fn pre_training(source: Option<&Source>) -> Option<&Origin> {
    let origin = source.and_then(Source::origin);
    origin.filter(|origin| origin.config.finetune.is_none())
}

/// The configuration with cells that fit the patches of given weights, where the user says none.
fn fitted(config: RawConfig, args: &PretrainArgs, progress: &mut Progress) -> RawConfig {
    if set_last(&args.set, "mask.cell_px").is_some() {
        return config;
    }
    let wanted = config.mask.cell_px;
    let config = config.with_fitting_cells();
    let cell_px = config.mask.cell_px;
    if cell_px != wanted {
        progress.note(&format!(
            "cells of {cell_px} px (mask.cell_px): {wanted} is no whole number of patches of the given weights"
        ));
    }
    config
}

/// The layers that the arguments name.
struct Given {
    recipe: Option<Layer>,
    /// The lowest first.
    others: Vec<Layer>,
}

fn given(args: &PretrainArgs) -> anyhow::Result<Given> {
    let mut layers = Vec::new();
    let recipe = match &args.recipe {
        Some(recipe) => Some(Layer::recipe(recipe)?.1),
        None => None,
    };
    if let Some(path) = &args.config {
        let layer = Layer::file(path)?;
        if let (Some(base), Some(recipe)) = (layer.base(), &args.recipe) {
            let what = format!(
                "{} extends the recipe `{base}`, so nothing would be left of --recipe {recipe}",
                path.display()
            );
            return Err(
                Usage::new(what, "pass it as --recipe, or remove its line `extends`").into(),
            );
        }
        layers.push(layer);
    }
    for assignment in &args.settings() {
        layers.push(Layer::set(assignment)?);
    }
    if let Some(from) = &args.from {
        // The run keeps it, and may go on from another folder.
        layers.push(Layer::set(&format!("train.from={}", absolute_spec(from)?))?);
    }
    layers.extend(args.weights.layers()?);
    // A key that there is not is told at once. Which values fit together is seen when the choice lies below them.
    RawConfig::overlaid(&layers)?;
    Ok(Given {
        recipe,
        others: layers,
    })
}

fn stem(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default();
    stem.to_string_lossy().into_owned()
}

/// The images that `spec` names, of which `only` takes what it takes in folders and archives. Says how far it is where that takes
/// long, and what is passed over.
pub(crate) fn open(spec: &str, only: Only, talk: Talk) -> anyhow::Result<DataSet> {
    let mut told = |n_files| tell(talk, format!("looking for images: {n_files} files so far"));
    let opening = Opening {
        only,
        watch: Some(&mut told),
    };
    let data = DataSet::open_with(spec, opening)?;
    tell_passed_over(talk, &data);
    Ok(data)
}

/// The images that a fine-tuning holds out by its recipe. A frozen encoder is judged on the same, so that the two compare.
pub(crate) const HELD_OUT: HeldOut = HeldOut {
    share: 0.1,
    max: 10_000,
};

/// Which images with labels a frozen encoder is judged on.
pub(crate) struct Judged<'a> {
    /// Where they are.
    pub(crate) data: &'a str,
    /// The share of each class that is held out.
    pub(crate) val_share: f64,
    pub(crate) seed: u64,
    pub(crate) max_classes: Option<usize>,
}

/// Opens images with one label each; what to do with others is in `hint`.
pub(crate) fn open_judged(
    judged: &Judged<'_>,
    config: &RawConfig,
    hint: &'static str,
) -> anyhow::Result<LabelledSet> {
    let settings = LabelSettings {
        held_out: HeldOut {
            share: judged.val_share,
            ..HELD_OUT
        },
        seed: judged.seed,
        max_classes: judged.max_classes,
        only: config.only()?,
    };
    let set = LabelledSet::open(judged.data, &settings)?;
    if set.labels().multi_label() {
        let message = format!("the images of {} have several labels each", judged.data);
        return Err(Usage::new(message, hint).into());
    }
    Ok(set)
}

/// Says where images have pages that are not read, where talk is wanted.
pub(crate) fn tell_pages(talk: Talk, data: &DataSet, config: &RawConfig) {
    // Images are not read for what nobody is told.
    if talk != Talk::Plain {
        return;
    }
    // What cannot be read is for the command itself to say.
    let reporter = Reporter::new(usize::MAX);
    let survey = Survey::of(data, SURVEYED, &config.decode_settings(), &reporter);
    let line = survey
        .ok()
        .and_then(|survey| auto::describe_pages(&survey, config.data.pages));
    if let Some(line) = line {
        tell(talk, line);
    }
}

/// What the images and the machine suggest, with the reasons told.
fn chosen(
    args: &PretrainArgs,
    variant: Option<&str>,
    progress: &mut Progress,
) -> anyhow::Result<Layer> {
    let mut set = args.settings();
    // The first, so that what the user sets counts.
    if let Some(variant) = variant {
        set.insert(0, format!("model.variant={variant}"));
    }
    let mut config = RawConfig::from_layers(&keys_to_look_by(&set)?)?;
    config.data.path = Some(data_path(args.images()?, &config)?);
    let mut told = |n_files| tell_looking(progress, n_files);
    let data = config.open_data(Some(&mut told))?;
    let choice = choose(&data, &config, &set, |_| None)?;
    progress.note("no --recipe: chosen from the images and this machine:");
    progress.tell_choices(choice.reasons());
    Ok(Layer::text(
        "the automatic choice",
        &choice.config.to_toml(),
    )?)
}

/// The encoder that labelled images and the machine suggest where there is none to begin with, with the reasons told.
pub(crate) fn chosen_encoder(
    data: Option<&str>,
    set: &[String],
    progress: &mut Progress,
) -> anyhow::Result<Layer> {
    let mut config = RawConfig::from_fine_tuning(&keys_to_look_by(set)?)?;
    config.data.path = Some(data_path(data, &config)?);
    let labelled = open_labelled(&config)?;
    let choice = choose(labelled.data(), &config, set, memory_bytes)?;
    progress.note("from scratch: the network is chosen from the images and this machine:");
    progress.tell_choices(&choice.encoder);
    Ok(choice.config.encoder_layer("the automatic choice"))
}

/// The layers of those keys by which images are looked at. Looked up alone: the other keys need not fit together before the choice
/// is under them.
pub(crate) fn keys_to_look_by(set: &[String]) -> anyhow::Result<Vec<Layer>> {
    let keys = [
        "data.path",
        "data.only",
        "data.exif",
        "data.max_pixels",
        "data.pages",
    ];
    let set = keys.iter().filter_map(|key| set_last(set, key));
    Ok(set.map(Layer::set).collect::<Result<_, _>>()?)
}

/// What suits these images on this machine, and what is set already.
pub(crate) fn choose(
    data: &DataSet,
    config: &RawConfig,
    set: &[String],
    memory_bytes: fn(&Train) -> Option<u64>,
) -> anyhow::Result<Choice> {
    // The run itself counts unreadable images and holds them against its limit.
    let reporter = Reporter::new(usize::MAX);
    let survey = Survey::of(data, SURVEYED, &config.decode_settings(), &reporter)?;
    let over: Vec<Layer> = set
        .iter()
        .map(|it| Layer::set(it))
        .collect::<Result<_, _>>()?;
    // As the settings read it: `data.image_size` may be one number or two.
    let own = RawConfig::overlaid(&over)?;
    let machine = auto::Machine {
        cores: available_parallelism().map_or(1, NonZero::get),
        memory_bytes: memory_bytes(&own.train),
        precision: fastest_precision(own.train.device),
    };
    let is_set = |key: &str| set_last(set, key).is_some();
    let given = auto::Given {
        variant: set_value(set, "model.variant"),
        epochs: is_set("train.epochs").then_some(own.train.epochs),
        batch_size: is_set("train.batch_size").then_some(own.train.batch_size),
        image_size: is_set("data.image_size").then_some(own.data.image_size),
    };
    Ok(auto::choose(&survey, machine, given))
}

pub(crate) fn memory_bytes(train: &Train) -> Option<u64> {
    memory_of(train).map(|memory| memory.bytes)
}

/// The last `--set` of a key.
fn set_last<'a>(set: &'a [String], key: &str) -> Option<&'a str> {
    // Of several the last one counts, as among layers.
    let of_key = |text: &&String| {
        text.split('=')
            .next()
            .is_some_and(|name| name.trim() == key)
    };
    set.iter().rfind(of_key).map(String::as_str)
}

/// What the last `--set` of a key sets it to.
pub(crate) fn set_value<'a>(set: &'a [String], key: &str) -> Option<&'a str> {
    let (_, value) = set_last(set, key)?.split_once('=')?;
    Some(value.trim().trim_matches('"'))
}

/// Where the images are: what `--data` says, else what the configuration says.
pub(crate) fn data_path(data: Option<&str>, config: &RawConfig) -> anyhow::Result<String> {
    let missing = || {
        Usage::new(
            "no images are given",
            "pass --data PATH: a folder, a .tar, or a list of images",
        )
    };
    let path = data.or(config.data.path.as_deref()).ok_or_else(missing)?;
    Ok(absolute_spec(path)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use simmim_config::recipe::find;

    #[test]
    fn a_frozen_encoder_is_judged_on_the_images_that_a_fine_tuning_holds_out() {
        for recipe in auto::FINE_TUNING_RECIPES {
            let layers = ["finetune", recipe].map(|name| find(name).unwrap().layer().unwrap());
            let config = RawConfig::from_fine_tuning(&layers).unwrap();
            let found = config.held_out();
            assert_eq!((found.share, found.max), (HELD_OUT.share, HELD_OUT.max));
            assert_eq!(config.train.seed, 0, "as --seed of knn and probe");
        }
    }
}
