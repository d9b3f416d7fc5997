//! Runs that an earlier version began go on and are used as if nothing had happened in between.
//!
//! `tests/old_runs` has the folders, what that version made of them, and how they came about.

use std::fs;
use std::path::{Path, PathBuf};

use image::RgbImage;
use serde_json::Value;
use simmim::Archive;

use crate::sandbox::Sandbox;

/// |a − b| / |b| of numbers, and ‖a − b‖ / ‖b‖ of tensors, that may lie between this machine and the one of the old runs. There,
/// at its own level of instructions, every number is equal to the bit. Other levels and processors add up f32 products in
/// another order, and up to 48 steps of AdamW grow that: at the levels portable, avx2 and avx512 it was 5e-5 at most (a
/// bias of Swin's keys, whose gradient is rounding alone), else 2e-7. Moments of AdamW that are lost on the way move the
/// losses by 3e-3 to 2e-2.
const TOLERANCE: f64 = 5e-4;

/// The folder where the old runs were made: they hold paths that begin with it.
const OLD: &str = "/old";

fn stored() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/old_runs")
}

/// A sandbox that stands where [`OLD`] stood: the images, and the runs as they were stopped.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    let root = sandbox.path("");
    copy(&stored().join("images"), &root.join("images"), &root);
    copy(&stored().join("stopped"), &root, &root);
    sandbox
}

/// Copies a folder; in its texts, `root` takes the place of [`OLD`].
fn copy(from: &Path, to: &Path, root: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let source = entry.unwrap().path();
        let target = to.join(source.file_name().unwrap());
        if source.is_dir() {
            copy(&source, &target, root);
        } else if source.extension().is_some_and(|ending| ending == "toml") {
            let text = fs::read_to_string(&source).unwrap();
            let here = format!("\"{}/", root.to_str().unwrap().trim_end_matches('/'));
            fs::write(target, text.replace(&format!("\"{OLD}/"), &here)).unwrap();
        } else {
            fs::copy(&source, &target).unwrap();
        }
    }
}

/// The largest relative difference so far.
#[derive(Default)]
struct Furthest(f64);

impl Furthest {
    #[track_caller]
    fn see(&mut self, what: &str, found: &[f64], expected: &[f64]) {
        assert_eq!(found.len(), expected.len(), "{what}");
        let norm =
            |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
        let difference = norm(&mut found.iter().zip(expected).map(|(a, b)| a - b));
        let scale = norm(&mut expected.iter().copied());
        let error = if difference == 0.0 {
            0.0
        } else {
            difference / scale
        };
        assert!(error <= TOLERANCE, "{what} is off by {error:.1e}");
        self.0 = self.0.max(error);
    }

    /// Two records or rows: texts are equal, numbers are near.
    #[track_caller]
    fn see_json(&mut self, what: &str, found: &Value, expected: &Value) {
        match (found, expected) {
            (Value::Object(found), Value::Object(expected)) => {
                assert!(found.keys().eq(expected.keys()), "{what}: {found:?}");
                for (key, value) in found {
                    self.see_json(&format!("{what}.{key}"), value, &expected[key]);
                }
            }
            (Value::Array(found), Value::Array(expected)) => {
                assert_eq!(found.len(), expected.len(), "{what}");
                for (found, expected) in found.iter().zip(expected) {
                    self.see_json(what, found, expected);
                }
            }
            (Value::Number(found), Value::Number(expected)) => {
                self.see(
                    what,
                    &[found.as_f64().unwrap()],
                    &[expected.as_f64().unwrap()],
                );
            }
            _ => assert_eq!(found, expected, "{what}"),
        }
    }

    /// The tensor of that name in two files.
    #[track_caller]
    fn see_tensor(&mut self, name: &str, found: &Archive, expected: &Archive) {
        let [found, expected] = [found, expected].map(|archive| archive.array(name).unwrap());
        assert_eq!(found.shape, expected.shape, "{name}");
        let [found, expected] = [found, expected]
            .map(|array| array.values.into_iter().map(f64::from).collect::<Vec<_>>());
        self.see(name, &found, &expected);
    }

    /// All tensors of two files.
    #[track_caller]
    fn see_tensors(&mut self, found: &Path, expected: &Path) {
        let [found, expected] = [found, expected].map(|path| Archive::open(path).unwrap());
        assert!(found.names().eq(expected.names()), "other tensors");
        for name in expected.names() {
            self.see_tensor(name, &found, &expected);
        }
    }
}

