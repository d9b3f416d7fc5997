//! The commands beside `pretrain`.

use std::fs;

use serde_json::Value;

use crate::sandbox::Sandbox;

#[test]
fn a_reconstruction_differs_by_mask_and_seed_and_by_nothing_else() {
    let sandbox = Sandbox::with_photos(3);
    sandbox.pretrain("--data photos").ok();
    let draw = |options: &str| {
        let words =
            format!("reconstruct --from run photos/000.png --out out.png --overwrite {options}");
        let ran = sandbox.simmim(&words).ok();
        assert_eq!(ran.stdout, "out.png\n");
        fs::read(sandbox.path("out.png")).unwrap()
    };
    let plain = draw("");
    assert!(plain == draw("--seed 0"));
    for options in [
        "--seed 1",
        "--ratio 0.25",
        "--cell-px 8",
        "--mask-kind square --ratio 0.5",
    ] {
        assert!(plain != draw(options), "{options}");
    }
    let words = "reconstruct --from run photos/000.png --cell-px 12";
    sandbox.simmim(words).fails(2, &["valid cells: 8, 16, 32"]);
    let words = "reconstruct --from run photos/000.png --mask-kind sqare";
    sandbox
        .simmim(words)
        .fails(2, &["`mask.kind`", "\"square\""]);
}

#[test]
fn the_ending_of_a_picture_says_its_format_and_another_is_refused_before_anything_is_read() {
    let sandbox = Sandbox::with_photos(5);
    sandbox
        .pretrain("--data photos --set train.max_steps=1")
        .ok();
    for command in [
        "reconstruct --from run photos/000.png",
        "mask photos/000.png",
    ] {
        for (name, format) in [
            ("a.png", image::ImageFormat::Png),
            ("a.jpg", image::ImageFormat::Jpeg),
        ] {
            sandbox
                .simmim(&format!("{command} --out {name} --overwrite"))
                .ok();
            let bytes = fs::read(sandbox.path(name)).unwrap();
            assert_eq!(image::guess_format(&bytes).unwrap(), format, "{command}");
        }
        for name in ["a.gif", "picture"] {
            let says = [
                name,
                "its ending is that of no format of pictures",
                ".png, .jpg or .jpeg",
            ];
            sandbox
                .simmim(&format!("{command} --out {name}"))
                .fails(2, &says);
            assert!(!sandbox.path(name).exists(), "{command}");
        }
    }
    let nothing = "reconstruct --from no-run no-image.png --out a.gif";
    sandbox.simmim(nothing).fails(2, &["a.gif"]);
}

#[test]
fn a_folder_of_images_gives_its_first_sixteen_in_a_grid() {
    let sandbox = Sandbox::with_photos(20);
    sandbox
        .pretrain("--data photos --set train.max_steps=1")
        .ok();
    let ran = sandbox
        .simmim("reconstruct --from run photos --out all.png")
        .ok();
    assert!(
        ran.stderr.contains("photos: the first 16 of 20 images"),
        "{ran:?}"
    );
    let picture = image::open(sandbox.path("all.png")).unwrap();
    // Three groups of three in a row, each image enlarged five times.
    assert_eq!(picture.width(), 6 + 9 * (32 * 5 + 6) + 2 * 18);
    let titles_px = picture.height() - 6 - 6 * (32 * 5 + 6);
    assert!((20..80).contains(&titles_px), "{titles_px}");
    let many = "photos ".repeat(5);
    sandbox
        .simmim(&format!("reconstruct --from run {many}"))
        .fails(2, &["80 images are too many", "hint: "]);
    sandbox
        .simmim("reconstruct --from run tiny.toml")
        .fails(1, &["cannot use the image tiny.toml"]);
}

