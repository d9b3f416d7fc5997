//! Configurations that cannot be, and numbers that run away.

use std::fs;

use crate::sandbox::Sandbox;

#[test]
fn a_cell_that_is_not_a_whole_number_of_patches_lists_the_valid_ones() {
    let sandbox = Sandbox::with_photos(3);
    let ran = sandbox.pretrain("--data photos --set mask.cell_px=12");
    ran.fails(2, &["a mask cell of 12 px", "valid cells: 8, 16, 32"]);
}

#[test]
fn an_image_that_is_not_a_whole_number_of_patches_names_the_nearest() {
    let sandbox = Sandbox::with_photos(3);
    let ran = sandbox.pretrain("--data photos --set data.image_size=36");
    ran.fails(
        2,
        &["`data.image_size` is [36, 36]", "[32, 32] and [40, 40]"],
    );
}

#[test]
fn an_unknown_key_lists_the_near_ones() {
    let sandbox = Sandbox::with_photos(3);
    let ran = sandbox.pretrain("--data photos --set train.bach_size=8");
    ran.fails(
        2,
        &[
            "unknown key `train.bach_size`",
            "hint: did you mean `train.batch_size`?",
        ],
    );
    fs::write(sandbox.path("mine.toml"), "[mask]\ncell = 4").unwrap();
    let ran = sandbox.simmim("pretrain --data photos --recipe mine.toml");
    ran.fails(2, &["unknown key `mask.cell` in mine.toml"]);
}

#[test]
fn a_file_that_extends_a_recipe_does_not_hide_another_one() {
    let sandbox = Sandbox::with_photos(3);
    fs::write(
        sandbox.path("row.toml"),
        "extends = 'paper/loss-l2'\n[train]\nepochs = 3",
    )
    .unwrap();
    let ran = sandbox.simmim("pretrain --data photos --recipe cifar10-swin --config row.toml");
    let expected = [
        "row.toml extends the recipe `paper/loss-l2`",
        "--recipe cifar10-swin",
        "hint: pass it as --recipe",
    ];
    ran.fails(2, &expected);
    fs::write(sandbox.path("row.toml"), "extends = 'paper/loss-l3'").unwrap();
    let ran = sandbox.simmim("pretrain --data photos --recipe row.toml");
    ran.fails(
        2,
        &["is not the name of a recipe", "did you mean `paper/loss-l"],
    );
}

#[test]
fn a_value_out_of_range_says_what_is_allowed() {
    let sandbox = Sandbox::with_photos(3);
    let ran = sandbox.pretrain("--data photos --set mask.ratio=1.5");
    ran.fails(2, &["`mask.ratio` is 1.5, allowed: above 0 and up to 1"]);
}

#[test]
fn a_broken_toml_is_told_on_one_line() {
    let sandbox = Sandbox::with_photos(3);
    fs::write(sandbox.path("mine.toml"), "[mask]\nratio = = 4").unwrap();
    let ran = sandbox.simmim("pretrain --data photos --config mine.toml");
    let ran = ran.fails(2, &["mine.toml is not valid TOML: ", "line 2"]);
    assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
}

#[test]
fn recipes_and_variants_that_do_not_exist_name_those_that_do() {
    let sandbox = Sandbox::with_photos(3);
    let ran = sandbox.simmim("pretrain --data photos --recipe dmeo");
    ran.fails(
        2,
        &["there is no recipe `dmeo`", "hint: did you mean `demo`?"],
    );
    let ran = sandbox.pretrain("--data photos --set model.variant=vit-q/16");
    ran.fails(
        2,
        &["no model variant `vit-q/16`", "hint: the variants are"],
    );
    sandbox
        .simmim("recipes show nothing")
        .fails(2, &["there is no recipe `nothing`"]);
}

#[test]
fn a_command_line_that_says_too_little_or_too_much_is_a_usage_error() {
    let sandbox = Sandbox::new();
    sandbox
        .simmim("pretrain")
        .fails(2, &["no images are given", "hint: pass --data"]);
    for other in [
        "--seed 1",
        "--auto-resume --out o",
        "--out o",
        "--overwrite",
        "--threads 2",
    ] {
        let ran = sandbox.simmim(&format!("pretrain --resume run {other}"));
        ran.fails(2, &["cannot be used with"]);
    }
    sandbox
        .simmim("pretrain --resume run --set a.b=1")
        .fails(2, &["--resume takes no --set, and a.b=1 is given"]);
    sandbox
        .simmim("pretrain --resume run --data x")
        .fails(2, &["run is not a run folder"]);
    sandbox
        .simmim("pretrain --auto-resume --data x")
        .fails(2, &["--out"]);
    sandbox
        .simmim("pretrain --overwrite --data x")
        .fails(2, &["--out"]);
    sandbox
        .simmim("trian")
        .fails(2, &["unrecognized subcommand"]);
}

