//! Features of images: in files, and as neighbours.

use std::fs;
use std::path::Path;

use serde_json::Value;
use simmim::Archive;

use crate::drawn;
use crate::sandbox::Sandbox;

fn pretrained(n: usize) -> Sandbox {
    let sandbox = Sandbox::with_labels(n);
    sandbox.pretrain("--data labelled --set model.depth=2").ok();
    sandbox
}

/// The rows of a file of `NumPy`'s.
fn npy(path: &Path) -> (String, Vec<f32>) {
    let bytes = fs::read(path).unwrap();
    assert_eq!(&bytes[..8], b"\x93NUMPY\x01\x00");
    let len = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    assert_eq!((10 + len) % 64, 0);
    let header = String::from_utf8(bytes[10..10 + len].to_vec()).unwrap();
    let values = bytes[10 + len..].chunks_exact(4);
    let values = values
        .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
        .collect();
    (header, values)
}

#[test]
fn the_three_formats_hold_the_same_rows_in_the_order_of_the_images() {
    let sandbox = pretrained(5);
    fs::write(sandbox.path("labelled/dark/zz.png"), b"no image").unwrap();
    for format in ["npy", "safetensors", "parquet"] {
        let words = format!("embed --from run --data labelled --out f.{format} --block 1");
        let ran = sandbox.simmim(&words).ok();
        let line: Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!(
            (line["n_images"].as_u64(), line["width"].as_u64()),
            (Some(16), Some(24))
        );
        assert!(
            line["unreadable"][0]
                .as_str()
                .unwrap()
                .ends_with("dark/zz.png"),
            "{line}"
        );
        assert!(ran.stderr.contains("a row of NaN"), "{ran:?}");
    }
    let (header, values) = npy(&sandbox.path("f.npy"));
    assert!(header.contains("'shape': (16, 24)"), "{header}");
    let names: Vec<String> =
        serde_json::from_slice(&fs::read(sandbox.path("f.names.json")).unwrap()).unwrap();
    assert_eq!(names.len(), 16);
    assert!(names[0].ends_with("bars/000.png") && names[10].ends_with("dark/zz.png"));
    let is_nan = |row: &[f32]| row.iter().all(|x| x.is_nan());
    let bad: Vec<usize> = (0..16)
        .filter(|row| is_nan(&values[row * 24..][..24]))
        .collect();
    assert_eq!(bad, [10]);
    let archive = Archive::open(sandbox.path("f.safetensors")).unwrap();
    let found = archive.array("features").unwrap();
    assert_eq!(found.shape, [16, 24]);
    let bits = |values: &[f32]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&found.values), bits(&values));
    // A row of its own for every image, whatever is computed together.
    let words = "embed --from run --data labelled --out g.npy --block 1 --batch-size 3 --threads 2";
    sandbox.simmim(words).ok();
    assert_eq!(bits(&npy(&sandbox.path("g.npy")).1), bits(&values));
    let parquet = fs::read(sandbox.path("f.parquet")).unwrap();
    assert!(parquet.starts_with(b"PAR1") && parquet.ends_with(b"PAR1"));
    let first = values[0].to_le_bytes();
    assert!(
        parquet.windows(4).any(|four| four == first),
        "values stand as they are"
    );
}

/// The features of all labelled images by each kind of choice, to the bit.
fn all_features(sandbox: &Sandbox, words: &str) -> Vec<Vec<u32>> {
    let choices = ["", "--block 1", "--block 2 --pool cls"];
    let of = |choice: &&str| {
        let words = format!("embed --data labelled --out f.npy --overwrite {choice} {words}");
        sandbox.simmim(&words).ok();
        let (_, values) = npy(&sandbox.path("f.npy"));
        assert!(values.iter().all(|value| value.is_finite()));
        values.iter().map(|value| value.to_bits()).collect()
    };
    choices.iter().map(of).collect()
}

#[test]
fn features_do_not_depend_on_the_batch_size_to_the_bit() {
    let sandbox = pretrained(7);
    let one_by_one = all_features(&sandbox, "--from run --batch-size 1");
    assert_eq!(one_by_one[0].len(), 21 * 24);
    assert_ne!(one_by_one[0][..24], one_by_one[0][24..48]);
    // A last batch of one, of five, and all in one.
    for batch_size in [4, 8, 64] {
        let words = format!("--from run --batch-size {batch_size}");
        assert_eq!(all_features(&sandbox, &words), one_by_one, "{batch_size}");
    }
}

