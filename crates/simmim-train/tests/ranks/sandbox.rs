//! Images drawn in code, and trainings that take seconds.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use simmim_collective::Alone;
use simmim_config::{Layer, RawConfig};
use simmim_picture::Picture;
use simmim_train::metrics::{MetricsLog, Record};
use simmim_train::{Job, Mode};

const TINY: [&str; 10] = [
    "data.image_size=16",
    "model.variant=vit-t/4",
    "model.width=24",
    "model.depth=2",
    "model.heads=2",
    "train.batch_size=16",
    "train.epochs=6",
    "data.held_out=0.2",
    "train.threads=1",
    "data.workers=1",
];

pub(crate) struct Sandbox {
    folder: tempfile::TempDir,
}

impl Sandbox {
    /// `n` pictures of 24 x 20 px in three folders, a class each, with a colour of its own.
    pub(crate) fn new(n: usize) -> Self {
        let sandbox = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        for class in 0..3 {
            fs::create_dir_all(sandbox.root().join(format!("images/{class}"))).unwrap();
        }
        for i in 0..n {
            let pixels = (0..24 * 20).flat_map(|k| {
                let (x, y) = (k % 24, k / 24);
                let shade = (y * 12 + i * 5 % 16) as u8;
                [(i % 3 * 90) as u8, (x * 10) as u8, shade]
            });
            let picture = Picture {
                width: 24,
                height: 20,
                pixels: pixels.collect(),
            };
            picture.write(&sandbox.image(i)).unwrap();
        }
        sandbox
    }

    fn root(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn image(&self, i: usize) -> PathBuf {
        self.root().join(format!("images/{}/{i:03}.png", i % 3))
    }

    pub(crate) fn config(&self, changes: &[String]) -> RawConfig {
        let path = format!("data.path={}", self.root().join("images").display());
        let all = changes.iter().map(String::as_str).chain([path.as_str()]);
        let layers: Vec<Layer> = all.map(|text| Layer::set(text).unwrap()).collect();
        RawConfig::from_layers(&layers).unwrap()
    }

    pub(crate) fn job(&self, out: &str, config: &RawConfig) -> Job {
        Job {
            recipe: "test".into(),
            config: config.clone(),
            out: self.root().join(out),
            mode: Mode::New,
            collective: Arc::new(Alone),
            chosen: Vec::new(),
        }
    }
}

/// A pre-training with these changes.
pub(crate) fn pretraining(changes: &[&str]) -> Vec<String> {
    with(
        &[
            "mask.cell_px=4",
            "train.base_lr=0.05",
            "train.warmup_epochs=1",
        ],
        changes,
    )
}

/// A fine-tuning from scratch, with Mixup and `CutMix`, and these changes.
pub(crate) fn finetuning(changes: &[&str]) -> Vec<String> {
    let own = [
        "finetune.mixup=0.8",
        "finetune.cutmix=1.0",
        "train.base_lr=0.02",
        "train.warmup_epochs=1",
    ];
    with(&own, changes)
}

fn with(own: &[&str], changes: &[&str]) -> Vec<String> {
    let all = TINY.iter().chain(own).chain(changes);
    all.map(|&text| text.to_owned()).collect()
}

pub(crate) fn records(out: &Path) -> Vec<Record> {
    MetricsLog::read(&out.join("metrics.jsonl")).unwrap()
}
