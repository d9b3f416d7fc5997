//! `simmim doctor`: what a machine offers.

use std::fs;
use std::num::NonZero;
use std::path::Path;
use std::thread::available_parallelism;

use clap::Args;
use serde_json::{Value, json};
use simmim_backend::{Gpus, Library};
use simmim_checkpoint::free_bytes;
use simmim_config::{Memory, RawConfig, Whose, Words};
use simmim_data::printable;
use simmim_device::{DeviceChoice, Precision};

use super::table::{Fact, facts};
use super::{Talk, output};

/// Say what this machine offers, and what a run would use of it.
///
/// Cores and their instructions, memory and its limit, disk, GPUs and the libraries that they need, MPI; then the device, the precision and
/// the threads that a run takes without being told, and why. Looks only: no GPU is opened, nothing is written.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct DoctorArgs {}

const AFTER_HELP: &str = "\
Examples:
  simmim doctor
  simmim doctor --json

How fast it is: `simmim bench kernels`, `simmim bench step`; what a training takes: --dry-run of the training.";

/// What a machine offers.
struct Machine {
    cores: usize,
    processor: Option<String>,
    /// The instructions that kernels run with.
    level: String,
    memory: Option<Memory>,
    free_bytes: Option<u64>,
    gpus: Gpus,
    /// The MPI library, by its file and what it calls itself.
    mpi: Option<String>,
}

/// What a run uses that is not told.
struct Usual {
    device: DeviceChoice,
    precision: Precision,
    n_threads: usize,
    n_workers: usize,
    /// A line for each reason.
    why: Vec<String>,
}

pub(crate) fn run(_: &DoctorArgs, talk: Talk) -> anyhow::Result<()> {
    let machine = Machine::found();
    let usual = Usual::on(&machine);
    if talk == Talk::Json {
        output::data(machine.to_json(&usual))?;
    } else {
        output::data(facts(&machine.facts(&usual)))?;
    }
    Ok(())
}

impl Machine {
    fn found() -> Self {
        Self {
            cores: available_parallelism().map_or(1, NonZero::get),
            processor: processor(),
            level: simmim_backend::level(DeviceChoice::Cpu),
            memory: Memory::found(),
            free_bytes: free_bytes(Path::new(".")),
            gpus: simmim_backend::gpus(),
            mpi: simmim_mpi::library(),
        }
    }

    fn facts(&self, usual: &Usual) -> Vec<Fact> {
        let unknown = || "not known".to_owned();
        let processor = self.processor.as_ref();
        let processor = processor.map_or_else(String::new, |name| format!(" ({name})"));
        let mut facts = vec![
            Fact::new("simmim", env!("CARGO_PKG_VERSION")),
            Fact::new("cores", format!("{}{processor}", self.cores)),
            Fact::new("instructions", instructions(&self.level).join(", ")),
            Fact::new(
                "memory",
                self.memory.map_or_else(unknown, |it| it.to_string()),
            ),
            Fact::new(
                "disk",
                self.free_bytes.map_or_else(unknown, |bytes| {
                    format!("{} free in this folder", gib(bytes))
                }),
            ),
        ];
        facts.extend(self.gpu_facts());
        let mpi = self.mpi.as_ref().map(|name| printable(name).into_owned());
        facts.push(Fact::new(
            "MPI",
            mpi.unwrap_or_else(|| "not found".to_owned()),
        ));
        facts.push(Fact::new(
            "a run uses",
            format!(
                "{}, {}, {} threads, {} that read images",
                usual.device,
                usual.precision.word(),
                usual.n_threads,
                usual.n_workers
            ),
        ));
        let names = ["because"].into_iter().chain(std::iter::repeat(""));
        facts.extend(
            names
                .zip(&usual.why)
                .map(|(name, why)| Fact::new(name, why)),
        );
        facts
    }

    /// What there is of GPUs, and what they need.
    fn gpu_facts(&self) -> Vec<Fact> {
        let mut facts = Vec::new();
        for (number, gpu) in self.gpus.devices.iter().enumerate() {
            let refusal = gpu.refusal.as_ref();
            let refusal =
                refusal.map_or_else(String::new, |why| format!("; it cannot be used: {why}"));
            let text = format!(
                "{}, compute capability {}, {}{refusal}",
                gpu.name,
                gpu.capability,
                gib(gpu.memory_bytes)
            );
            facts.push(Fact::new(format!("GPU cuda:{number}"), text));
        }
        facts.extend(
            self.gpus
                .why_none
                .iter()
                .map(|why| Fact::new("GPU", format!("none: {why}"))),
        );
        facts.extend(
            self.gpus
                .libraries
                .iter()
                .map(|it| Fact::new(it.name, found(it))),
        );
        facts
    }

    fn to_json(&self, usual: &Usual) -> Value {
        let gpus = self.gpus.devices.iter().enumerate().map(|(number, gpu)| {
            json!({
                "device": format!("cuda:{number}"),
                "name": gpu.name,
                "capability": gpu.capability,
                "memory_bytes": gpu.memory_bytes,
                "refusal": gpu.refusal,
            })
        });
        let library =
            |it: &Library| json!({"name": it.name, "found": it.is_there, "version": it.version});
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "cores": self.cores,
            "processor": self.processor,
            "level": self.level,
            "instructions": instructions(&self.level),
            "memory_bytes": self.memory.map(|it| it.bytes),
            "memory_limited": self.memory.map(|it| it.whose == Whose::ControlGroup),
            "disk_free_bytes": self.free_bytes,
            "gpus": gpus.collect::<Vec<_>>(),
            "no_gpu": self.gpus.why_none,
            "mpi": self.mpi,
            "libraries": self.gpus.libraries.iter().map(library).collect::<Vec<_>>(),
            "default": {
                "device": usual.device.to_string(),
                "precision": usual.precision.word(),
                "threads": usual.n_threads,
                "workers": usual.n_workers,
                "why": usual.why,
            },
        })
    }
}

impl Usual {
    fn on(machine: &Machine) -> Self {
        let device = simmim_backend::resolve(DeviceChoice::Auto);
        let precision = simmim_backend::fastest_precision(DeviceChoice::Auto);
        let mut why: Vec<String> = simmim_backend::passed_over(DeviceChoice::Auto)
            .into_iter()
            .collect();
        if machine.gpus.devices.is_empty() {
            why.push("there is no GPU: the cores compute".to_owned());
        }
        why.push(match precision {
            Precision::Bf16 => {
                "this machine multiplies bf16 itself, about twice as fast as fp32".to_owned()
            }
            Precision::F32 => "no instruction of this machine multiplies bf16".to_owned(),
        });
        Self {
            device,
            precision,
            n_threads: machine.cores,
            n_workers: RawConfig::default().n_workers(),
            why,
        }
    }
}

/// What stands in the words of a level, which each contain those before.
fn instructions(level: &str) -> Vec<&'static str> {
    const LEVELS: [(&str, &str); 4] = [
        ("avx2", "AVX2"),
        ("avx512", "AVX-512"),
        ("avx512bf16", "AVX-512 BF16"),
        ("amx", "AMX"),
    ];
    match LEVELS.iter().position(|(name, _)| *name == level) {
        Some(last) => LEVELS[..=last].iter().map(|(_, word)| *word).collect(),
        None => vec!["those that every processor of its kind has"],
    }
}

/// The processor's name, where the system tells.
fn processor() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn found(library: &Library) -> String {
    match (&library.version, library.is_there) {
        (Some(version), _) => version.clone(),
        (None, true) => "found".to_owned(),
        (None, false) => "not found".to_owned(),
    }
}

fn gib(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / 2f64.powi(30))
}
