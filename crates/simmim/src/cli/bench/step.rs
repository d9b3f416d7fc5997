//! `simmim bench step`: whole training steps.

use std::fs;
use std::sync::Arc;
use std::time::Instant;

use anyhow::ensure;
use clap::{Args, ValueEnum as _};
use serde_json::{Value, json};
use simmim_config::{Layer, Plan, RawConfig, Words};
use simmim_device::{Device, ProfilingDevice};
use simmim_train::{device_of, in_threads};

use super::super::failure::Usage;
use super::super::mask::image_size;
use super::super::{Talk, output, tell};
use super::median;
use super::profile::Profile;
use super::work::{Task, Work};

/// Steps before those that are timed: they fill the pool of buffers and the caches.
const N_WARM_UP: u64 = 2;

/// Time whole training steps: forward, backward, clip, AdamW.
///
/// The step is that of `simmim pretrain`, of `simmim finetune` or of `simmim embed`, on made-up images, so that no file is read. Two steps run before the timed
/// ones. Prints one JSON line: `step_secs` is the median, `peak_rss_gib` the peak memory of the process.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct StepArgs {
    /// What a step is of.
    #[arg(long, value_enum, default_value = "pretrain")]
    task: Task,
    /// Geometry of the model (model.variant).
    #[arg(long, value_name = "NAME", default_value = "vit-b/16")]
    variant: String,
    /// Size of the images (`data.image_size`).
    #[arg(long, value_name = "N|HxW", default_value = "224", value_parser = image_size)]
    image_size: [usize; 2],
    /// Side of a Swin transformer's windows in tokens (model.window) [default: the usual one that fits].
    #[arg(long, value_name = "TOKENS")]
    window: Option<usize>,
    /// Precision of the matrix products (train.precision).
    #[arg(long, value_name = "fp32|bf16", default_value = "fp32")]
    precision: String,
    /// Images in a step.
    #[arg(long, value_name = "N", default_value_t = 16)]
    batch: usize,
    /// Steps to time.
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = clap::value_parser!(u64).range(1..))]
    steps: u64,
    /// Threads to compute with [default: one for each core].
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    threads: usize,
    /// Compute activations again in the backward pass (train.checkpointing): less memory, more time.
    #[arg(long)]
    checkpointing: bool,
    /// Show where the time goes: a table of all operations on stderr, and the same in the JSON.
    #[arg(long)]
    profile: bool,
    /// Set one key; can be repeated. `simmim recipes keys` lists the keys.
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,
}

const AFTER_HELP: &str = "\
Examples:
  simmim bench step --variant vit-s/16 --image-size 224 --precision bf16
  simmim bench step --variant swin-t --image-size 192 --window 6 --profile
  simmim bench step --variant vit-b/16 --batch 64 --checkpointing --threads 1
  simmim bench step --task embed --variant vit-s/16 --batch 64

In the table, GFLOP/s are of matrix products and GB/s of what an operation must read and write, each
value once. The peak is that of products for operations with products, and that of the memory (a
stream triad) for all others; what stays in the caches can be faster than the memory.";

pub(crate) fn run(args: &StepArgs, talk: Talk) -> anyhow::Result<()> {
    let plan = plan(args)?;
    let threads = plan.config().train.threads;
    let measured = in_threads(threads, || measure(&plan, args))?;
    ensure!(
        measured.is_finite,
        "the loss is not a number: the learning rate is too high to measure with"
    );
    if let Some(profile) = &measured.profile {
        tell(talk, profile.to_table());
    }
    output::data(measured.to_json(&plan))?;
    Ok(())
}

