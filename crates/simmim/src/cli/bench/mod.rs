//! `simmim bench`: how fast this machine trains, reads images, computes.

mod kernels;
mod loader;
mod profile;
mod scaling;
mod step;
mod work;

use clap::{Args, Subcommand};

use super::Talk;
use super::ranks::{OnRanks, Ranks};

/// Measure how fast this machine trains, reads images, and computes.
///
/// `step` times whole training steps on made-up images, `loader` times reading image files into batches, `kernels`
/// times single operations, `scaling` times the steps of several processes. Each prints JSON, so that runs can be compared. Training runs at the slower of `step` and
/// `loader`, in images a second.
///
/// Other programs on the same cores spoil the figures. To compare two programs, run them in turn, A B A B, and compare
/// medians: `benches/compare` in the repository does that with PyTorch.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    command: BenchCommand,
}

#[derive(Debug, Subcommand)]
enum BenchCommand {
    Step(step::StepArgs),
    Loader(loader::LoaderArgs),
    Kernels(kernels::KernelsArgs),
    Scaling(scaling::ScalingArgs),
}

impl BenchArgs {
    /// What the measurement makes of several processes.
    pub(crate) fn on_ranks(&self) -> OnRanks {
        match &self.command {
            BenchCommand::Scaling(_) => OnRanks::Together,
            _ => OnRanks::Each,
        }
    }
}

const AFTER_HELP: &str = "\
Examples:
  simmim bench step --variant vit-s/16 --precision bf16
  simmim bench loader --data photos/ --size 192 --workers 2
  simmim bench kernels --filter attention
  mpirun -n 2 simmim bench scaling --variant vit-s/16 --precision bf16";

pub(crate) fn run(args: &BenchArgs, talk: Talk, ranks: &Ranks) -> anyhow::Result<()> {
    match &args.command {
        BenchCommand::Step(args) => step::run(args, talk),
        BenchCommand::Loader(args) => loader::run(args),
        BenchCommand::Kernels(args) => kernels::run(args),
        BenchCommand::Scaling(args) => scaling::run(args, ranks),
    }
}

/// The number in the middle; the mean of the two where there are two.
///
/// # Panics
/// When there is none.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 {
        sorted[middle]
    } else {
        f64::midpoint(sorted[middle - 1], sorted[middle])
    }
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_median_stands_in_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 9.0]), 3.0);
        assert_eq!(median(&[4.0, 1.0, 9.0, 2.0]), 3.0);
    }
}
