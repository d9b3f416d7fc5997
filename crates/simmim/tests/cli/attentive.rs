//! Learned queries that attend over an encoder's tokens: as a probe, and as a head that is fine-tuned.

use std::fs;
use std::time::Instant;

use serde_json::Value;

use crate::drawn;
use crate::finetune::PLAIN;
use crate::kills;
use crate::resume::are_equal;
use crate::sandbox::{Sandbox, tensors};

/// A transformer of each family, so small that a step takes a few milliseconds.
pub(crate) const FAMILIES: [(&str, &str); 3] = [
    ("vit", ""),
    (
        "swin",
        "--set model.variant=swin-t/2 --set model.depth=unset --set model.depths=[1,1] --set model.width=12 \
         --set model.patch_px=unset --set mask.cell_px=4",
    ),
    (
        "swinv2",
        "--set model.variant=swinv2-t/2 --set model.depth=unset --set model.depths=[1,1] --set model.width=12 \
         --set model.patch_px=unset --set mask.cell_px=4",
    ),
];

#[test]
fn queries_that_attend_tell_clear_classes_and_leave_nothing_on_disk() {
    let sandbox = Sandbox::with_labels(20);
    sandbox.pretrain("--data labelled --set model.depth=2").ok();
    let words = "probe --from run --data labelled --lambda 0.1 --pool attentive --lr 0.001,0.01";
    let ran = sandbox.simmim(words).ok();
    let line: Value = serde_json::from_str(&ran.stdout).unwrap();
    let found = &line["attentive"];
    assert_eq!(found["top1"], 1.0, "{line}");
    assert_eq!(found["n_held_out"], line["n_held_out"]);
    let trials = found["trials"].as_array().unwrap();
    let named = |name: &str| trials.iter().any(|trial| trial["feature"] == name);
    assert!(
        trials.len().is_multiple_of(2) && named("output, attentive"),
        "{line}"
    );
    assert!(ran.stderr.contains("its tokens take"), "{ran:?}");
    assert!(ran.stderr.contains("attentive      rate 0.001"), "{ran:?}");
    assert!(
        ran.stderr
            .contains("beside it: logistic regression on pixels"),
        "{ran:?}"
    );
    // The features alone are kept.
    assert_eq!(
        fs::read_dir(sandbox.path("run/features")).unwrap().count(),
        1
    );
    // In other pieces the same, of a block that is asked for and of few labels too.
    let other = sandbox
        .simmim(&format!("{words} --batch-size 7 --threads 2"))
        .ok();
    assert_eq!(other.stdout, ran.stdout);
    let ran = sandbox
        .simmim(&format!("{words} --block 1 --labels 0.3"))
        .ok();
    let line: Value = serde_json::from_str(&ran.stdout).unwrap();
    let trials = line["attentive"]["trials"].as_array().unwrap();
    assert!(
        trials
            .iter()
            .all(|trial| trial["feature"] == "block 1, attentive"),
        "{line}"
    );
    assert_eq!(line["attentive"]["n_train"], line["n_train"]);
    let refused = sandbox.simmim(&format!("{words} --block 3"));
    refused.fails(2, &["has no block 3", "the blocks 1 to 2"]);
    let refused = sandbox.simmim("probe --from run --data labelled --lr 0");
    refused.fails(2, &["--lr has [0.0]"]);
}

#[test]
fn encoders_of_every_family_are_attended_to_as_they_are_and_fine_tuned() {
    for (name, model) in FAMILIES {
        let sandbox = Sandbox::with_labels(12);
        sandbox.pretrain(&format!("--data labelled {model}")).ok();
        let ran = sandbox
            .simmim("probe --from run --data labelled --lambda 0.1 --pool attentive --lr 0.003")
            .ok();
        let line: Value = serde_json::from_str(&ran.stdout).unwrap();
        assert!(
            line["attentive"]["top1"].as_f64().unwrap() > 0.8,
            "{name}: {line}"
        );
        let words = format!(
            "finetune --data labelled --from run --val-share 0.2 --out labels {PLAIN} --set finetune.pool=attentive"
        );
        sandbox.simmim(&words).ok();
        let weights = tensors(&sandbox.path("labels/checkpoints/best.safetensors"));
        for parameter in ["pool.queries.weight", "pool.values.weight"] {
            assert!(
                weights.iter().any(|(name, _)| name == parameter),
                "{name}: {parameter}"
            );
        }
        drawn::labelled(1, 77)
            .save(sandbox.path("new.png"))
            .unwrap();
        let ran = sandbox.simmim("predict --from labels new.png").ok();
        let line: Value = serde_json::from_str(ran.stdout.lines().next().unwrap()).unwrap();
        assert_eq!(
            line["labels"][0]["label"],
            drawn::CLASSES[1],
            "{name}: {line}"
        );
        let words = "probe --from labels --data labelled --lambda 0.1";
        sandbox.simmim(words).ok();
    }
}

#[test]
fn an_attentive_fine_tuning_killed_at_random_moments_ends_as_one_that_was_not() {
    let sandbox = Sandbox::with_labels(12);
    sandbox.pretrain("--data labelled").ok();
    let run = "finetune --data labelled --from run --val-share 0.25 --set train.epochs=30 --set train.batch_size=6 \
        --set train.warmup_epochs=1 --set train.threads=2 --set finetune.ema=0.9 --set train.save_every_minutes=0.0003 \
        --set finetune.pool=attentive";
    let start = Instant::now();
    sandbox.simmim(&format!("{run} --out whole")).ok();
    kills::until_the_end(start.elapsed(), || {
        sandbox.command(&format!("{run} --out killed --auto-resume"))
    });
    are_equal(&sandbox.path("whole"), &sandbox.path("killed"));
}
