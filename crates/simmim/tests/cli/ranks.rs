//! Several processes that a launcher of MPI has started do one training.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::launchers::{Mpi, here};
use crate::resume::{are_equal, metrics};
use crate::sandbox::{Ran, Sandbox};

/// Some steps of a model with stochastic depth, in two parts.
pub(crate) const RUN: &str = "pretrain --config tiny.toml --data photos --set model.drop_path=0.2 --set train.accumulation=2";
/// One that takes minutes, with checkpoints all the time, of which ranks wait for each other for two seconds.
pub(crate) const LONG: &str = "pretrain --config tiny.toml --data photos --set train.epochs=100000 --set train.save_every_minutes=0.0003 \
    --set train.rank_timeout_secs=2 --set train.validate_every_epochs=0";
/// How far a loss of several ranks may be from that of one process, relatively: sums are rounded in another order.
const ROUNDING: f64 = 3e-6;
/// How soon a run has ended after one of its ranks has: what launchers take for it, on a machine that does other things.
pub(crate) const SECONDS: Duration = Duration::from_secs(15);

#[track_caller]
pub(crate) fn require_same_curve(one: &Path, several: &Path) {
    let (one, several) = (metrics(one), metrics(several));
    assert_eq!(one.len(), several.len());
    for (one, several) in one.iter().zip(&several) {
        assert_eq!(one["step"], several["step"]);
        for name in ["loss", "grad_norm", "val_loss"] {
            let value = |record: &serde_json::Value| record[name].as_f64();
            assert_eq!(value(one).is_some(), value(several).is_some());
            let (one, several) = (value(one).unwrap_or(1.0), value(several).unwrap_or(1.0));
            let off = (one / several - 1.0).abs();
            assert!(off < ROUNDING, "{name}: {one} and {several}");
        }
    }
}

/// The folder that a sandbox's processes run in, as the system calls it.
pub(crate) fn folder_of(sandbox: &Sandbox) -> PathBuf {
    sandbox.path(".").canonicalize().unwrap()
}

/// A run that goes on until something ends it.
pub(crate) struct Running(Child);

impl Running {
    fn start(sandbox: &Sandbox, mpi: &Mpi) -> Self {
        let words = format!("{LONG} --out {}", mpi.name);
        let child = mpi.simmim(sandbox, 2, &words).spawn().unwrap();
        Self::begun(child, &sandbox.path(mpi.name))
    }

    /// A run in a folder, which has done some steps.
    pub(crate) fn begun(child: Child, out: &Path) -> Self {
        let started = Self(child);
        Self::wait_for_steps(out);
        started
    }

    /// Waits until the run in a folder has done some steps.
    pub(crate) fn wait_for_steps(out: &Path) {
        let begun = Instant::now();
        while fs::metadata(out.join("metrics.jsonl")).map_or(0, |file| file.len()) < 5000 {
            assert!(
                begun.elapsed() < Duration::from_mins(1),
                "no step in {}",
                out.display()
            );
            sleep(Duration::from_millis(20));
        }
    }

    /// The process of a rank in a folder, by what the launcher has told it; none where it has ended.
    pub(crate) fn process_of(rank: usize, folder: &Path) -> Option<String> {
        let names = ["OMPI_COMM_WORLD_RANK", "PMI_RANK"].map(|name| format!("{name}={rank}"));
        let is_it = |process: &Path| {
            let environment = fs::read_to_string(process.join("environ")).unwrap_or_default();
            fs::read_link(process.join("cwd")).is_ok_and(|at| at == folder)
                && fs::read_link(process.join("exe")).is_ok_and(|exe| exe.ends_with("simmim"))
                && environment
                    .split('\0')
                    .any(|own| names.iter().any(|name| name == own))
        };
        let mut processes = fs::read_dir("/proc").unwrap().flatten();
        let found = processes.find(|entry| is_it(&entry.path()))?;
        Some(found.file_name().into_string().unwrap())
    }

    /// Sends a signal to a rank, and waits for the end of all.
    pub(crate) fn end_by(mut self, signal: &str, rank: usize, sandbox: &Sandbox) -> Ran {
        let process = Self::process_of(rank, &folder_of(sandbox)).unwrap();
        let sent = Command::new("kill").args(["-s", signal, &process]).status();
        assert!(sent.unwrap().success());
        let begun = Instant::now();
        let ran = self.end();
        assert!(begun.elapsed() < SECONDS, "{:?}", begun.elapsed());
        ran
    }