#[test]
fn an_inspected_run_tells_its_parameters_and_where_it_comes_from() {
    let sandbox = Sandbox::with_photos(6);
    sandbox
        .pretrain("--data photos --set train.max_steps=2")
        .ok();
    let ran = sandbox
        .simmim("inspect run/checkpoints/last.safetensors --json")
        .ok();
    let found: Value = serde_json::from_str(&ran.stdout).unwrap();
    let n_parameters = found["n_parameters"].as_u64().unwrap();
    assert_eq!(
        found["n_optimizer_values"].as_u64().unwrap(),
        2 * n_parameters
    );
    assert_eq!(
        (&found["verified"], &found["origin"]["step"]),
        (&Value::Bool(true), &Value::from(2))
    );
    assert_eq!(found["origin"]["config"]["model"]["width"], 24);
    let tensors = found["tensors"].as_array().unwrap();
    assert!(
        tensors
            .iter()
            .any(|t| t["name"] == "encoder.mask_token" && t["dtype"] == "F32"),
        "{found}"
    );
    // Short unless all is asked for.
    let short = sandbox.simmim("inspect run").ok();
    assert!(short.stdout.contains("(--all lists them)"), "{short:?}");
    assert!(!short.stdout.contains("encoder.mask_token"), "{short:?}");
    let ran = sandbox.simmim("inspect run --all").ok();
    for text in [
        "best.safetensors",
        "verified by its checksum",
        "recipe:      tiny",
        "encoder.mask_token",
    ] {
        assert!(ran.stdout.contains(text), "no `{text}` in {ran:?}");
    }
    assert_eq!(ran.stderr, "");
}

#[test]
fn recipes_are_listed_shown_and_their_keys_explained() {
    let sandbox = Sandbox::new();
    let list = sandbox.simmim("recipes --all").ok().stdout;
    let names = ["demo", "cifar10-swin", "swin-base", "paper/head-mlp"];
    assert!(names.iter().all(|name| list.contains(name)), "{list}");
    assert_eq!(sandbox.simmim("recipes list").ok().stdout, list);
    let short = sandbox.simmim("recipes").ok();
    let n_more = list.lines().count() - short.stdout.lines().count();
    assert!(n_more > 30 && !short.stdout.contains("paper/"), "{short:?}");
    let more = format!("and {n_more} more, `simmim recipes --all`");
    assert!(short.stderr.contains(&more), "{short:?}");
    let shown = sandbox.simmim("recipes show demo").ok().stdout;
    fs::write(sandbox.path("mine.toml"), &shown).unwrap();
    assert!(
        shown.starts_with('#') && shown.contains("[train]"),
        "{shown}"
    );
    let keys = sandbox.simmim("recipes keys").ok().stdout;
    assert!(
        keys.contains("mask.ratio = 0.6\n") && keys.contains("model.width = not set\n"),
        "{keys}"
    );
    for words in [
        "recipes --json",
        "recipes show demo --json",
        "recipes keys --json",
    ] {
        let ran = sandbox.simmim(words).ok();
        assert!(
            serde_json::from_str::<Value>(&ran.stdout).is_ok(),
            "{words}"
        );
    }
}

#[test]
fn masks_are_drawn_and_measured_against_the_papers_range() {
    let sandbox = Sandbox::with_photos(1);
    let ran = sandbox
        .simmim("mask photos/000.png --image-size 192 --out m.png")
        .ok();
    assert!(
        ran.stdout.contains("hide 61.1 %") && ran.stdout.contains("10.0 to 20.0 px"),
        "{ran:?}"
    );
    assert!(!ran.stdout.contains("WARNING"), "{ran:?}");
    let picture = image::open(sandbox.path("m.png")).unwrap();
    // Two rows of three, each under its title, and a line of what they have in common.
    assert_eq!(picture.width(), 3 * (192 + 6) + 6);
    assert!((450..500).contains(&picture.height()));
    let ran = sandbox
        .simmim("mask --image-size 192 --cell-px 16 -n 1 --ratio 0.2")
        .ok();
    assert!(ran.stdout.contains("WARNING"), "{ran:?}");
    assert!(sandbox.path("masks.png").is_file());
    let ran = sandbox
        .simmim("mask --json --kind blockwise --overwrite")
        .ok();
    let found: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert!(
        found["ratio"].is_f64() && found["avg_dist_px"].is_f64(),
        "{found}"
    );
    sandbox
        .simmim("mask --cell-px 24")
        .fails(2, &["valid cells: 16, 32, 112, 224"]);
    sandbox
        .simmim("mask --image-size 12by14")
        .fails(2, &["HEIGHTxWIDTH"]);
    sandbox
        .simmim("mask tiny.toml --overwrite")
        .fails(1, &["cannot use the image tiny.toml"]);
}

