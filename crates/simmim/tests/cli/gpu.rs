//! Runs on a GPU, which is the fake one: what a step waits for, and that nothing of a run is lost by running ahead.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use crate::launchers::{here, say_skipped};
use crate::ranks::require_same_curve;
use crate::resume::{are_equal, metrics};
use crate::sandbox::{Ran, Running, Sandbox, tensors};

/// An epoch on the fake GPU, which has eighteen steps on 90 photographs.
const RUN: &str =
    "pretrain --config tiny.toml --data photos --set train.device=cuda --set train.epochs=1";

#[allow(
    dead_code,
    clippy::print_stdout,
    reason = "the module is that of the tests of the GPU's crate"
)]
#[path = "../../../simmim-cuda/tests/gpu/fake.rs"]
mod fake;

/// The folder of the fake driver, which is built if it is not there. Says so where it cannot be.
pub(crate) fn fake_gpu(test: &str) -> Option<String> {
    if fake::compiler().is_none() {
        say_skipped(test, "there is no C++ compiler (apt-get install g++)");
        return None;
    }
    let folder = fake::libraries(fake::Sanitizer::None);
    Some(folder.display().to_string())
}

/// A machine with the fake GPU.
struct Machine {
    sandbox: Sandbox,
    folder: String,
}

impl Machine {
    fn with_photos(test: &str, n: usize) -> Option<Self> {
        let folder = fake_gpu(test)?;
        let sandbox = Sandbox::with_photos(n);
        Some(Self { sandbox, folder })
    }

    fn command(&self, words: &str) -> Command {
        let mut command = self.sandbox.command(words);
        command.env("LD_LIBRARY_PATH", &self.folder);
        command
    }

    fn simmim(&self, words: &str) -> Ran {
        Ran::of(self.command(words).output().unwrap())
    }
}

/// What the driver was asked for in each step of a run, and how often; a step begins and ends where its gradients are clipped.
fn steps(calls: &str) -> Vec<BTreeMap<&str, usize>> {
    let mut steps = Vec::new();
    for step in calls.split("cuLaunchKernel clip\n") {
        let mut counted = BTreeMap::new();
        for call in step.lines() {
            // The number, not the kernels' names or the bytes.
            let kind = match call.split_once(' ') {
                Some((kind @ ("cuLaunchKernel" | "cuMemAlloc"), _)) => kind,
                _ => call,
            };
            *counted.entry(kind).or_default() += 1;
        }
        steps.push(counted);
    }
    steps
}

/// The middle steps of an epoch of eighteen.
fn warm_steps<'a>(
    machine: &Machine,
    more: &str,
    calls: &'a mut String,
) -> Vec<BTreeMap<&'a str, usize>> {
    let file = machine.sandbox.path("calls");
    let mut command = machine.command(&format!("{RUN} --out run {more}"));
    command.env("FAKE_CUDA_CALLS", &file);
    Ran::of(command.output().unwrap()).ok();
    *calls = fs::read_to_string(file).unwrap();
    let all = steps(calls);
    // From the end: before the first step some are timed.
    all[all.len() - 10..all.len() - 3].to_vec()
}

#[track_caller]
fn waits_for_nothing(test: &str, more: &str) {
    let Some(machine) = Machine::with_photos(test, 90) else {
        return;
    };
    let mut calls = String::new();
    let steps = warm_steps(&machine, more, &mut calls);
    for step in &steps {
        // The loss and the norm of the step before it, while the device has this one to do; the two are copied one after the other.
        let waits: Vec<_> = step
            .iter()
            .filter(|(call, _)| call.contains("Synchronize"))
            .collect();
        assert_eq!(waits, [(&"cuEventSynchronize", &1)], "{step:?}");
        let n_read = step["cuMemcpyDtoHAsync"];
        let n_parts = if more.contains("accumulation=2") {
            2
        } else {
            1
        };
        assert_eq!(n_read, n_parts + 1, "{step:?}");
        let memory = ["cuMemAlloc", "cuMemFree", "cuMemHostAlloc", "cuMemFreeHost"];
        assert!(
            memory.iter().all(|call| !step.contains_key(call)),
            "{step:?}"
        );
        assert!(
            step["cuLaunchKernel"] > 50 && step["cublasLtMatmul"] > 10,
            "{step:?}"
        );
    }
    assert!(
        steps.iter().all(|step| *step == steps[0]),
        "steps differ: {steps:?}"
    );
}