#[test]
fn a_loss_that_is_no_number_stops_the_run_and_leaves_good_weights() {
    let sandbox = Sandbox::with_photos(12);
    let ran = sandbox.pretrain("--data photos --set train.base_lr=1e30 --set train.epochs=20");
    let ran = ran.fails(
        1,
        &[
            "training diverged at step",
            "run/checkpoints/last.safetensors are good",
        ],
    );
    assert!(
        ran.stderr.contains("hint: lower `train.base_lr`"),
        "{ran:?}"
    );
    let last = "run/checkpoints/last.safetensors";
    sandbox.simmim(&format!("inspect {last}")).ok();
    sandbox
        .simmim(&format!("reconstruct --from {last} photos/000.png"))
        .ok();
    let metrics = fs::read_to_string(sandbox.path("run/metrics.jsonl")).unwrap();
    assert!(
        !metrics.contains("NaN") && !metrics.contains("null"),
        "{metrics}"
    );
}

#[test]
fn a_mistyped_key_is_told_before_images_are_looked_at() {
    let sandbox = Sandbox::with_photos(3);
    for words in [
        "pretrain nowhere --set train.epoch=3",
        "finetune nowhere --from scratch --set train.epoch=3",
    ] {
        let ran = sandbox.simmim(words);
        ran.fails(2, &["unknown key `train.epoch`", "`train.epochs`"]);
    }
}

#[test]
fn names_that_the_field_uses_are_taken_or_lead_to_the_key() {
    let sandbox = Sandbox::with_photos(8);
    let words =
        "pretrain photos --config tiny.toml --epochs 2 --batch-size 3 --precision bf16 --out run";
    sandbox.simmim(words).ok();
    let config = fs::read_to_string(sandbox.path("run/config.toml")).unwrap();
    for line in ["epochs = 2\n", "batch_size = 3\n", "precision = \"bf16\"\n"] {
        assert!(config.contains(line), "{line}: {config}");
    }
    let ran = sandbox.simmim("pretrain photos --lr 1e-3");
    ran.fails(2, &["'--lr'", "hint: the key is train.base_lr"]);
    let ran = sandbox.simmim("pretrain photos --set train.lr=1e-3");
    ran.fails(
        2,
        &["unknown key `train.lr`", "did you mean `train.base_lr`?"],
    );
    let ran = sandbox.simmim("pretrain --resume run --epochs 3");
    ran.fails(2, &["cannot be used with"]);
}

#[test]
fn a_loss_that_rises_past_its_start_is_told_while_it_does_and_at_the_end() {
    let sandbox = Sandbox::with_photos(12);
    let ran = sandbox.pretrain(
        "--data photos --set train.base_lr=1000 --set train.epochs=60 --set train.max_steps=30",
    );
    let ran = ran.ok();
    for text in [
        "warning: the held-out loss is ",
        "where it began. If it does not fall soon",
        "with a higher loss than it began with: these weights have learned nothing",
    ] {
        assert!(ran.stderr.contains(text), "{text}: {ran:?}");
    }
    assert!(!ran.stderr.contains("done after"), "{ran:?}");
    let log = fs::read_to_string(sandbox.path("run/log.txt")).unwrap();
    assert!(log.contains("warning: the held-out loss is "), "{log}");
}

/// On a machine with GPUs there is none of this number.
#[test]
fn a_device_that_is_not_there_is_told_in_a_sentence() {
    let sandbox = Sandbox::with_photos(6);
    let ran = sandbox.pretrain("--data photos --set train.device=cuda:99");
    ran.fails(1, &["there is no device `cuda:99`: ", "hint: "]);
    let ran = sandbox.pretrain("--data photos --set train.device=gpu");
    let expected = ["`train.device`", "one of \"auto\", \"cpu\", \"cuda\""];
    ran.fails(2, &expected);
}
