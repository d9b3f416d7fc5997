//! Weights of other programs, wherever `--from` stands.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::sandbox::Sandbox;

/// A small model of another library, with random weights.
fn golden(name: &str) -> String {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folder = root.join("golden/interop").join(name);
    folder.canonicalize().unwrap().display().to_string()
}

#[test]
fn an_autoencoder_of_transformers_is_recognised_and_trained_on() {
    let sandbox = Sandbox::with_photos(12);
    let mae = golden("hf_mae");
    let words = format!("pretrain --from {mae} --data photos --out run --set train.max_steps=2");
    let ran = sandbox.simmim(&words).ok();
    for part in [
        "a vision transformer under names of transformers: 24 wide, 2 blocks, 3 heads, patches of 8 px, 32 x 32 px",
        "30 tensors; 4 of them queries, keys and values put together",
        "at random: decoder.0.weight, decoder.0.bias (the file has none)",
        "(it is of the decoder of a masked autoencoder, which sees visible patches alone)",
    ] {
        assert!(ran.stderr.contains(part), "no `{part}` in {}", ran.stderr);
    }
    sandbox
        .simmim("reconstruct --from run photos/000.png --out seen.png")
        .ok();
    // Longer, with everything else as it was.
    let longer = "pretrain --from run --out longer --set train.max_steps=3";
    let ran = sandbox.simmim(longer).ok();
    assert!(
        ran.stderr
            .contains("everything that is not given is as in the run of"),
        "{}",
        ran.stderr
    );
    // All of the encoder and its head, so nothing begins at random.
    assert!(!ran.stderr.contains("at random"), "{}", ran.stderr);
}

#[test]
fn a_classifier_of_timm_is_put_to_use_and_trained_on() {
    let sandbox = Sandbox::with_labels(8);
    let vit = golden("timm_vit");
    let image = "labelled/bars/000.png";
    let ran = sandbox
        .simmim(&format!("predict --from {vit} {image}"))
        .ok();
    let line: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert!(
        line["labels"][0]["label"]
            .as_str()
            .unwrap()
            .starts_with("kind "),
        "{line}"
    );
    assert!(ran.stderr.contains("under names of timm"), "{}", ran.stderr);
    for words in [
        "knn --k 1",
        "embed --out f.npy",
        "probe --lambda 0.1 --solver lbfgs --cache cache",
    ] {
        let words = format!("{words} --from {vit} --data labelled");
        let ran = sandbox.simmim(&words);
        assert!(
            ran.stderr.contains("under names of timm"),
            "{words}: {}",
            ran.stderr
        );
    }
    let words =
        "finetune --data labelled --out tuned --set train.max_steps=2 --set train.batch_size=4";
    sandbox.simmim(&format!("{words} --from {vit}")).ok();
    sandbox.simmim("evaluate --from tuned --data labelled").ok();
}

#[test]
fn what_is_lacking_or_unknown_is_said_with_the_way_past_it() {
    let sandbox = Sandbox::with_photos(4);
    let vit = golden("timm_vit");
    let ran = sandbox.simmim(&format!("reconstruct --from {vit} photos/000.png"));
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    assert!(
        ran.stderr
            .contains("has no head that predicts hidden pixels"),
        "{}",
        ran.stderr
    );
    let ran = sandbox.simmim(&format!(
        "knn --from {vit}/model.safetensors --data photos --weights-format torchvision"
    ));
    assert!(
        ran.stderr.contains("no encoder under names that are known"),
        "{}",
        ran.stderr
    );
    assert!(
        ran.stderr
            .contains("leave --weights-format torchvision away"),
        "{}",
        ran.stderr
    );
    let ran = sandbox.simmim("knn --from photos --data photos");
    assert!(
        ran.stderr.contains("has no file of weights"),
        "{}",
        ran.stderr
    );
}

#[test]
fn inspect_says_what_a_file_holds_and_in_what_two_differ() {
    let sandbox = Sandbox::with_photos(1);
    let [mae, vit] = [golden("hf_mae"), golden("hf_vit")];
    let ran = sandbox.simmim(&format!("inspect {mae}")).ok();
    assert!(
        ran.stdout
            .contains("model:       a vision transformer under names of transformers")
    );
    assert!(
        ran.stdout
            .contains("not used:    decoder.decoder_norm.bias"),
        "{}",
        ran.stdout
    );
    let ran = sandbox.simmim(&format!("inspect --diff {mae} {vit}")).ok();
    // Made by one generator, in the order of the parameters: the first are the same, and the classifier is in one alone.
    assert!(
        ran.stdout.contains("head.weight: only in B"),
        "{}",
        ran.stdout
    );
    assert!(
        ran.stdout.contains("arrays are the same to the bit"),
        "{}",
        ran.stdout
    );
    let ran = sandbox.simmim(&format!("inspect --diff {mae} {mae}")).ok();
    assert!(
        ran.stdout.contains("30 of 30 arrays are the same"),
        "{}",
        ran.stdout
    );
}

/// The loss of each step.
fn losses(sandbox: &Sandbox, run: &str) -> Vec<f64> {
    let text = fs::read_to_string(sandbox.path(run).join("metrics.jsonl")).unwrap();
    let records = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let steps = records.filter(|record| record["step"].is_u64());
    steps.map(|step| step["loss"].as_f64().unwrap()).collect()
}

#[test]
fn weights_that_were_written_for_others_and_read_back_train_as_the_run_itself() {
    let sandbox = Sandbox::with_photos(12);
    // What a file of weights does not say is said to both.
    let plain = "--recipe demo --set model.variant=vit-t/8 --set model.width=24 --set model.depth=2 --set model.heads=3 \
                 --set data.image_size=32 --set mask.cell_px=8 --set model.positions=absolute --set model.layer_scale=0 \
                 --set train.batch_size=4 --set data.normalise=imagenet";
    let first = format!("pretrain --data photos --out run {plain} --set train.max_steps=2");
    sandbox.simmim(&first).ok();
    let on = |from: &str, out: &str| {
        let words = format!(
            "pretrain --data photos --from {from} --out {out} {plain} --set train.max_steps=10 --set train.seed=5"
        );
        sandbox.simmim(&words).ok();
        losses(&sandbox, out)
    };
    let own = on("run", "own");
    assert_eq!(own.len(), 10);
    for library in ["official", "huggingface"] {
        let words = format!("export --from run --to {library} --out {library}");
        sandbox.simmim(&words).ok();
        let found = on(library, &format!("by-{library}"));
        // transformers has biases of keys, which change nothing but how sums are rounded.
        let most = if library == "official" { 0.0 } else { 1e-6 };
        for (found, own) in found.iter().zip(&own) {
            assert!((found - own).abs() <= most, "{library}: {found} and {own}");
        }
        assert_eq!(found.len(), own.len());
    }
}
