//! Models for other libraries.

use std::fs;

use serde_json::Value;

use crate::sandbox::Sandbox;

/// A ViT that every library has a class for.
const PLAIN: &str = "--set model.variant=vit-t/8 --set model.width=24 --set model.depth=2 --set model.heads=3 --set data.image_size=32 \
                     --set mask.cell_px=8 --set model.positions=absolute --set model.layer_scale=0 --set train.max_steps=2 --set train.batch_size=4 \
                     --set data.normalise=imagenet";

#[test]
fn what_is_written_for_a_library_has_the_features_of_the_run() {
    let sandbox = Sandbox::with_photos(12);
    sandbox
        .simmim(&format!(
            "pretrain --data photos --recipe demo --out run {PLAIN}"
        ))
        .ok();
    let features = |from: &str| {
        let words =
            format!("embed --from {from} --data photos --out f.npy --overwrite --model.heads 3");
        sandbox.simmim(&words).ok();
        fs::read(sandbox.path("f.npy")).unwrap()
    };
    let own = features("run");
    for library in [
        "official",
        "timm",
        "huggingface",
        "torchvision",
        "mmpretrain",
    ] {
        let words = format!("export --from run --to {library} --out {library} --licence mit");
        let ran = sandbox.simmim(&words).ok();
        for file in ran.stdout.lines() {
            assert!(sandbox.path(file).is_file(), "{file}");
        }
        assert!(ran.stdout.contains("README.md"), "{}", ran.stdout);
        assert!(features(library) == own, "{library}");
    }
    let again = sandbox.simmim("export --from run --to timm --out timm");
    assert_eq!(again.code, Some(2), "{}", again.stderr);
    assert!(again.stderr.contains("--overwrite"), "{}", again.stderr);
    sandbox
        .simmim("export --from run --to timm --out timm --overwrite")
        .ok();
    for (part, output) in [("encoder", "tokens"), ("masked", "prediction")] {
        let words = format!("export --from run --to onnx --part {part} --out {part}");
        sandbox.simmim(&words).ok();
        let bytes = fs::read(sandbox.path(part).join("model.onnx")).unwrap();
        let name = output.as_bytes();
        assert!(
            bytes.windows(name.len()).any(|found| found == name),
            "{part}"
        );
    }
    for words in [
        "--to timm --part encoder",
        "--to onnx --licence mit",
        "--to onnx --part classifier",
        "--to keras",
    ] {
        let refused = sandbox.simmim(&format!("export --from run --out other {words}"));
        assert_eq!(refused.code, Some(2), "{words}: {}", refused.stderr);
        assert!(!sandbox.path("other").exists(), "{words}");
    }
}

#[test]
fn a_classifier_keeps_the_names_of_its_classes() {
    let sandbox = Sandbox::with_labels(8);
    let words = "finetune --data labelled --from scratch --out tuned --recipe finetune-small --set model.variant=vit-t/8 \
                 --set data.image_size=32 --set train.max_steps=2 --set train.batch_size=4";
    sandbox.simmim(words).ok();
    let predicted = |from: &str| -> Value {
        let ran = sandbox
            .simmim(&format!("predict --from {from} labelled/bars/000.png"))
            .ok();
        let line: Value = serde_json::from_str(&ran.stdout).unwrap();
        line["labels"].clone()
    };
    let own = predicted("tuned");
    for library in ["timm", "huggingface"] {
        sandbox
            .simmim(&format!(
                "export --from tuned --to {library} --out {library}"
            ))
            .ok();
        assert_eq!(predicted(library), own, "{library}");
    }
    let graph = "export --from tuned --to onnx --normalise --out onnx";
    sandbox.simmim(graph).ok();
    let bytes = fs::read(sandbox.path("onnx/model.onnx")).unwrap();
    let holds = |text: &str| {
        bytes
            .windows(text.len())
            .any(|part| part == text.as_bytes())
    };
    assert!(holds("logits") && holds("\"bars\""));
    let refused = sandbox.simmim("export --from tuned --to torchvision --out refused");
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert!(
        refused
            .stderr
            .contains("cannot be written under names of torchvision")
            && refused.stderr.contains("hint: --to timm"),
        "{}",
        refused.stderr
    );
    assert!(!sandbox.path("refused").exists());
}
