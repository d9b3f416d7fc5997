//! What `simmim bench` prints. No time is held against another: other tests run beside these.

use std::fs;
use std::process::Stdio;

use serde_json::Value;

use crate::sandbox::Sandbox;

const STEP: &str = "bench step --variant vit-t/16 --image-size 32 --batch 2 --steps 1 --threads 1 \
    --set model.patch_px=8 --set model.width=24 --set model.depth=1 --set model.heads=2 --set mask.cell_px=16";

fn line(stdout: &str) -> Value {
    serde_json::from_str(stdout.trim_end()).unwrap()
}

#[track_caller]
fn assert_positive(found: &Value, fields: &[&str]) {
    for field in fields {
        assert!(found[field].as_f64().unwrap() > 0.0, "{field} in {found}");
    }
}

#[test]
fn a_step_is_one_line_of_json_with_what_was_measured() {
    let sandbox = Sandbox::new();
    for (options, precision) in [("", "fp32"), ("--precision bf16 --checkpointing", "bf16")] {
        let ran = sandbox.simmim(&format!("{STEP} {options}")).ok();
        assert_eq!(ran.stderr, "");
        let found = line(&ran.stdout);
        assert_eq!(found["precision"], precision);
        assert_eq!(found["checkpointing"], precision == "bf16");
        assert_eq!((&found["batch"], &found["threads"]), (&2.into(), &1.into()));
        assert_eq!(found["image_size"], Value::from(vec![32, 32]));
        assert_eq!(found["version"], env!("CARGO_PKG_VERSION"));
        assert!(found["variant"] == "vit-t/16" && found["profile"].is_null());
        assert_positive(&found, &["step_secs", "images_per_sec", "n_parameters"]);
        if cfg!(target_os = "linux") {
            assert_positive(&found, &["peak_rss_gib"]);
        }
    }
}

#[test]
fn a_step_can_be_of_each_task() {
    let sandbox = Sandbox::new();
    for task in ["pretrain", "finetune", "embed"] {
        let ran = sandbox
            .simmim(&format!("{STEP} --task {task} --profile"))
            .ok();
        let found = line(&ran.stdout);
        assert_eq!(found["task"], task);
        assert_positive(&found, &["step_secs", "images_per_sec", "n_parameters"]);
        let ops = found["profile"]["ops"].as_array().unwrap();
        let has = |name: &str| ops.iter().any(|op| op["op"] == name);
        assert!(has("attention") && has("linear_gelu"), "{found}");
        assert_eq!(has("attention_backward"), task != "embed");
        assert_eq!(has("label_loss"), task == "finetune");
        assert_eq!(has("pixel_loss"), task == "pretrain");
    }
}

#[test]
fn a_profile_lists_operations_forward_and_backward() {
    let sandbox = Sandbox::new();
    let ran = sandbox.simmim(&format!("{STEP} --profile")).ok();
    let profile = &line(&ran.stdout)["profile"];
    assert_positive(profile, &["peak_gflops", "peak_gbs"]);
    let ops = profile["ops"].as_array().unwrap();
    let named = |name: &str| ops.iter().find(|op| op["op"] == name).unwrap();
    for name in [
        "linear",
        "linear_backward_weight",
        "attention",
        "attention_backward",
    ] {
        assert_positive(
            named(name),
            &[
                "calls",
                "secs",
                "gflops",
                "gbs",
                "share_of_step",
                "share_of_peak",
            ],
        );
        assert!(ran.stderr.contains(&format!("\n{name} ")), "{ran:?}");
    }
    assert_eq!(named("residual")["gflops"], 0.0);
    // Twice a block, and once at the end.
    assert_eq!(named("layer_norm")["calls"], 3.0);
    let shares: f64 = ops
        .iter()
        .map(|op| op["share_of_step"].as_f64().unwrap())
        .sum();
    assert!(shares < 1.0, "{shares}");
}

#[test]
fn a_step_that_cannot_be_measured_says_what_can() {
    let sandbox = Sandbox::new();
    let fails = |options: &str, says: &[&str]| {
        sandbox.simmim(&format!("{STEP} {options}")).fails(2, says);
    };
    fails(
        "--set objective.target=clusters",
        &["no codebook", "hint: ", "pixels"],
    );
    fails(
        "--set train.accumulation=2",
        &["train.accumulation", "--batch"],
    );
    fails("--window 7", &["model.window", "Swin"]);
    fails("--precision fp16", &["train.precision", "bf16"]);
    fails("--set train.batch_size=0", &["train.batch_size"]);
}

#[test]
fn the_loader_is_measured_on_real_files() {
    let sandbox = Sandbox::with_photos(10);
    let ran = sandbox
        .simmim("bench loader --data photos --size 64 --workers 2 --batch 4")
        .ok();
    let found = line(&ran.stdout);
    assert_positive(&found, &["images_per_sec", "images_per_sec_median"]);
    // Two images do not fill a batch.
    assert_eq!(
        (&found["images_a_pass"], &found["unreadable"]),
        (&8.0.into(), &0.into())
    );
    sandbox
        .simmim("bench loader --data photos --size 64 --batch 11")
        .fails(2, &["10", "11"]);
    sandbox
        .simmim("bench loader --data nowhere")
        .fails(1, &["nowhere"]);
}

#[test]
fn kernels_are_chosen_by_a_part_of_their_name() {
    let sandbox = Sandbox::new();
    let ran = sandbox
        .simmim("bench kernels --filter softmax --threads 1")
        .ok();
    let lines: Vec<Value> = ran.stdout.lines().map(line).collect();
    assert_eq!(lines.len(), 4, "{ran:?}");
    for found in &lines {
        assert_eq!(
            (&found["name"], &found["threads"]),
            (&"softmax".into(), &1.into())
        );
        assert!(found["shape"].is_string());
        assert_positive(found, &["secs", "gbs", "share_of_peak"]);
    }
    sandbox
        .simmim("bench kernels --filter conv")
        .fails(2, &["`conv`", "hint: "]);
}

/// Threads of a process, where the system tells.
fn n_threads(pid: u32) -> Option<usize> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("Threads:"))?;
    line.trim().parse().ok()
}

#[test]
#[cfg(target_os = "linux")]
fn a_step_runs_on_no_more_threads_than_asked_for() {
    let sandbox = Sandbox::new();
    for (options, precision) in [("--threads 1", "fp32"), ("--threads 3", "bf16")] {
        let words = format!(
            "{} --precision {precision}",
            STEP.replace("--threads 1", options)
        );
        let words = words.replace("--steps 1", "--steps 100");
        let mut command = sandbox.command(&words);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut most = 0;
        while child.try_wait().unwrap().is_none() {
            most = most.max(n_threads(child.id()).unwrap_or(0));
        }
        let found = line(&String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap());
        // The thread that the program began on waits meanwhile.
        assert_eq!(most as u64, 1 + found["threads"].as_u64().unwrap());
    }
}