#[test]
fn files_that_are_there_are_replaced_only_when_that_is_asked_for() {
    let sandbox = Sandbox::with_labels(6);
    sandbox.pretrain("--data labelled").ok();
    let words = "--data labelled --from run --set train.epochs=1 --set train.batch_size=4";
    sandbox
        .simmim(&format!("finetune {words} --out labels"))
        .ok();
    for (file, words) in [
        (
            "a.png",
            "reconstruct --from run labelled/dark/000.png --out a.png",
        ),
        ("m.png", "mask --out m.png"),
        ("f.npy", "embed --from run --data labelled --out f.npy"),
        (
            "scores/classes.csv",
            "evaluate --from labels --data labelled --out scores",
        ),
        ("s.png", "survey labelled --out s.png"),
    ] {
        let path = sandbox.path(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "somebody's own").unwrap();
        sandbox
            .simmim(words)
            .fails(2, &[file, "is there already", "--overwrite"]);
        assert_eq!(fs::read_to_string(&path).unwrap(), "somebody's own");
        sandbox.simmim(&format!("{words} --overwrite")).ok();
        assert!(fs::read(&path).unwrap() != b"somebody's own", "{file}");
    }
}

#[test]
fn there_are_completions_for_every_shell() {
    let sandbox = Sandbox::new();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let ran = sandbox.simmim(&format!("completions {shell}")).ok();
        assert!(
            ran.stdout.contains("pretrain") && ran.stdout.contains("resume"),
            "{shell}"
        );
        // Recipes and keys are offered where they are expected, by those shells whose scripts know values.
        let knows_values = ["bash", "fish", "zsh"].contains(&shell);
        let offers = ran.stdout.contains("cifar10-vit") && ran.stdout.contains("train.epochs=");
        assert_eq!(offers, knows_values, "{shell}");
    }
    sandbox
        .simmim("completions tcsh")
        .fails(2, &["possible values"]);
}

#[test]
fn every_subcommand_has_a_page_for_man() {
    let sandbox = Sandbox::new();
    let ran = sandbox.simmim("completions man --out pages").ok();
    assert_eq!(ran.stdout, "pages\n");
    for name in ["simmim", "simmim-pretrain", "simmim-bench-step"] {
        let page = fs::read_to_string(sandbox.path(&format!("pages/{name}.1"))).unwrap();
        assert!(page.contains(&format!(".TH {name} 1")), "{page}");
        assert_eq!(page.contains("Examples:"), name != "simmim", "{page}");
    }
}

#[test]
fn the_demo_needs_nothing_and_shows_the_fall_of_the_loss() {
    let sandbox = Sandbox::new();
    let ran = sandbox.simmim("demo --out tour --steps 6").ok();
    let n_photos = fs::read_dir(sandbox.path("tour/images")).unwrap().count();
    assert!(n_photos > 200, "{n_photos}");
    assert!(
        ran.stderr.contains(&format!("{n_photos} photographs")),
        "{ran:?}"
    );
    assert!(ran.stderr.contains("before training"), "{ran:?}");
    let picture = sandbox.path(ran.stdout.trim_end());
    assert!(image::open(picture).unwrap().width() > 192);
    sandbox.simmim("inspect tour/run").ok();
    sandbox
        .simmim("demo --out tour --steps 6")
        .fails(2, &["is not empty"]);
    sandbox
        .simmim("demo --out swin --steps 2 --model swin")
        .ok();
    let shown = sandbox.simmim("inspect swin/run").ok().stdout;
    assert!(shown.contains("swin-t"), "{shown}");
}