impl Drop for Furthest {
    /// For a reader of the output: 0 where every number is the old one to the bit.
    fn drop(&mut self) {
        eprintln!("furthest from the old numbers: {:.1e}", self.0);
    }
}

/// Lines of JSON without what a clock says.
fn records(path: &Path) -> Vec<Value> {
    let parse = |line: &str| {
        let mut record: Value = serde_json::from_str(line).unwrap();
        for timing in ["images_per_sec", "seconds", "data_wait", "time"] {
            record.as_object_mut().unwrap().remove(timing).unwrap();
        }
        record
    };
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(parse).collect()
}

/// Resumes one, and holds that its log and its best weights are those of the run that was not stopped.
#[track_caller]
fn goes_on(sandbox: &Sandbox, command: &str, name: &str) {
    let n_before = records(&sandbox.path(&format!("{name}/metrics.jsonl"))).len();
    sandbox.simmim(&format!("{command} --resume {name}")).ok();
    let found = records(&sandbox.path(&format!("{name}/metrics.jsonl")));
    let expected = records(&stored().join(format!("expected/{name}.jsonl")));
    assert!(
        n_before < 20 && found.len() == 48,
        "{n_before}, {}",
        found.len()
    );
    let mut furthest = Furthest::default();
    furthest.see_json(name, &Value::Array(found), &Value::Array(expected));
    furthest.see_tensors(
        &sandbox.path(&format!("{name}/checkpoints/best.safetensors")),
        &stored().join(format!("expected/{name}.best.safetensors")),
    );
}

/// Side of the images of these runs, in pixels.
const SIDE: u32 = 16;

/// An image within a picture that enlarges it.
struct Place {
    left: u32,
    top: u32,
    factor: u32,
}

impl Place {
    /// In a picture of ten images, one a row, with four columns.
    fn then(image: u32, column: u32) -> Self {
        let (left, top) = (4 + 196 * column, 4 + 196 * image);
        Self {
            left,
            top,
            factor: 12,
        }
    }

    /// In one of five rows of two images each, three columns an image, under a line of titles.
    fn now(image: u32, column: u32, height: u32) -> Self {
        let left = 6 + 166 * (image % 2 * 3 + column) + image % 2 * 18;
        let top = height - 166 * (5 - image / 2);
        Self {
            left,
            top,
            factor: 10,
        }
    }

    fn pixels(&self, picture: &RgbImage) -> Vec<u8> {
        let places = (0..SIDE).flat_map(|y| (0..SIDE).map(move |x| (x, y)));
        let middle = |place: u32| place * self.factor + self.factor / 2;
        let pixel = |(x, y)| {
            picture
                .get_pixel(self.left + middle(x), self.top + middle(y))
                .0
        };
        places.flat_map(pixel).collect()
    }
}

/// Holds that features and reconstructions are what they were, and that the file is listed.
#[track_caller]
fn is_used(sandbox: &Sandbox, name: &str, n_parameters: u64) {
    let words = format!("embed --from {name} --data images/photos --out {name}.safetensors");
    sandbox.simmim(&words).ok();
    let expected = stored().join(format!("expected/{name}.features.safetensors"));
    let found = sandbox.path(&format!("{name}.safetensors"));
    let [found, expected] = [found, expected].map(|path| Archive::open(path).unwrap());
    let [listed, stored_names] = [&found, &expected].map(|archive| archive.bytes("names").unwrap());
    assert_eq!(listed, stored_names);
    Furthest::default().see_tensor("features", &found, &expected);
    let words = format!("reconstruct --from {name} images/photos --seed 3 --out {name}.png");
    sandbox.simmim(&words).ok();
    let expected = stored().join(format!("expected/{name}.png"));
    let [found, expected] = [sandbox.path(&format!("{name}.png")), expected]
        .map(|path| image::open(path).unwrap().into_rgb8());
    for image in 0..10 {
        // Stored were the original, what is hidden, the prediction of everything, and that in place of what is hidden.
        for (column, stored) in [1, 3, 0].into_iter().enumerate() {
            let place = Place::now(image, column as u32, found.height());
            let (found, expected) = (
                place.pixels(&found),
                Place::then(image, stored).pixels(&expected),
            );
            // What lies near a half may be rounded to the other side.
            let mut pairs = found.iter().zip(&expected);
            assert!(
                pairs.all(|(found, expected)| found.abs_diff(*expected) <= 1),
                "{image} {column}"
            );
        }
    }
    let ran = sandbox.simmim(&format!("inspect {name} --json")).ok();
    let listed: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(listed["n_parameters"], n_parameters, "{listed}");
    assert_eq!(listed["origin"]["recipe"], "tiny", "{listed}");
}

