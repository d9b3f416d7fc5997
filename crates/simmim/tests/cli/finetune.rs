//! From a pre-trained encoder and labels to predictions.

use std::fmt::Write as _;
use std::fs;
use std::time::Instant;

use serde_json::Value;

use crate::drawn;
use crate::kills;
use crate::resume::are_equal;
use crate::sandbox::Sandbox;

/// Short, and without what makes the training images hard.
pub(crate) const PLAIN: &str = "--set train.epochs=12 --set train.batch_size=6 --set train.warmup_epochs=1 --set train.threads=1 \
    --set train.base_lr=1 --set finetune.mixup=0 --set finetune.cutmix=0 --set finetune.erase=0 \
    --set finetune.rand_augment=none --set model.drop_path=0 --set data.workers=1";

/// A sandbox with a finished pre-training on its labelled images.
pub(crate) fn pretrained(n: usize) -> Sandbox {
    let sandbox = Sandbox::with_labels(n);
    sandbox.pretrain("--data labelled").ok();
    sandbox
}

pub(crate) fn lines(text: &str) -> Vec<Value> {
    let parse = |line: &str| serde_json::from_str(line).unwrap();
    text.lines().map(parse).collect()
}

#[test]
fn a_pretrained_encoder_learns_labels_and_predicts_them() {
    let sandbox = pretrained(20);
    let words = format!("finetune --data labelled --from run --val-share 0.2 --out labels {PLAIN}");
    let ran = sandbox.simmim(&words).ok();
    assert!(
        ran.stderr
            .contains("best accuracy on held-out images: 100.00 %"),
        "{ran:?}"
    );
    pixels_stand_beside(&sandbox, &ran.stderr);
    fs::create_dir(sandbox.path("new")).unwrap();
    for class in 0..3 {
        let path = sandbox.path(&format!("new/{class}.png"));
        drawn::labelled(class, 77).save(path).unwrap();
    }
    let ran = sandbox.simmim("predict --from labels new --top 2").ok();
    let found = lines(&ran.stdout);
    assert_eq!(found.len(), 3);
    for (line, class) in found.iter().zip(drawn::CLASSES) {
        assert_eq!(line["labels"][0]["label"], class, "{line}");
        assert_eq!(line["labels"].as_array().unwrap().len(), 2);
        let first = line["labels"][0]["probability"].as_f64().unwrap();
        let second = line["labels"][1]["probability"].as_f64().unwrap();
        assert!(first > second && first + second <= 1.0 + 1e-6, "{line}");
    }
    // On what the training held out, every image once, and the same whatever is looked at together.
    let ran = sandbox
        .simmim("evaluate --from labels --data labelled --out scores")
        .ok();
    let scores = &lines(&ran.stdout)[0];
    assert_eq!(scores["n_images"], 12);
    assert_eq!(scores["top1"], 1.0);
    assert_eq!(scores["classes"][1]["class"], "dark");
    assert!(
        ran.stderr.contains("those held out by the training"),
        "{ran:?}"
    );
    for file in [
        "classes.csv",
        "confusion.csv",
        "confusion.png",
        "scores.json",
    ] {
        assert!(sandbox.path("scores").join(file).is_file(), "{file}");
    }
    let one = sandbox
        .simmim("evaluate --from labels --data labelled --batch-size 1 --threads 2")
        .ok();
    assert_eq!(one.stdout, ran.stdout);
    let ran = sandbox.simmim("predict --from labels new --top 2").ok();
    // One at a time, they are given the same numbers.
    let one = sandbox
        .simmim("predict --from labels new --top 2 --batch-size 1")
        .ok();
    assert_eq!(one.stdout, ran.stdout);
}

/// What costs nothing stands beside a finished run: colours tell these classes too, which is said.
fn pixels_stand_beside(sandbox: &Sandbox, told: &str) {
    for text in [
        "beside it: logistic regression on pixels 100.00 %",
        "beside it: majority class 33.33 %",
        "warning: logistic regression on pixels gets 100.00 %, which is no less than this network with 100.00 %: the \
         pre-training is not worth its cost here yet",
    ] {
        assert!(told.contains(text), "{text}: {told}");
    }
    let again = sandbox.simmim("finetune --resume labels --json").ok();
    let done = lines(&again.stdout).pop().unwrap();
    assert_eq!(done["baselines"]["logistic"], 1.0, "{done}");
    assert!(done["warning"].is_string(), "{done}");
}