fn plan(args: &StepArgs) -> anyhow::Result<Plan> {
    let [height, width] = args.image_size;
    let mut keys = vec![
        format!("model.variant={}", args.variant),
        format!("data.image_size=[{height}, {width}]"),
        format!("train.precision={}", args.precision),
        format!("train.batch_size={}", args.batch),
        format!("train.threads={}", args.threads),
        format!("train.checkpointing={}", args.checkpointing),
    ];
    keys.extend(args.window.map(|window| format!("model.window={window}")));
    // Last, so that a key wins over the option that sets the same.
    keys.extend(args.set.iter().cloned());
    let layers: Result<Vec<Layer>, _> = keys.iter().map(|key| Layer::set(key)).collect();
    let plan = Plan::new(RawConfig::from_layers(&layers?)?)?;
    if plan.codebook().is_some() {
        let what = "made-up images have no codebook";
        return Err(Usage::new(what, "measure objective.target = \"pixels\" or \"bins\"").into());
    }
    if plan.config().train.accumulation > 1 {
        let what = "a step is measured in one part, so train.accumulation must be 1";
        return Err(Usage::new(what, "measure one part: pass its size as --batch").into());
    }
    Ok(plan)
}

/// What the steps showed.
struct Measured {
    task: String,
    step_secs: Vec<f64>,
    is_finite: bool,
    n_threads: usize,
    n_parameters: usize,
    peak_rss_bytes: Option<u64>,
    profile: Option<Profile>,
}

fn measure(plan: &Plan, args: &StepArgs) -> anyhow::Result<Measured> {
    let plain = device_of(plan.config())?;
    let profiling = args
        .profile
        .then(|| Arc::new(ProfilingDevice::new(Arc::clone(&plain))));
    let device: Arc<dyn Device> = match &profiling {
        Some(device) => Arc::<ProfilingDevice>::clone(device),
        None => plain,
    };
    let mut work = Work::new(args.task, plan, device)?;
    let (mut step_secs, mut is_finite) = (Vec::new(), true);
    for step in 0..N_WARM_UP + args.steps {
        // From here on steps count; the costs of the warm-up are thrown away.
        if let Some(device) = profiling.as_ref().filter(|_| step == N_WARM_UP) {
            device.reset();
        }
        let begun = Instant::now();
        // Arithmetic on what is no number has a speed of its own, so such steps are no measurement.
        is_finite &= work.run(step)?;
        if step >= N_WARM_UP {
            step_secs.push(begun.elapsed().as_secs_f64());
        }
    }
    // Before the peaks are measured, which take memory of their own.
    let peak_rss_bytes = peak_rss_bytes();
    let n_parameters = work.n_parameters();
    drop(work);
    let profile = match profiling {
        Some(device) => {
            let train = &plan.config().train;
            let peaks = simmim_backend::peaks(train.device, train.precision)?;
            Some(Profile::new(device.costs(), peaks, &step_secs))
        }
        None => None,
    };
    let task = args.task.to_possible_value().expect("none is skipped");
    Ok(Measured {
        task: task.get_name().to_owned(),
        step_secs,
        is_finite,
        n_threads: rayon::current_num_threads(),
        n_parameters,
        peak_rss_bytes,
        profile,
    })
}

impl Measured {
    fn to_json(&self, plan: &Plan) -> Value {
        let config = plan.config();
        let step_secs = median(&self.step_secs);
        let mut line = json!({
            "task": self.task,
            "variant": config.model.variant,
            "precision": config.train.precision.word(),
            "batch": config.train.batch_size,
            "threads": self.n_threads,
            "image_size": config.data.image_size,
            "checkpointing": config.train.checkpointing,
            "n_parameters": self.n_parameters,
            "n_steps": self.step_secs.len(),
            "step_secs": step_secs,
            "step_secs_least": self.step_secs.iter().copied().fold(f64::INFINITY, f64::min),
            "step_secs_most": self.step_secs.iter().copied().fold(0.0, f64::max),
            "images_per_sec": config.train.batch_size as f64 / step_secs,
            "peak_rss_gib": self.peak_rss_bytes.map(|bytes| bytes as f64 / 2_f64.powi(30)),
            "level": simmim_backend::level(config.train.device),
            "version": env!("CARGO_PKG_VERSION"),
        });
        if let Some(profile) = &self.profile {
            line["profile"] = profile.to_json();
        }
        line
    }
}

/// The most memory that this process ever held; `None` where the system does not say.
fn peak_rss_bytes() -> Option<u64> {
    // Source: proc_pid_status(5): "VmHWM: Peak resident set size", in units of 1024 bytes.
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}