#[test]
fn a_warm_step_of_a_vit_waits_for_the_loss_of_the_one_before_it_and_for_nothing_else() {
    let test = "a_warm_step_of_a_vit_waits_for_the_loss_of_the_one_before_it_and_for_nothing_else";
    waits_for_nothing(test, "--set train.precision=bf16 --set model.drop_path=0.2");
}

#[test]
fn a_warm_step_of_a_swin_in_parts_waits_for_nothing_else_either() {
    let test = "a_warm_step_of_a_swin_in_parts_waits_for_nothing_else_either";
    let swin = "--set model.variant=swinv2-t --set model.depth=unset --set model.depths=[1,2] --set model.heads=2 --set model.width=16 \
                --set model.window=4 --set model.patch_px=2 --set mask.cell_px=8 --set model.drop_path=0.2 \
                --set train.accumulation=2";
    waits_for_nothing(test, swin);
}

#[test]
fn a_run_on_a_gpu_has_the_numbers_of_one_on_the_cores_and_a_line_for_each_step() {
    let test = "a_run_on_a_gpu_has_the_numbers_of_one_on_the_cores_and_a_line_for_each_step";
    let Some(machine) = Machine::with_photos(test, 24) else {
        return;
    };
    machine.simmim(&format!("{RUN} --out gpu")).ok();
    machine
        .simmim(&format!("{RUN} --out cores --set train.device=cpu"))
        .ok();
    let [gpu, cores] = ["gpu", "cores"].map(|run| metrics(&machine.sandbox.path(run)));
    assert_eq!(gpu.len(), cores.len());
    for (gpu, cores) in gpu.iter().zip(&cores) {
        assert_eq!((&gpu["step"], &gpu["lr"]), (&cores["step"], &cores["lr"]));
        for number in ["loss", "grad_norm"] {
            let [gpu, cores] = [gpu, cores].map(|record| record[number].as_f64().unwrap());
            assert!(
                (gpu / cores - 1.0).abs() < 1e-3,
                "{number}: {gpu} and {cores}"
            );
        }
    }
}

#[test]
fn a_run_on_a_gpu_that_is_stopped_and_finds_too_little_memory_goes_on_to_the_same_bits() {
    let test =
        "a_run_on_a_gpu_that_is_stopped_and_finds_too_little_memory_goes_on_to_the_same_bits";
    let Some(machine) = Machine::with_photos(test, 24) else {
        return;
    };
    machine.simmim(&format!("{RUN} --out whole")).ok();
    // At any moment: after each step a signal is looked for.
    let mut running = Running::of(machine.command(&format!("{RUN} --out parts")));
    running.wait_for("step");
    running.signal("TERM");
    running.end().stopped();
    let last = machine.sandbox.path("parts/checkpoints/last.safetensors");
    let before = fs::read(&last).unwrap();
    // Another program has taken what it needs: the workspace of products alone fits.
    let mut crowded = machine.command("pretrain --resume parts");
    crowded.env("FAKE_CUDA_MEMORY", "34000000");
    let says = ["the GPU is out of memory", "hint: ", "train.accumulation"];
    Ran::of(crowded.output().unwrap()).fails(1, &says);
    assert!(fs::read(&last).unwrap() == before, "the checkpoint changed");
    machine.simmim("pretrain --resume parts").ok();
    let [whole, parts] = ["whole", "parts"].map(|run| machine.sandbox.path(run));
    are_equal(&whole, &parts);
}

