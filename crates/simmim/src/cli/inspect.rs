//! `simmim inspect`: what is in a file of weights.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};
use simmim_checkpoint::{Archive, Integrity};
use simmim_config::codebook::CODEBOOK;
use simmim_train::checkpoint::{self, Origin};
use simmim_train::run_folder;

use super::{Talk, output};

/// Tensors of this prefix are the optimiser's, not the model's.
const OPTIMIZER: &str = "optimizer.";

/// List what a weights file holds: tensors, number of parameters, where it comes from.
///
/// Takes any safetensors file. Reads the whole file and verifies its checksum.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct InspectArgs {
    /// A safetensors file, or a run folder (its best weights).
    #[arg(value_name = "FILE|RUN")]
    path: PathBuf,
}

const AFTER_HELP: &str = "\
Examples:
  simmim inspect runs/first
  simmim inspect runs/first/checkpoints/last.safetensors
  simmim inspect weights.safetensors --json";

pub(crate) fn run(args: &InspectArgs, talk: Talk) -> anyhow::Result<()> {
    let archive = Archive::open(run_folder::weights_of(&args.path))?;
    let integrity = archive.verify()?;
    // A file of another program has no origin, and is welcome all the same.
    let origin = match checkpoint::origin(&archive) {
        Err(simmim_train::Error::NoMetadata { .. }) => None,
        origin => Some(origin?),
    };
    if talk == Talk::Json {
        output::data(to_json(&archive, integrity, origin.as_ref())?)?;
    } else {
        output::data(to_text(&archive, integrity, origin.as_ref()))?;
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
    lines.push(format!("tensors:     {}", archive.names().len()));
    for (name, info) in archive.tensors() {
        lines.push(format!(
            "  {:<5} {:<18} {name}",
            info.dtype.to_string(),
            format!("{:?}", info.shape)
        ));
    }
    lines.join("\n")
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
