//! `simmim inspect`: what is in a file of weights, and in what two of them differ.

mod diff;

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};
use simmim_checkpoint::{Archive, Integrity};
use simmim_config::codebook::CODEBOOK;
use simmim_train::checkpoint::{self, Origin};
use simmim_train::run_folder;
use simmim_weights::{Listed, Weights, open_parts};

use super::weights::ForeignArgs;
use super::{Talk, output, tell};

/// Tensors of this prefix are the optimiser's, not the model's.
const OPTIMIZER: &str = "optimizer.";

/// Say what a weights file holds: number of parameters, where it comes from, with --all every tensor.
///
/// Takes any safetensors file, an index of several, or a folder with either, and says what model it holds where its names are known.
/// Reads the whole file and verifies its checksum.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct InspectArgs {
    /// A safetensors file, a folder of weights, or a run folder (its best weights).
    #[arg(value_name = "FILE|FOLDER|RUN", required_unless_present = "diff")]
    path: Option<PathBuf>,
    /// Compare two files array by array instead, under the names of simmim where both are known.
    #[arg(long, num_args = 2, value_names = ["A", "B"], conflicts_with = "path")]
    diff: Option<Vec<PathBuf>>,
    /// List every tensor with its shape and type.
    #[arg(long, conflicts_with = "diff")]
    all: bool,
    #[command(flatten)]
    foreign: ForeignArgs,
}

const AFTER_HELP: &str = "\
Examples:
  simmim inspect runs/first
  simmim inspect runs/first/checkpoints/last.safetensors
  simmim inspect vit-base/                      a folder of transformers or timm
  simmim inspect weights.safetensors --all
  simmim inspect --diff runs/first vit-base/";

pub(crate) fn run(args: &InspectArgs, talk: Talk) -> anyhow::Result<()> {
    if let Some([a, b]) = args.diff.as_deref() {
        return diff::run(a, b, &args.foreign.options(), talk);
    }
    let path = args.path.as_deref().unwrap_or(Path::new(""));
    let file = run_folder::weights_of(path);
    // One after the other where there are several: each is a file of its own.
    for part in open_parts(&file)? {
        let Some(archive) = part.archive() else {
            list(&file, &part.listed(), args.all, talk)?;
            continue;
        };
        let integrity = archive.verify()?;
        // A file of another program has no origin, and is welcome all the same.
        let origin = match checkpoint::origin(archive) {
            Err(simmim_train::Error::NoMetadata { .. }) => None,
            origin => Some(origin?),
        };
        if talk == Talk::Json {
            output::data(to_json(archive, integrity, origin.as_ref())?)?;
        } else {
            let text = to_text(archive, integrity, origin.as_ref());
            output::data(text + &tensors(archive, args.all))?;
        }
        if origin.is_some() {
            return Ok(());
        }
    }
    tell_model(&file, &args.foreign, talk)
}

/// Lists the arrays of a file of `torch.save`.
fn list(file: &Path, arrays: &[Listed], all: bool, talk: Talk) -> anyhow::Result<()> {
    if talk == Talk::Json {
        let tensors = arrays
            .iter()
            .map(|array| json!({"name": array.name, "shape": array.shape, "dtype": array.dtype}));
        output::data(json!({"file": file, "tensors": tensors.collect::<Vec<_>>()}))?;
        return Ok(());
    }
    output::data(format!("file:        {}", file.display()))?;
    output::data(n_tensors(arrays.len(), all))?;
    for Listed { name, shape, dtype } in arrays.iter().filter(|_| all) {
        output::data(format!("  {dtype:<5} {:<18} {name}", format!("{shape:?}")))?;
    }
    Ok(())
}

/// Says what model a file of another program holds, or why that is not known: what it lists is of use all the same.
fn tell_model(file: &Path, foreign: &ForeignArgs, talk: Talk) -> anyhow::Result<()> {
    let weights = match Weights::open(file, &foreign.options()) {
        Ok(weights) => weights,
        Err(error) => {
            tell(talk, format!("model: {error}"));
            return Ok(());
        }
    };
    let unexplained = weights.unexplained();
    if talk == Talk::Json {
        output::data(json!({
            "model": weights.describe(),
            "format": weights.format().word(),
            "unexplained": unexplained,
            "config": toml::from_str::<Value>(&weights.config().to_toml())?,
        }))?;
        return Ok(());
    }
    output::data(format!("model:       {}", weights.describe()))?;
    for (name, reason) in weights.unused() {
        output::data(format!("not used:    {name}: {reason}"))?;
    }
    for name in unexplained {
        output::data(format!("unexplained: {name}"))?;
    }
    Ok(())
}

