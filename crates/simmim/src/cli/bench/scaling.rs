//! `simmim bench scaling`: how several processes train together.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::ensure;
use clap::Args;
use serde_json::{Value, json};
use simmim_collective::{Collective, Error as RankError, Member, Wire};
use simmim_config::{Layer, Plan, RawConfig, Words};
use simmim_train::{device_of, in_threads, n_threads_of};

use super::super::failure::Usage;
use super::super::mask::image_size;
use super::super::output;
use super::super::ranks::Ranks;
use super::median;
use super::work::{Task, Work};

/// Steps before those that are timed: they fill buffers, caches and connections.
const N_WARM_UP: u64 = 2;

/// Time training steps of several processes: start it with mpirun or srun, as a training.
///
/// Each step is timed twice: without a word to the other processes, and with gradients summed as in a training. Prints one JSON line:
/// `efficiency` is the share of a step in which no process waits for the network, `exchange_secs` the time in which gradients travel,
/// `overlap` the share of that time in which the backward pass goes on.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct ScalingArgs {
    /// Geometry of the model (model.variant).
    #[arg(long, value_name = "NAME", default_value = "vit-s/16")]
    variant: String,
    /// Size of the images (`data.image_size`).
    #[arg(long, value_name = "N|HxW", default_value = "224", value_parser = image_size)]
    image_size: [usize; 2],
    /// Precision of the matrix products (train.precision).
    #[arg(long, value_name = "fp32|bf16", default_value = "fp32")]
    precision: String,
    /// Images in a step, of all processes together.
    #[arg(long, value_name = "N", default_value_t = 32)]
    batch: usize,
    /// Steps to time.
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = clap::value_parser!(u64).range(1..))]
    steps: u64,
    /// Threads that each process computes with [default: its share of the cores].
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    threads: usize,
    /// Set one key; can be repeated. `simmim recipes keys` lists the keys.
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,
}

const AFTER_HELP: &str = "\
Examples:
  mpirun -n 2 simmim bench scaling --variant vit-s/16 --precision bf16
  mpirun -n 4 simmim bench scaling --batch 128 --set train.reduce_precision=bf16
  simmim bench scaling --variant vit-s/16

The last, one process on all cores, is what the images a second of the others are compared with: with
the same --batch (strong scaling), or with as many images for each process (weak scaling).";

/// The other ranks, and how long their sums have taken.
#[derive(Debug)]
struct Timed {
    ranks: Arc<dyn Collective>,
    nanos: AtomicU64,
}

impl Timed {
    /// Seconds since it was asked before.
    fn take_secs(&self) -> f64 {
        self.nanos.swap(0, Ordering::Relaxed) as f64 * 1e-9
    }
}

impl Collective for Timed {
    fn rank(&self) -> usize {
        self.ranks.rank()
    }

    fn world(&self) -> usize {
        self.ranks.world()
    }

    fn all_reduce(&self, values: &mut [f32], wire: Wire) -> Result<(), RankError> {
        let begun = Instant::now();
        let done = self.ranks.all_reduce(values, wire);
        let nanos = begun.elapsed().as_nanos() as u64;
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
        done
    }

    fn all_reduce_f64(&self, values: &mut [f64]) -> Result<(), RankError> {
        self.ranks.all_reduce_f64(values)
    }

    fn broadcast(&self, bytes: &mut Vec<u8>) -> Result<(), RankError> {
        self.ranks.broadcast(bytes)
    }

