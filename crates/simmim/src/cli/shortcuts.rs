//! What the field expects to stand on the command line of a training, beside `--set`.

use clap::Args;
use simmim_data::printable;

use super::failure::Usage;

/// Keys with an option of their own, and the images without `--data`.
#[derive(Debug, Args)]
pub(crate) struct Shortcuts {
    /// The images, as with --data.
    #[arg(value_name = "PATH", hide = true)]
    paths: Vec<String>,
    /// Passes over the images (train.epochs).
    #[arg(long, value_name = "N", conflicts_with = "resume")]
    epochs: Option<usize>,
    /// Images of a step (`train.batch_size`).
    #[arg(long, value_name = "N", conflicts_with = "resume")]
    batch_size: Option<usize>,
    /// Precision of products, fp32 or bf16 (train.precision).
    #[arg(long, value_name = "NAME", conflicts_with = "resume")]
    precision: Option<String>,
    /// Threads to compute with (train.threads) [default: one for each core].
    #[arg(long, value_name = "N", conflicts_with = "resume")]
    threads: Option<usize>,
    /// Seed of all random decisions (train.seed) [default: 0].
    #[arg(long, value_name = "N", conflicts_with = "resume")]
    seed: Option<u64>,
    /// Say what was chosen and what it will take in time, memory and disk, and do nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

impl Shortcuts {
    /// The settings, after those of `--set`: an option that is not given sets nothing, so that the recipe's value stays.
    pub(crate) fn over(&self, set: &[String]) -> Vec<String> {
        let words = |value: Option<usize>| value.map(|value| value.to_string());
        let own = [
            ("train.epochs", words(self.epochs)),
            ("train.batch_size", words(self.batch_size)),
            ("train.precision", self.precision.clone()),
            ("train.threads", words(self.threads)),
            ("train.seed", self.seed.map(|seed| seed.to_string())),
        ];
        let own = own
            .into_iter()
            .filter_map(|(key, value)| Some(format!("{key}={}", value?)));
        set.iter().cloned().chain(own).collect()
    }

    /// Where the images are: what `--data` says, or the word without an option.
    ///
    /// # Errors
    /// For several places.
    pub(crate) fn data<'a>(&'a self, data: Option<&'a str>) -> Result<Option<&'a str>, Usage> {
        let mut places = data
            .into_iter()
            .chain(self.paths.iter().map(String::as_str));
        let (first, second) = (places.next(), places.next());
        let Some(second) = second else {
            return Ok(first);
        };
        Err(Usage::new(
            format!("{} is one place of images too many", printable(second)),
            "name one folder, archive or list; put a pattern in quotes, so that the shell leaves it alone: --data 'shards/*.tar'",
        ))
    }
}