#[test]
fn an_image_that_cannot_be_read_has_a_line_that_says_why() {
    let sandbox = pretrained(6);
    let words =
        format!("finetune --data labelled --from run --out labels {PLAIN} --set train.max_steps=2");
    sandbox.simmim(&words).ok();
    fs::create_dir(sandbox.path("new")).unwrap();
    drawn::labelled(0, 1)
        .save(sandbox.path("new/a.png"))
        .unwrap();
    fs::write(sandbox.path("new/b.png"), b"no image").unwrap();
    drawn::labelled(1, 1)
        .save(sandbox.path("new/c.png"))
        .unwrap();
    let ran = sandbox.simmim("predict --from labels new");
    let found = lines(&ran.stdout);
    ran.fails(1, &["1 images could not be read"]);
    assert_eq!(found.len(), 3);
    assert!(found[0]["file"].as_str().unwrap().ends_with("a.png"));
    assert!(found[1]["file"].as_str().unwrap().ends_with("c.png"));
    assert!(found[2]["error"].is_string() && found[2]["labels"].is_null());
}

#[test]
fn a_fine_tuning_killed_at_random_moments_ends_as_one_that_was_not() {
    let sandbox = pretrained(12);
    let run = "finetune --data labelled --from run --val-share 0.25 --set train.epochs=30 --set train.batch_size=6 \
        --set train.accumulation=2 --set train.warmup_epochs=1 --set train.threads=2 --set data.workers=2 \
        --set finetune.ema=0.9 --set finetune.class_weights=balanced --set model.drop_path=0.2 \
        --set train.save_every_minutes=0.0003";
    let start = Instant::now();
    sandbox.simmim(&format!("{run} --out whole")).ok();
    kills::until_the_end(start.elapsed(), || {
        if sandbox.path("killed/checkpoints/last.safetensors").exists() {
            // What a run came from is not needed to go on.
            let _ = fs::remove_dir_all(sandbox.path("run/checkpoints"));
        }
        if sandbox.path("killed/config.toml").exists() {
            sandbox.command("finetune --resume killed")
        } else {
            sandbox.command(&format!("{run} --out killed"))
        }
    });
    are_equal(&sandbox.path("whole"), &sandbox.path("killed"));
}

#[test]
fn a_fine_tuning_killed_before_its_first_checkpoint_begins_with_the_weights_of_the_file_again() {
    let sandbox = pretrained(12);
    let run = format!("finetune --data labelled --from run --val-share 0.25 {PLAIN}");
    sandbox.simmim(&format!("{run} --out whole")).ok();
    // What stands there between the configuration and the first checkpoint.
    fs::create_dir(sandbox.path("killed")).unwrap();
    fs::copy(
        sandbox.path("whole/config.toml"),
        sandbox.path("killed/config.toml"),
    )
    .unwrap();
    let ran = sandbox.simmim("finetune --resume killed").ok();
    assert!(ran.stderr.contains("weights from"), "{ran:?}");
    are_equal(&sandbox.path("whole"), &sandbox.path("killed"));
}

#[test]
fn a_test_folder_is_left_alone_in_training_and_measured_on_afterwards() {
    let sandbox = pretrained(12);
    for (class, name) in drawn::CLASSES.iter().enumerate() {
        let train = sandbox.path("divided/train").join(name);
        let test = sandbox.path("divided/test").join(name);
        fs::create_dir_all(train.parent().unwrap()).unwrap();
        fs::create_dir_all(&test).unwrap();
        fs::rename(sandbox.path("labelled").join(name), train).unwrap();
        for idx in 40..42 {
            let path = test.join(format!("{idx}.png"));
            drawn::labelled(class, idx).save(path).unwrap();
        }
    }
    let words = "finetune --data divided --from run --val-share 0.25 --out labels --set train.max_steps=2 \
        --set train.batch_size=6 --set train.threads=1";
    let ran = sandbox.simmim(words).ok();
    assert!(ran.stderr.contains("divided/test is left alone"), "{ran:?}");
    assert!(ran.stderr.contains("27 training images"), "{ran:?}");
    for data in ["divided", "divided/test"] {
        let ran = sandbox
            .simmim(&format!("evaluate --from labels --data {data}"))
            .ok();
        assert_eq!(lines(&ran.stdout)[0]["n_images"], 6, "{data}");
    }
}