    fn all_gather(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>, RankError> {
        self.ranks.all_gather(bytes)
    }

    fn barrier(&self) -> Result<(), RankError> {
        self.ranks.barrier()
    }

    fn member(&self, rank: usize) -> Member {
        self.ranks.member(rank)
    }

    fn n_on_these_cores(&self) -> usize {
        self.ranks.n_on_these_cores()
    }
}

pub(crate) fn run(args: &ScalingArgs, ranks: &Ranks) -> anyhow::Result<()> {
    let collective = ranks.collective();
    let plan = plan(args, collective.world())?;
    let threads = n_threads_of(args.threads, &*collective);
    let measured = in_threads(threads, || measure(&plan, args, &collective))?;
    if ranks.is_first() {
        output::data(measured.to_json(&plan, collective.world()))?;
    }
    Ok(())
}

/// The plan of one process's share of a step.
fn plan(args: &ScalingArgs, world: usize) -> anyhow::Result<Plan> {
    if args.batch == 0 || !args.batch.is_multiple_of(world) {
        let what = format!(
            "{} images cannot be divided among {world} processes",
            args.batch
        );
        return Err(Usage::new(what, "pass a multiple of their number as --batch").into());
    }
    let [height, width] = args.image_size;
    let mut keys = vec![
        format!("model.variant={}", args.variant),
        format!("data.image_size=[{height}, {width}]"),
        format!("train.precision={}", args.precision),
        format!("train.threads={}", args.threads),
    ];
    keys.extend(args.set.iter().cloned());
    // Last: a step is what --batch says.
    keys.push(format!("train.batch_size={}", args.batch / world));
    keys.push("train.accumulation=1".to_owned());
    let layers: Result<Vec<Layer>, _> = keys.iter().map(|key| Layer::set(key)).collect();
    let plan = Plan::new(RawConfig::from_layers(&layers?)?)?;
    if plan.codebook().is_some() {
        let what = "made-up images have no codebook";
        return Err(Usage::new(what, "measure objective.target = \"pixels\" or \"bins\"").into());
    }
    Ok(plan)
}

/// What the timed steps showed: medians, and a mean of the exchange.
struct Measured {
    /// Of the slowest process, without the others.
    alone_secs: f64,
    together_secs: f64,
    /// In which gradients travelled.
    exchange_secs: f64,
    n_steps: u64,
    n_threads: usize,
    n_parameters: usize,
}

fn measure(
    plan: &Plan,
    args: &ScalingArgs,
    ranks: &Arc<dyn Collective>,
) -> anyhow::Result<Measured> {
    let device = device_of(plan.config())?;
    let mut work = Work::new(Task::Pretrain, plan, device)?;
    let n_parameters = work.n_parameters();
    steps(&mut work, &**ranks, N_WARM_UP)?;
    let alone = steps(&mut work, &**ranks, args.steps)?;
    let timed = Arc::new(Timed {
        ranks: Arc::clone(ranks),
        nanos: AtomicU64::new(0),
    });
    let mut work = work.among(Arc::<Timed>::clone(&timed))?;
    steps(&mut work, &**ranks, N_WARM_UP)?;
    timed.take_secs();
    let together = steps(&mut work, &**ranks, args.steps)?;
    Ok(Measured {
        alone_secs: slowest(&**ranks, median(&alone))?,
        together_secs: slowest(&**ranks, median(&together))?,
        exchange_secs: timed.take_secs() / args.steps as f64,
        n_steps: args.steps,
        n_threads: rayon::current_num_threads(),
        n_parameters,
    })
}

/// Does so many steps, which all ranks begin together; the seconds of each.
fn steps(work: &mut Work, ranks: &dyn Collective, n: u64) -> anyhow::Result<Vec<f64>> {
    let mut all = Vec::new();
    for step in 0..n {
        ranks.barrier()?;
        let begun = Instant::now();
        ensure!(
            work.run(step)?,
            "the loss is not a number: the learning rate is too high to measure with"
        );
        all.push(begun.elapsed().as_secs_f64());
    }
    Ok(all)
}

/// The largest of what all ranks have measured.
fn slowest(ranks: &dyn Collective, own: f64) -> Result<f64, RankError> {
    let all = ranks.all_gather(&own.to_le_bytes())?;
    let secs = |bytes: &Vec<u8>| bytes.as_slice().try_into().map_or(own, f64::from_le_bytes);
    Ok(all.iter().map(secs).fold(0.0, f64::max))
}

impl Measured {
    fn to_json(&self, plan: &Plan, world: usize) -> Value {
        let config = plan.config();
        let batch = config.train.batch_size * world;
        let waited = (self.together_secs - self.alone_secs).max(0.0);
        let overlap =
            (self.exchange_secs > 0.0).then(|| (1.0 - waited / self.exchange_secs).clamp(0.0, 1.0));
        json!({
            "ranks": world,
            "threads": self.n_threads,
            "variant": config.model.variant,
            "precision": config.train.precision.word(),
            "reduce_precision": config.train.reduce_precision.word(),
            "bucket_mb": config.train.bucket_mb,
            "batch": batch,
            "image_size": config.data.image_size,
            "n_parameters": self.n_parameters,
            "n_steps": self.n_steps,
            "alone_secs": self.alone_secs,
            "step_secs": self.together_secs,
            "exchange_secs": self.exchange_secs,
            "images_per_sec": batch as f64 / self.together_secs,
            "efficiency": self.alone_secs / self.together_secs,
            "overlap": overlap,
            "level": simmim_backend::level(config.train.device),
            "version": env!("CARGO_PKG_VERSION"),
        })
    }
}