    /// Waits for its end.
    pub(crate) fn end(&mut self) -> Ran {
        let mut output = [Vec::new(), Vec::new()];
        let Child { stdout, stderr, .. } = &mut self.0;
        stdout.take().unwrap().read_to_end(&mut output[0]).unwrap();
        stderr.take().unwrap().read_to_end(&mut output[1]).unwrap();
        let status = self.0.wait().unwrap();
        let [stdout, stderr] = output;
        Ran::of(Output {
            status,
            stdout,
            stderr,
        })
    }

    /// Goes on with a run in one process, and stops it after a step.
    pub(crate) fn resume(sandbox: &Sandbox, out: &str) -> Ran {
        let mut running = sandbox.start(&format!("pretrain --resume {out}"));
        running.wait_for("step");
        running.signal("TERM");
        running.end()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that a failed test has left.
        let _ = self.0.kill();
    }
}

#[test]
fn ranks_give_the_curve_of_one_process_and_the_same_bits_by_every_mpi() {
    let sandbox = Sandbox::with_photos(24);
    sandbox.simmim(&format!("{RUN} --out one")).ok();
    let all = here("several ranks");
    for mpi in &all {
        let words = format!("{RUN} --out {}", mpi.name);
        let ran = Ran::of(mpi.simmim(&sandbox, 2, &words).output().unwrap()).ok();
        // Once, though there are two.
        assert_eq!(ran.stdout.trim(), mpi.name);
        assert_eq!(
            ran.stderr.matches("2 ranks on 1 machine").count(),
            1,
            "{ran:?}"
        );
        assert_eq!(ran.stderr.matches("done after").count(), 1, "{ran:?}");
        require_same_curve(&sandbox.path("one"), &sandbox.path(mpi.name));
        are_equal(&sandbox.path(all[0].name), &sandbox.path(mpi.name));
    }
}

#[test]
fn ranks_that_fine_tune_give_the_curve_of_one_process() {
    let sandbox = Sandbox::with_labels(8);
    let run = "finetune --from scratch --data labelled --set data.image_size=32 --set model.variant=vit-t/16 \
        --set model.patch_px=8 --set model.width=24 --set model.depth=2 --set model.heads=2 --set train.epochs=2 \
        --set train.batch_size=4 --set train.warmup_epochs=0 --set train.threads=1 --recipe finetune";
    sandbox.simmim(&format!("{run} --out one")).ok();
    for mpi in here("fine-tuning on several ranks") {
        let words = format!("{run} --out {}", mpi.name);
        let ran = Ran::of(mpi.simmim(&sandbox, 2, &words).output().unwrap()).ok();
        assert_eq!(ran.stdout.trim(), mpi.name);
        require_same_curve(&sandbox.path("one"), &sandbox.path(mpi.name));
    }
}

#[test]
fn gradients_that_travel_in_bf16_give_nearly_that_curve() {
    let sandbox = Sandbox::with_photos(24);
    for mpi in here("sums in bf16") {
        let curve = |out: &str, more: &str| {
            let words = format!("{RUN} --out {}-{out} {more}", mpi.name);
            Ran::of(mpi.simmim(&sandbox, 2, &words).output().unwrap()).ok();
            metrics(&sandbox.path(&format!("{}-{out}", mpi.name)))
        };
        let exact = curve("fp32", "--set train.bucket_mb=1");
        let rounded = curve("bf16", "--set train.reduce_precision=bf16");
        let norms = exact.iter().zip(&rounded).map(|(exact, rounded)| {
            let norm = |record: &serde_json::Value| record["grad_norm"].as_f64().unwrap();
            (norm(exact) / norm(rounded) - 1.0).abs()
        });
        let worst = norms.fold(0.0, f64::max);
        // 8 bits: 0.4 % of each value; and not nothing, or they would not have been rounded.
        assert!((1e-7..2e-2).contains(&worst), "{worst}");
    }
}

#[test]
fn a_rank_that_is_killed_ends_the_run_which_goes_on_afterwards() {
    let sandbox = Sandbox::with_photos(24);
    for mpi in here("a killed rank") {
        for rank in [1, 0] {
            let running = Running::start(&sandbox, &mpi);
            let ran = running.end_by("KILL", rank, &sandbox);
            assert_ne!(ran.code, Some(0), "{ran:?}");
            // The launcher tells which rank or process, and where.
            let host = rustix::system::uname()
                .nodename()
                .to_string_lossy()
                .into_owned();
            assert!(format!("{ran:?}").contains(&host), "{ran:?}");
            Running::resume(&sandbox, mpi.name).stopped();
            fs::remove_dir_all(sandbox.path(mpi.name)).unwrap();
        }
    }
}