/// How many values are the model's, and how many the optimiser's. A codebook is neither.
fn count(archive: &Archive) -> (usize, usize) {
    let of = |optimizer: bool| -> usize {
        archive
            .tensors()
            .filter(|(name, _)| name.starts_with(OPTIMIZER) == optimizer && *name != CODEBOOK)
            .map(|(_, info)| info.n_values())
            .sum()
    };
    (of(false), of(true))
}

fn to_text(archive: &Archive, integrity: Integrity, origin: Option<&Origin>) -> String {
    let (n_parameters, n_optimizer) = count(archive);
    let mut lines = vec![
        format!("file:        {}", archive.path().display()),
        format!("size:        {} bytes", archive.n_bytes()),
        format!("integrity:   {}", in_words(integrity)),
        format!("parameters:  {n_parameters} in the model, {n_optimizer} values of the optimiser"),
    ];
    lines.extend(origin.map_or_else(Vec::new, origin_lines));
    lines.join("\n")
}

/// The tensors: how many, or each.
fn tensors(archive: &Archive, all: bool) -> String {
    let mut lines = vec![String::new(), n_tensors(archive.names().len(), all)];
    for (name, info) in archive.tensors().filter(|_| all) {
        lines.push(format!(
            "  {:<5} {:<18} {name}",
            info.dtype.to_string(),
            format!("{:?}", info.shape)
        ));
    }
    lines.join("\n")
}

fn n_tensors(n: usize, all: bool) -> String {
    let more = if all { "" } else { " (--all lists them)" };
    format!("tensors:     {n}{more}")
}

fn in_words(integrity: Integrity) -> &'static str {
    match integrity {
        Integrity::Verified => "verified by its checksum",
        Integrity::NoChecksum => "no checksum to verify; readable to the end",
    }
}

fn origin_lines(origin: &Origin) -> Vec<String> {
    let (config, progress) = (&origin.config, &origin.progress);
    let [height, width] = config.data.image_size;
    let best = progress.best_val_loss;
    vec![
        format!("recipe:      {}", origin.recipe),
        format!(
            "step:        {}, after {:.0} s of training",
            progress.step, progress.seconds
        ),
        format!(
            "held-out loss, best: {}",
            best.map_or("not measured".to_owned(), |loss| format!("{loss:.4}"))
        ),
        format!(
            "model:       {} for {height} x {width} px, {} channels",
            config.model.variant, config.data.channels
        ),
        format!(
            "masks:       cells of {} px, {} hidden",
            config.mask.cell_px, config.mask.ratio
        ),
        format!(
            "images:      {}",
            config.data.path.as_deref().unwrap_or("not known")
        ),
    ]
}

fn to_json(
    archive: &Archive,
    integrity: Integrity,
    origin: Option<&Origin>,
) -> anyhow::Result<Value> {
    let (n_parameters, n_optimizer) = count(archive);
    let tensors: Vec<Value> = archive
        .tensors()
        .map(|(name, info)| json!({"name": name, "shape": info.shape, "dtype": info.dtype.to_string()}))
        .collect();
    let origin = match origin {
        None => Value::Null,
        Some(origin) => json!({
            "recipe": origin.recipe,
            "step": origin.progress.step,
            "seconds": origin.progress.seconds,
            "best_val_loss": origin.progress.best_val_loss,
            // By way of TOML, so that there is one list of keys and not two to keep alike.
            "config": toml::from_str::<Value>(&origin.config.to_toml())?,
        }),
    };
    Ok(json!({
        "file": archive.path(),
        "n_bytes": archive.n_bytes(),
        "verified": integrity == Integrity::Verified,
        "n_parameters": n_parameters,
        "n_optimizer_values": n_optimizer,
        "origin": origin,
        "tensors": tensors,
    }))
}
