//! `simmim bench kernels`: single operations.

use clap::Args;
use serde_json::json;
use simmim_backend::Case;
use simmim_device::{DeviceChoice, Precision};
use simmim_train::in_threads;

use super::super::failure::Usage;
use super::super::{n_threads, output};

/// Time single operations on the shapes of the usual models.
///
/// Runs each for a fifth of a second, at least five times, and prints one JSON line with the median. Products and
/// attention are compared with the fastest product that the cores can do, all else with the memory bandwidth of a
/// stream triad: what stays in the caches can be faster.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct KernelsArgs {
    /// Time only kernels whose name or shape contains this.
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Threads to compute with [default: one for each core].
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true, value_parser = n_threads())]
    threads: usize,
}

const AFTER_HELP: &str = "\
Examples:
  simmim bench kernels
  simmim bench kernels --filter bf16 --threads 1
  simmim bench kernels --filter adamw

Names: linear, linear_backward_input, linear_backward_weight, attention, attention_backward (each with
.fp32 and .bf16), layer_norm, layer_norm_backward, gelu, gelu_backward, softmax (of one thread), adamw
(with the norm of the gradient that the clip needs), triad.";

pub(crate) fn run(args: &KernelsArgs) -> anyhow::Result<()> {
    let chosen = simmim_backend::cases(args.filter.as_deref());
    if chosen.is_empty() {
        let what = format!(
            "no kernel is named `{}`",
            args.filter.as_deref().unwrap_or_default()
        );
        return Err(Usage::new(what, "`simmim bench kernels --help` lists their names").into());
    }
    in_threads(args.threads, || measure_all(&chosen))
}

fn measure_all(cases: &[Case]) -> anyhow::Result<()> {
    // On the threads that the kernels run on, or their shares of the peak would mean nothing.
    // Those of the cores, as the cases are.
    let peaks = [
        simmim_backend::peaks(DeviceChoice::Cpu, Precision::F32)?,
        simmim_backend::peaks(DeviceChoice::Cpu, Precision::Bf16)?,
    ];
    for case in cases {
        let cost = case.measure();
        let peaks = peaks[usize::from(case.precision == Precision::Bf16)];
        output::data(json!({
            "name": case.name,
            "shape": case.shape,
            "threads": rayon::current_num_threads(),
            "secs": cost.secs,
            "gflops": cost.gflops(),
            "gbs": cost.gbs(),
            "share_of_peak": peaks.share(&cost),
        }))?;
    }
    Ok(())
}