#[test]
fn a_rank_that_falls_silent_is_named_and_the_run_ended() {
    let sandbox = Sandbox::with_photos(24);
    for mpi in here("a silent rank") {
        let running = Running::start(&sandbox, &mpi);
        let ran = running.end_by("STOP", 1, &sandbox);
        let host = rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned();
        let says = format!("rank 0 on {host} has waited for 2 s for rank 1 on {host}");
        ran.fails(1, &[&says, "--resume"]);
        Running::resume(&sandbox, mpi.name).stopped();
    }
}

#[test]
fn a_signal_to_any_rank_saves_once_and_stops_all() {
    let sandbox = Sandbox::with_photos(24);
    for mpi in here("a signal to one of several ranks") {
        for signal in ["USR1", "TERM"] {
            let running = Running::start(&sandbox, &mpi);
            let ran = running.end_by(signal, 1, &sandbox).stopped();
            assert_eq!(ran.stdout.trim(), mpi.name);
            assert_eq!(ran.stderr.matches("saved after step").count(), 1, "{ran:?}");
            Running::resume(&sandbox, mpi.name).stopped();
            fs::remove_dir_all(sandbox.path(mpi.name)).unwrap();
        }
    }
}

#[test]
fn a_run_of_ranks_goes_on_in_one_process_and_back() {
    let sandbox = Sandbox::with_photos(24);
    sandbox.simmim(&format!("{RUN} --out one")).ok();
    for mpi in here("another number of ranks") {
        let words = format!("{RUN} --set train.keep_at_end=0 --out {}", mpi.name);
        Ran::of(mpi.simmim(&sandbox, 2, &words).output().unwrap()).ok();
        let run = sandbox.path(mpi.name);
        // As if it had ended after its first epoch.
        let checkpoints = run.join("checkpoints");
        let mut all: Vec<_> = fs::read_dir(&checkpoints)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.to_string_lossy().contains("step-"))
            .collect();
        all.sort();
        assert!(all.len() > 1, "{all:?}");
        fs::copy(&all[0], checkpoints.join("last.safetensors")).unwrap();
        let words = format!("pretrain --resume {}", mpi.name);
        Ran::of(mpi.simmim(&sandbox, 4, &words).output().unwrap()).fails(2, &["4"]);
        sandbox.simmim(&words).ok();
        require_same_curve(&sandbox.path("one"), &run);
        fs::copy(&all[0], checkpoints.join("last.safetensors")).unwrap();
        Ran::of(mpi.simmim(&sandbox, 2, &words).output().unwrap()).ok();
        require_same_curve(&sandbox.path("one"), &run);
    }
}

#[test]
fn an_error_of_all_ranks_is_told_once() {
    let sandbox = Sandbox::with_photos(24);
    for mpi in here("an error on several ranks") {
        for (words, code, says) in [
            (
                "pretrain --config tiny.toml --data nowhere --out run",
                1,
                "nowhere",
            ),
            (
                "pretrain --config tiny.toml --data photos --set train.epochs=0 --out run",
                2,
                "train.epochs",
            ),
            (
                "pretrain --config tiny.toml --data photos --set train.batch_size=5 --out run",
                2,
                "batch",
            ),
        ] {
            let ran = Ran::of(mpi.simmim(&sandbox, 2, words).output().unwrap());
            let ran = ran.fails(code, &[says]);
            assert_eq!(ran.stderr.matches("error: ").count(), 1, "{ran:?}");
            assert!(!sandbox.path("run").exists());
        }
    }
}