#[test]
fn features_of_wide_tokens_do_not_depend_on_the_batch_size_to_the_bit_where_products_are_our_own() {
    #[cfg(target_arch = "x86_64")]
    let are_own =
        is_x86_feature_detected!("avx512bf16") && std::env::var_os("SIMMIM_CPU").is_none();
    #[cfg(not(target_arch = "x86_64"))]
    let are_own = false;
    let sandbox = Sandbox::with_labels(7);
    // So many rows in a batch that products of one image and of all are cut differently if anything lets them be.
    let wide = "--data labelled --set model.width=192 --set model.heads=3 --set model.depth=2 --set data.image_size=64 \
        --set train.max_steps=1";
    sandbox.pretrain(wide).ok();
    let one_by_one = all_features(&sandbox, "--from run --batch-size 1");
    assert_eq!(one_by_one[0].len(), 21 * 192);
    for batch_size in [2, 7, 64] {
        let words = format!("--from run --batch-size {batch_size}");
        let found = all_features(&sandbox, &words);
        assert_eq!(found.concat().len(), one_by_one.concat().len());
        // Elsewhere the `gemm` crate cuts products by their number of rows.
        assert!(!are_own || found == one_by_one, "{batch_size}");
    }
}

#[test]
fn features_do_not_depend_on_the_number_of_loader_workers_to_the_bit() {
    let sandbox = Sandbox::with_labels(7);
    // `embed` reads images by as many workers as its run did.
    let [one, four] = [1, 4].map(|n_workers| {
        let run = format!("run{n_workers}");
        let words = format!(
            "pretrain --config tiny.toml --out {run} --data labelled --set model.depth=2 --set data.workers={n_workers}"
        );
        sandbox.simmim(&words).ok();
        let archive = Archive::open(sandbox.path(&format!("{run}/checkpoints/best.safetensors")));
        let config = archive.unwrap().metadata()["simmim.config"].clone();
        let kept = format!("workers = {n_workers}");
        assert!(config.lines().any(|line| line == kept), "{config}");
        run
    });
    for batch_size in [1, 2, 64] {
        let of = |run| all_features(&sandbox, &format!("--from {run} --batch-size {batch_size}"));
        assert_eq!(of(&one), of(&four), "{batch_size}");
    }
}

#[test]
fn what_an_encoder_has_not_is_said_before_any_image_is_read() {
    let sandbox = pretrained(4);
    let refuse = |words: &str, says: &[&str]| {
        let words = format!("embed --from run --data labelled {words}");
        sandbox.simmim(&words).fails(2, says);
    };
    refuse("--out f.npz", &["cannot write features to f.npz", "`npy`"]);
    refuse(
        "--out f.npy --block 3",
        &["has no block 3", "the blocks 1 to 2"],
    );
    refuse("--out f.npy --block 0", &["has no block 0"]);
    assert!(!sandbox.path("f.npy").exists());
    sandbox
        .simmim("knn --from run --data labelled --k 0")
        .fails(2, &["--k has 0"]);
}

#[test]
fn neighbours_of_clear_classes_tell_them() {
    let sandbox = pretrained(12);
    let ran = sandbox
        .simmim("knn --from run --data labelled --k 1,5 --val-share 0.25")
        .ok();
    let lines: Vec<Value> = ran
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(
        (lines[0]["n_known"].as_u64(), lines[0]["n_asked"].as_u64()),
        (Some(27), Some(9))
    );
    assert!(lines[0]["top1"].as_f64().unwrap() > 0.8, "{ran:?}");
    assert!(
        lines[0]["top1_on_pixels"].as_f64().unwrap() > 0.8,
        "{ran:?}"
    );
    assert!(ran.stderr.contains("top-1 on pixels"), "{ran:?}");
    assert!(
        ran.stderr.contains("usual for masked image modelling"),
        "{ran:?}"
    );
    let other = sandbox.simmim(
        "knn --from run --data labelled --k 1,5 --val-share 0.25 --batch-size 2 --threads 2",
    );
    assert_eq!(other.stdout, ran.stdout);
}