#[test]
fn a_loss_that_is_no_number_ends_a_run_on_a_gpu_at_its_step_and_the_checkpoint_stays() {
    let test = "a_loss_that_is_no_number_ends_a_run_on_a_gpu_at_its_step_and_the_checkpoint_stays";
    let Some(machine) = Machine::with_photos(test, 90) else {
        return;
    };
    let wild = "--set train.base_lr=1e38 --set train.clip_norm=0";
    let ended = ["cuda", "cpu"].map(|device| {
        let words = format!("{RUN} {wild} --out {device} --set train.device={device}");
        machine
            .simmim(&words)
            .fails(1, &["training diverged at step", "checkpoint"])
    });
    // The step of the cores, which look at each one before the next.
    let [gpu, cores] = ended.map(|ran| {
        let said = ran
            .stderr
            .lines()
            .find(|line| line.contains("training diverged"));
        said.unwrap().split('`').next().unwrap().to_owned()
    });
    assert_eq!(gpu, cores);
    let [gpu, cores] = ["cuda", "cpu"].map(|run| metrics(&machine.sandbox.path(run)));
    assert_eq!(gpu.len(), cores.len());
    let last = machine.sandbox.path("cuda/checkpoints/last.safetensors");
    let is_sound = |value: &u32| f32::from_bits(*value).is_finite();
    assert!(
        tensors(&last)
            .iter()
            .all(|(_, values)| values.iter().all(is_sound))
    );
}

#[test]
fn a_gpu_that_is_too_small_is_told_before_the_first_step_with_what_would_fit() {
    let test = "a_gpu_that_is_too_small_is_told_before_the_first_step_with_what_would_fit";
    let Some(machine) = Machine::with_photos(test, 90) else {
        return;
    };
    // Kernels do nothing: what is allocated counts.
    let told = |more: &str| {
        let large = "--set data.image_size=224 --set model.depth=12 --set model.width=192 --set model.patch_px=16 \
                     --set mask.cell_px=32 --set train.batch_size=64 --set data.held_out=0.1";
        let mut command = machine.command(&format!("{RUN} {large} --out run --dry-run {more}"));
        command.env("FAKE_CUDA_MEMORY", (1_u64 << 30).to_string());
        command.env("FAKE_CUDA_IDLE", "1");
        Ran::of(command.output().unwrap())
    };
    let said = told("").stderr;
    let advice = "this needs more than the 1.0 GiB of the GPU: `train.accumulation = ";
    let (_, advice) = said.split_once(advice).unwrap_or_else(|| panic!("{said}"));
    assert!(advice.contains("`train.checkpointing = true`"), "{said}");
    let (n_parts, _) = advice.split_once('`').unwrap();
    let fits = told(&format!("--set train.accumulation={n_parts}")).ok();
    assert!(!fits.stderr.contains("needs more"), "{fits:?}");
}

#[test]
fn two_processes_with_a_gpu_each_train_as_one_does_and_sum_by_nccl() {
    let test = "two_processes_with_a_gpu_each_train_as_one_does_and_sum_by_nccl";
    let Some(machine) = Machine::with_photos(test, 24) else {
        return;
    };
    let parts = format!("{RUN} --set train.accumulation=2 --set train.epochs=2");
    machine.simmim(&format!("{parts} --out one")).ok();
    for mpi in here(test) {
        let words = format!("{parts} --set train.bucket_mb=1 --out {}", mpi.name);
        let mut command = mpi.simmim(&machine.sandbox, 2, &words);
        let calls = machine.sandbox.path(&format!("{}.calls", mpi.name));
        command.env("LD_LIBRARY_PATH", &machine.folder);
        command.env("FAKE_CUDA_DEVICES", "2");
        command.env("FAKE_CUDA_CALLS", &calls);
        let ran = Ran::of(command.output().unwrap()).ok();
        assert!(!ran.stderr.contains("through the processors"), "{ran:?}");
        let runs = ["one", mpi.name].map(|run| machine.sandbox.path(run));
        require_same_curve(&runs[0], &runs[1]);
        // Of each gradient in each step, by both.
        let n_sums = fs::read_to_string(calls)
            .unwrap()
            .matches("ncclAllReduce")
            .count();
        assert!(n_sums > 100, "{n_sums}");
    }
}