#[test]
fn what_no_machine_holds_is_refused_before_there_is_a_run_folder() {
    let sandbox = pretrained(6);
    let words = "finetune --data labelled --from run --out labels --set data.image_size=4096";
    let ran = sandbox.simmim(words);
    ran.fails(2, &["`data.image_size` is 262144", "hint:"]);
    assert!(!sandbox.path("labels").exists());
}

#[test]
fn a_recipe_for_another_family_of_encoders_is_refused_with_the_checkpoints_own() {
    let sandbox = pretrained(6);
    let ran = sandbox
        .simmim("finetune --data labelled --from run --out x --recipe finetune/swin-base-224");
    ran.fails(
        2,
        &[
            "best.safetensors holds a vision transformer (`vit-t/16`)",
            "a Swin transformer (`swin-b`) is needed",
            "hint: leave out the recipe",
        ],
    );
    let swin = "--set model.variant=swin-t/2 --set model.depth=unset --set model.depths=[1,1] --set model.width=12 \
        --set model.patch_px=unset --set mask.cell_px=4 --set train.max_steps=1 --overwrite";
    sandbox.pretrain(&format!("--data labelled {swin}")).ok();
    let ran = sandbox
        .simmim("finetune --data labelled --from run --out x --set model.variant=swinv2-t/2");
    ran.fails(
        2,
        &[
            "holds a Swin transformer (`swin-t/2`)",
            "a SwinV2 transformer",
        ],
    );
}