#[test]
fn a_linear_classifier_tells_clear_classes_and_keeps_its_features() {
    let sandbox = pretrained(20);
    fs::write(sandbox.path("labelled/dark/zz.png"), b"no image").unwrap();
    let words = "probe --from run --data labelled --lambda 0.01,0.001";
    let ran = sandbox.simmim(words).ok();
    let line: Value = serde_json::from_str(&ran.stdout).unwrap();
    // Two blocks with a mean and a class token each, and the output; two penalties.
    assert_eq!(line["trials"].as_array().unwrap().len(), 10);
    assert_eq!(line["top1"], 1.0, "{line}");
    assert_eq!(
        line["n_train"].as_u64().unwrap() + line["n_held_out"].as_u64().unwrap(),
        60
    );
    // Classes of another brightness each: pixels alone tell them, and a third of the images is of each.
    let baselines = &line["baselines"];
    assert_eq!(baselines["logistic"], 1.0, "{line}");
    assert!(baselines["neighbours"].as_f64().unwrap() > 0.9, "{line}");
    assert!(
        (baselines["majority"].as_f64().unwrap() - 1.0 / 3.0).abs() < 0.01,
        "{line}"
    );
    assert_eq!(baselines["n_measured"], line["n_held_out"]);
    let says = "logistic regression on pixels gets 100.00 %, which is no less than this encoder with 100.00 %";
    assert!(
        line["warning"].as_str().unwrap().starts_with(says),
        "{line}"
    );
    for row in [
        "beside it: logistic regression on pixels 100.00 %",
        "beside it: nearest neighbours on pixels",
        "beside it: majority class 33.33 %",
        says,
    ] {
        assert!(ran.stderr.contains(row), "{row}: {ran:?}");
    }
    assert!(ran.stderr.contains("kept in") && ran.stderr.contains("left out the unreadable image"));
    let kept = sandbox.path(line["features"].as_str().unwrap());
    assert!(kept.starts_with(sandbox.path("run/features")) && kept.is_file());
    // Read back, and computed again elsewhere in other pieces: the same.
    let again = sandbox.simmim(words).ok();
    assert!(again.stderr.contains("read from"), "{again:?}");
    assert_eq!(again.stdout, ran.stdout);
    let other = sandbox
        .simmim(&format!(
            "{words} --cache elsewhere --batch-size 7 --threads 2"
        ))
        .ok();
    let strip = |text: &str| {
        let mut line: Value = serde_json::from_str(text).unwrap();
        line["features"].take();
        line
    };
    assert_eq!(strip(&other.stdout), strip(&ran.stdout));
    let sgd = sandbox
        .simmim(&format!("{words} --solver sgd --labels 0.5"))
        .ok();
    assert_eq!(strip(&sgd.stdout)["top1"], 1.0);
    // Another encoder does not read them.
    let other = "finetune --data labelled --from run --out tuned --set train.max_steps=1 --set train.batch_size=6 --set data.workers=1";
    sandbox.simmim(other).ok();
    let ran = sandbox
        .simmim("probe --from tuned --data labelled --cache run/features --lambda 0.01")
        .ok();
    assert!(ran.stderr.contains("kept in"), "{ran:?}");
}

/// The most memory of a process, in KiB.
fn peak_kib(sandbox: &Sandbox, words: &str) -> u64 {
    let program = env!("CARGO_BIN_EXE_simmim");
    let script = format!(
        "{program} {words} >/dev/null 2>&1 & pid=$!; most=0; while kill -0 $pid 2>/dev/null; do \
        now=$(sed -n 's/^VmHWM:[^0-9]*\\([0-9]*\\).*/\\1/p' /proc/$pid/status 2>/dev/null); \
        [ \"${{now:-0}}\" -gt $most ] && most=$now; sleep 0.005; done; wait $pid && echo $most"
    );
    let output = std::process::Command::new("bash")
        .args(["-c", &script])
        .current_dir(sandbox.path(""))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout)
        .unwrap()
        .trim()
        .parse()
        .unwrap()
}

#[cfg(target_os = "linux")]
#[test]
fn memory_does_not_grow_with_the_number_of_images() {
    let sandbox = pretrained(4);
    let lines: Vec<String> = (0..10_000).map(|n| format!("many/{n:05}.png\n")).collect();
    let list = lines.concat();
    let many = sandbox.path("many");
    fs::create_dir(&many).unwrap();
    let bytes = drawn::encoded(&drawn::labelled(0, 1), image::ImageFormat::Png);
    fs::write(many.join("first"), bytes).unwrap();
    for n in 0..10_000 {
        fs::hard_link(many.join("first"), many.join(format!("{n:05}.png"))).unwrap();
    }
    fs::write(sandbox.path("many.txt"), &list).unwrap();
    let few: Vec<&str> = list.lines().take(1000).collect();
    fs::write(sandbox.path("few.txt"), few.join("\n")).unwrap();
    let peak = |data: &str| {
        peak_kib(
            &sandbox,
            &format!(
                "embed --from run --data {data} --out f.npy --overwrite --threads 1 --batch-size 16"
            ),
        )
    };
    let (few, many) = (peak("few.txt"), peak("many.txt"));
    // Ten times the images: their names and places take a little, the rows (0.9 MiB) and pixels (290 MiB) nothing.
    assert!(few > 1000 && many < few + 6 * 1024, "{few} and {many} KiB");
}