#[test]
fn an_old_pre_training_of_a_vit_is_used_and_goes_on() {
    let sandbox = sandbox();
    is_used(&sandbox, "vit", 1432);
    goes_on(&sandbox, "pretrain", "vit");
}

#[test]
fn an_old_pre_training_of_a_swin_transformer_with_a_codebook_is_used_and_goes_on() {
    let sandbox = sandbox();
    is_used(&sandbox, "swin", 5219);
    goes_on(&sandbox, "pretrain", "swin");
}

#[test]
fn an_old_fine_tuning_with_an_average_of_the_weights_and_mixed_images_is_measured_and_goes_on() {
    let sandbox = sandbox();
    let ran = sandbox
        .simmim("evaluate --from labels --data images/labelled")
        .ok();
    let mut found: Value = serde_json::from_str(&ran.stdout).unwrap();
    let text = fs::read_to_string(stored().join("expected/labels.scores.json")).unwrap();
    let expected: Value = serde_json::from_str(&text).unwrap();
    found["weights"] = format!("stopped/{}", found["weights"].as_str().unwrap()).into();
    Furthest::default().see_json("scores", &found, &expected);
    goes_on(&sandbox, "finetune", "labels");
}

/// The rows of a table without what a clock says; numbers as such.
fn rows(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap();
    let cells = |line: &str| -> Vec<Value> {
        // Only names of runs are in quotes, and they come first.
        let line = line.replace(",seed", ";seed");
        let value = |cell: &str| cell.parse::<f64>().map_or(cell.into(), Value::from);
        line.split(',').map(value).collect()
    };
    let mut lines = text.lines();
    let names: Vec<&str> = lines.next().unwrap().split(',').collect();
    let row = |line: &str| -> Value {
        let cells = cells(line);
        assert_eq!(cells.len(), names.len(), "{line}");
        let is_timing = |name: &str| ["minutes", "images_per_sec"].contains(&name);
        let named = names.iter().zip(cells).filter(|(name, _)| !is_timing(name));
        Value::Object(
            named
                .map(|(name, cell)| ((*name).to_owned(), cell))
                .collect(),
        )
    };
    lines.map(row).collect()
}

/// Holds that the command takes the finished run as it is, ends the other, and has the table of the sweep that was not stopped.
#[track_caller]
fn sweep_goes_on(sandbox: &Sandbox, words: &str, out: &str, finished: &str) {
    let weights = sandbox.path(&format!(
        "{out}/runs/{finished}/checkpoints/last.safetensors"
    ));
    let before = fs::metadata(&weights).unwrap().modified().unwrap();
    sandbox.simmim(&format!("{words} --out {out}")).ok();
    assert_eq!(
        fs::metadata(&weights).unwrap().modified().unwrap(),
        before,
        "it is trained again"
    );
    let table = if out == "lowshot" {
        "lowshot.csv"
    } else {
        "ablation.csv"
    };
    let mut found = rows(&sandbox.path(out).join(table));
    let expected = rows(&stored().join("expected").join(table));
    // Columns that have come since are told by their own tests.
    for row in found.as_array_mut().unwrap() {
        let row = row.as_object_mut().unwrap();
        row.retain(|name, _| expected[0].as_object().unwrap().contains_key(name));
    }
    assert_eq!(expected.as_array().unwrap().len(), 2);
    Furthest::default().see_json(out, &found, &expected);
}

#[test]
fn an_old_ablation_goes_on() {
    let sandbox = sandbox();
    let words = "ablate ./grid.toml --data images/photos";
    sweep_goes_on(&sandbox, words, "ablation", "mask.kind=random,seed=0");
}

#[test]
fn an_old_comparison_on_few_labels_goes_on() {
    let sandbox = sandbox();
    // The comparison was made with the run that was not stopped: the one that goes on from here.
    copy(
        &stored().join("stopped/vit"),
        &sandbox.path("whole/vit"),
        &sandbox.path(""),
    );
    sandbox.simmim("pretrain --resume whole/vit").ok();
    let words = "lowshot --data images/labelled --from whole/vit --shares 1 --seeds 1 --set train.epochs=12 \
        --set train.batch_size=4 --set train.warmup_epochs=1 --set train.threads=1 --set data.workers=1 --set train.keep=1 \
        --set train.save_every_minutes=0.0001 --set train.base_lr=0.1 --set data.held_out=0.34";
    sweep_goes_on(&sandbox, words, "lowshot", "labels-1-pretrained-seed0");
}