#[test]
fn ranks_that_were_started_differently_are_told_in_what() {
    let sandbox = Sandbox::with_photos(24);
    for mpi in here("ranks that differ") {
        let words = "pretrain --config tiny.toml --data photos --out run";
        let mut command = mpi.simmim(&sandbox, 1, words);
        command.args([":", "-n", "1"]).args(Mpi::program());
        command.args(format!("{words} --epochs 3").split_whitespace());
        let ran = Ran::of(command.output().unwrap());
        ran.fails(
            1,
            &[
                "was started with arguments other than those of rank 0",
                "--epochs 3",
            ],
        );
        let mut command = mpi.launch(&sandbox);
        command.args(["-n", "1", "env", "SIMMIM_CPU=portable"]);
        command.args(Mpi::program()).args(words.split_whitespace());
        command.args([":", "-n", "1", "env", "SIMMIM_CPU=avx2"]);
        command.args(Mpi::program()).args(words.split_whitespace());
        let ran = Ran::of(command.output().unwrap());
        // On a processor without AVX2 both are the same.
        if ran.code != Some(0) {
            ran.fails(
                1,
                &[
                    "instructions",
                    "avx2, where rank 0 has portable",
                    "SIMMIM_CPU",
                ],
            );
            assert!(!sandbox.path("run").exists());
        }
    }
}

#[test]
fn several_processes_without_mpi_are_told_so_and_do_nothing() {
    let sandbox = Sandbox::with_photos(24);
    let words = "pretrain --config tiny.toml --data photos --out run";
    for (names, launcher) in [
        (
            ["OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"],
            "mpirun of Open MPI",
        ),
        (["PMI_SIZE", "PMI_RANK"], "mpiexec"),
        (["SLURM_STEP_NUM_TASKS", "SLURM_PROCID"], "srun"),
    ] {
        let mut command = sandbox.command(words);
        let command = command.env(names[0], "3").env(names[1], "1");
        let ran = Ran::of(
            command
                .env("SIMMIM_MPI", "/nowhere/libmpi.so.40")
                .output()
                .unwrap(),
        );
        let says = format!("{launcher} has started 3 processes, and no MPI library is found");
        ran.fails(1, &[&says, "/nowhere/libmpi.so.40", "SIMMIM_MPI"]);
        assert!(!sandbox.path("run").exists());
    }
    let mut command = sandbox.command(words);
    let command = command.env("PMI_SIZE", "2").env("PMI_RANK", "0");
    // A library that is none of MPI.
    let ran = Ran::of(command.env("SIMMIM_MPI", "libc.so.6").output().unwrap());
    ran.fails(1, &["libc.so.6 cannot be used as an MPI library"]);
    assert!(!sandbox.path("run").exists());
    let mut command = sandbox.command(words);
    let command = command.env("PMI_SIZE", "2").env("PMI_RANK", "0");
    Ran::of(command.env("SIMMIM_MPI", "none").output().unwrap()).ok();
}

#[test]
fn a_command_for_one_process_is_not_done_by_several() {
    let sandbox = Sandbox::with_photos(4);
    for mpi in here("a command for one process") {
        let mut command = mpi.simmim(&sandbox, 2, "mask photos/000.png --out masks.png");
        let ran = Ran::of(command.output().unwrap());
        ran.fails(
            2,
            &["has started 2 processes, and this command runs in one"],
        );
        assert!(!sandbox.path("masks.png").exists());
        let mut command = mpi.simmim(&sandbox, 2, "recipes");
        Ran::of(command.output().unwrap()).ok();
    }
}

#[test]
fn the_bench_of_scaling_measures_ranks_and_one_process() {
    let sandbox = Sandbox::new();
    let words = "bench scaling --variant vit-t/16 --image-size 32 --batch 4 --steps 2 --set model.depth=2 --threads 1";
    let line = |ran: Ran| -> serde_json::Value { serde_json::from_str(&ran.ok().stdout).unwrap() };
    let one = line(sandbox.simmim(words));
    assert_eq!(
        (&one["ranks"], &one["overlap"]),
        (&1.into(), &serde_json::Value::Null)
    );
    for mpi in here("the bench of scaling") {
        let two = line(Ran::of(mpi.simmim(&sandbox, 2, words).output().unwrap()));
        assert_eq!((&two["ranks"], &two["batch"]), (&2.into(), &4.into()));
        for name in [
            "alone_secs",
            "step_secs",
            "exchange_secs",
            "images_per_sec",
            "efficiency",
        ] {
            assert!(
                two[name].as_f64().is_some_and(|value| value > 0.0),
                "{name}: {two}"
            );
        }
        let overlap = two["overlap"].as_f64().unwrap();
        assert!((0.0..=1.0).contains(&overlap), "{two}");
        let words = words.replace("--batch 4", "--batch 5");
        let ran = Ran::of(mpi.simmim(&sandbox, 2, &words).output().unwrap());
        ran.fails(2, &["5 images cannot be divided among 2 processes"]);
    }
}