#[test]
fn images_of_the_training_that_have_changed_are_not_measured_on_without_a_warning() {
    let sandbox = pretrained(6);
    let words =
        format!("finetune --data labelled --from run --out labels {PLAIN} --set train.max_steps=2");
    sandbox.simmim(&words).ok();
    let ran = sandbox
        .simmim("evaluate --from labels --data labelled")
        .ok();
    assert!(!ran.stderr.contains("warning"), "{ran:?}");
    let class = fs::read_dir(sandbox.path("labelled"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    drawn::labelled(1, 50)
        .save(class.path().join("one-more.png"))
        .unwrap();
    let ran = sandbox
        .simmim("evaluate --from labels --data labelled")
        .ok();
    assert!(
        ran.stderr
            .contains("warning: the images of this source have changed since"),
        "{ran:?}"
    );
}

#[test]
fn images_to_measure_on_may_be_of_one_class_and_have_to_be_readable() {
    let sandbox = pretrained(6);
    let words =
        format!("finetune --data labelled --from run --out labels {PLAIN} --set train.max_steps=2");
    sandbox.simmim(&words).ok();
    fs::create_dir_all(sandbox.path("new/dark")).unwrap();
    let path = sandbox.path("new/dark/0.png");
    drawn::labelled(1, 50).save(&path).unwrap();
    let ran = sandbox.simmim("evaluate --from labels --data new").ok();
    assert_eq!(lines(&ran.stdout)[0]["n_images"], 1);
    assert!(!ran.stderr.contains("warning"), "{ran:?}");
    fs::write(&path, b"no image").unwrap();
    let ran = sandbox.simmim("evaluate --from labels --data new");
    assert_eq!(ran.stdout, "");
    ran.fails(1, &["none of 1 images could be read", "0.png", "hint:"]);
}

#[test]
fn a_run_without_progress_ends_when_patience_does() {
    let sandbox = pretrained(8);
    // At a rate of nothing the accuracy stays as it is.
    let words = "finetune --data labelled --from run --val-share 0.25 --out labels --set train.epochs=40 \
        --set train.batch_size=6 --set train.warmup_epochs=0 --set train.base_lr=0 --set train.warmup_lr=0 \
        --set train.min_lr=0 --set finetune.patience=3 --set data.workers=1 --set train.threads=1";
    let ran = sandbox.simmim(words).ok();
    assert!(
        ran.stderr
            .contains("3 validations without a better accuracy"),
        "{ran:?}"
    );
    let ended = fs::read_to_string(sandbox.path("labels/metrics.jsonl")).unwrap();
    // The first one is the best, three are waited for; an epoch is 3 steps.
    assert_eq!(ended.lines().count(), 12);
    let again = sandbox.simmim("finetune --resume labels").ok();
    assert!(again.stderr.contains("the run ends here"), "{again:?}");
    let after = fs::read_to_string(sandbox.path("labels/metrics.jsonl")).unwrap();
    assert_eq!(after, ended);
}

#[test]
fn labels_that_nothing_can_be_learned_from_are_refused_before_any_training() {
    let sandbox = pretrained(6);
    let refuse = |data: &str, says: &[&str]| {
        let words = format!("finetune --data {data} --from run --out refused {PLAIN}");
        sandbox.simmim(&words).fails(1, says);
        assert!(!sandbox.path("refused").exists(), "{data}");
    };
    let image = |path: &str| {
        let path = sandbox.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        drawn::labelled(0, 3).save(path).unwrap();
    };
    image("one/only/a.png");
    image("one/only/b.png");
    refuse("one", &["only", "hint:"]);
    image("empty/a/1.png");
    fs::create_dir(sandbox.path("empty/b")).unwrap();
    refuse("empty", &["empty/b", "hint:"]);
    for class in ["a", "b"] {
        image(&format!("unknown/train/{class}/1.png"));
        image(&format!("unknown/train/{class}/2.png"));
        image(&format!("unknown/val/{class}/1.png"));
    }
    image("unknown/val/c/1.png");
    refuse("unknown", &["the class c", "hint:"]);
    let table = "path,label\nlabelled/dark/000.png,dark\nlabelled/dark/none.png,dark\n";
    fs::write(sandbox.path("table.csv"), table).unwrap();
    refuse("table.csv", &["none.png", "hint:"]);
    for idx in 0..40 {
        image(&format!("many/{idx}/1.png"));
    }
    refuse("many", &["40", "hint:"]);
}

#[test]
fn runs_and_settings_of_another_task_are_told_where_they_belong() {
    let sandbox = pretrained(6);
    let words =
        format!("finetune --data labelled --from run --out labels {PLAIN} --set train.max_steps=2");
    sandbox.simmim(&words).ok();
    let refuse = |words: &str, says: &[&str]| {
        sandbox.simmim(words).fails(2, says);
    };
    refuse(
        "predict --from run labelled",
        &["no labels yet", "simmim finetune --from"],
    );
    refuse(
        "pretrain --resume labels",
        &["a fine-tuning", "use `simmim finetune`"],
    );
    refuse(
        "finetune --resume run",
        &["a pre-training", "use `simmim pretrain`"],
    );
    refuse(
        "finetune --data labelled",
        &["no encoder is given", "--from scratch"],
    );
    refuse(
        "finetune --data labelled --from run --out x --set mask.ratio=0.5",
        &["keys of pre-training", "[finetune]"],
    );
    refuse(
        "pretrain --data labelled --out x --set finetune.mixup=0",
        &["keys of"],
    );
    refuse(
        "finetune --data labelled --from run --out x --labels 0",
        &["finetune.labels", "above 0"],
    );
    refuse(
        "finetune --data labelled --from run --out x --set finetune.rand_augment=much",
        &["much"],
    );
}

#[test]
fn images_of_other_classes_are_not_measured() {
    let sandbox = pretrained(6);
    let words =
        format!("finetune --data labelled --from run --out labels {PLAIN} --set train.max_steps=2");
    sandbox.simmim(&words).ok();
    for class in ["dark", "lihgt"] {
        let folder = sandbox.path("other").join(class);
        fs::create_dir_all(&folder).unwrap();
        for idx in 0..2 {
            drawn::labelled(1, idx)
                .save(folder.join(format!("{idx}.png")))
                .unwrap();
        }
    }
    let ran = sandbox.simmim("evaluate --from labels --data other");
    ran.fails(1, &["knows no class `lihgt`", "it knows `light`"]);
    let table = "path,label\nother/dark/0.png,dark;light\nother/dark/1.png,light\nother/lihgt/0.png,dark\nother/lihgt/1.png,dark\n";
    fs::write(sandbox.path("several.csv"), table).unwrap();
    let ran = sandbox.simmim("evaluate --from labels --data several.csv");
    ran.fails(1, &["several labels each"]);
}

#[test]
fn several_labels_an_image_are_learned_and_measured() {
    let sandbox = pretrained(12);
    let mut table = "path,label\n".to_owned();
    for (class, labels) in [("bars", "dark;light"), ("dark", "dark"), ("light", "light")] {
        for idx in 0..12 {
            writeln!(table, "labelled/{class}/{idx:03}.png,{labels}").unwrap();
        }
    }
    fs::write(sandbox.path("table.csv"), table).unwrap();
    let words = format!(
        "finetune --data table.csv --from run --val-share 0.25 --out labels {PLAIN} --set train.epochs=20"
    );
    sandbox.simmim(&words).ok();
    let ran = sandbox
        .simmim("evaluate --from labels --data table.csv --out scores")
        .ok();
    let scores = &lines(&ran.stdout)[0];
    assert_eq!(scores["n_images"], 9);
    assert!(
        scores["mean_average_precision"].as_f64().unwrap() > 0.95,
        "{scores}"
    );
    assert!(sandbox.path("scores/classes.csv").is_file());
}

#[test]
fn without_a_recipe_a_small_network_gets_the_one_for_small_networks_and_steps_enough() {
    let sandbox = pretrained(20);
    let words = "finetune --data labelled --from run --out labels --set train.min_steps=30 --set train.batch_size=12";
    let ran = sandbox.simmim(words).ok();
    assert!(
        ran.stderr
            .contains("\n  recipe    finetune-small, for a small network"),
        "{ran:?}"
    );
    // 54 images, four steps an epoch, ten epochs would do: the recipe's twenty stay.
    let config = fs::read_to_string(sandbox.path("labels/config.toml")).unwrap();
    assert!(config.contains("epochs = 20\n"), "{config}");
    let words = "finetune --data labelled --from run --out longer --set train.min_steps=100 --set train.batch_size=27";
    let ran = sandbox.simmim(words).ok();
    assert!(
        ran.stderr
            .contains("60 epochs in place of 20: 54 images are 2 steps an epoch"),
        "{ran:?}"
    );
    // Who gives a length gets it.
    let words = format!("finetune --data labelled --from run --out short {PLAIN}");
    sandbox.simmim(&words).ok();
    let config = fs::read_to_string(sandbox.path("short/config.toml")).unwrap();
    assert!(config.contains("epochs = 12\n"), "{config}");
}

#[test]
fn from_scratch_the_network_is_chosen_from_the_images() {
    let sandbox = Sandbox::with_labels(8);
    let words = "finetune --data labelled --from scratch --val-share 0.25 --set train.max_steps=3 --threads 1";
    let ran = sandbox.simmim(&format!("{words} --out labels")).ok();
    for text in [
        "from scratch: the network is chosen from the images and this machine:",
        "vit-t/4 of 6 blocks: 24 images of 32 px",
        "no --recipe: chosen from the encoder",
        "\n  recipe    finetune-small",
    ] {
        assert!(ran.stderr.contains(text), "{text}: {ran:?}");
    }
    let config = fs::read_to_string(sandbox.path("labels/config.toml")).unwrap();
    for line in [
        "image_size = [32, 32]\n",
        "variant = \"vit-t/4\"\n",
        "depth = 6\n",
        "layer_decay = 1.0\n",
    ] {
        assert!(config.contains(line), "{line}: {config}");
    }
    // The same command goes on with it, though another network would be chosen by then.
    fs::remove_dir_all(sandbox.path("labelled/light")).unwrap();
    let again = sandbox.simmim(&format!("{words} --out labels --auto-resume"));
    again.fails(1, &["the number of images was 24, now it is 16"]);
    // Who names a network gets that one whole.
    let words = format!("{words} --set model.variant=vit-s/8 --set train.max_steps=1 --out named");
    sandbox.simmim(&words).ok();
    let config = fs::read_to_string(sandbox.path("named/config.toml")).unwrap();
    assert!(config.contains("# depth is not set\n"), "{config}");
}
