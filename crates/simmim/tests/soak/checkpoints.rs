//! Damaged checkpoints, opened as `reconstruct` and `--resume` open them.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;
use simmim::checkpoint::{CHECKSUM_KEY, Entry, write_archive};
use simmim::{Alone, Archive, Job, Layer, Mode, RawConfig, StopFlag, Trained, pretrain};
use tempfile::TempDir;

use crate::damage::{damaged, draws};
use crate::peak_bytes_of;

/// Damaged checkpoints of each kind.
const N_CHECKPOINTS: u64 = 10_000;

/// What opening one may take: the file is 100 KB, and a model takes no more than its file.
const MAX_BYTES_OF_A_CHECKPOINT: u64 = 4 << 20;

/// The checkpoint of a run of two steps.
fn whole() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let photos = folder.path().join("photos");
    fs::create_dir(&photos).unwrap();
    for name in 0..4_u8 {
        let drawn = image::RgbImage::from_fn(40, 40, |x, y| image::Rgb([x as u8, y as u8, name]));
        drawn.save(photos.join(format!("{name}.png"))).unwrap();
    }
    let path = format!("data.path={}", photos.display());
    let keys = [
        &path,
        "data.image_size=32",
        "data.held_out=0",
        "model.variant=vit-t/16",
        "model.patch_px=8",
        "model.width=24",
        "model.depth=1",
        "model.heads=2",
        "mask.cell_px=16",
        "train.batch_size=2",
        "train.epochs=1",
        "train.warmup_epochs=0",
        "train.threads=1",
    ];
    let layers: Vec<Layer> = keys.iter().map(|key| Layer::set(key).unwrap()).collect();
    let job = Job {
        recipe: "soak".to_owned(),
        config: RawConfig::from_layers(&layers).unwrap(),
        out: folder.path().join("run"),
        mode: Mode::New,
        collective: Arc::new(Alone),
        chosen: Vec::new(),
    };
    pretrain(&job, &mut (), &StopFlag::new()).unwrap();
    let last = folder.path().join("run/checkpoints/last.safetensors");
    (folder, last)
}

/// Opens a file, and gives what an error says, with its causes.
fn refusal(path: &Path) -> Option<String> {
    let error = Trained::open(path).err()?;
    let mut said = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        said = format!("{said}: {cause}");
        next = cause.source();
    }
    Some(said)
}

/// Opens that many files that `write` makes, on all cores; says how many were taken. `hold` looks at the name and at what
/// was said of each other one.
fn soak(kind: &str, write: impl Fn(u64, &Path) + Sync, hold: impl Fn(&str, &str) + Sync) -> usize {
    let folder = tempfile::tempdir().unwrap();
    let (n_taken, peak_bytes) = peak_bytes_of(|| {
        let all = (0..N_CHECKPOINTS).into_par_iter().map(|idx| {
            let name = format!("damaged {idx}.safetensors");
            let path = folder.path().join(&name);
            write(idx, &path);
            let refusal = refusal(&path);
            fs::remove_file(&path).unwrap();
            if let Some(said) = &refusal {
                hold(&name, said);
            }
            usize::from(refusal.is_none())
        });
        all.sum::<usize>()
    });
    eprintln!("{kind}: {n_taken} of {N_CHECKPOINTS} taken, {peak_bytes} bytes at the peak");
    let most = rayon::current_num_threads() as u64 * MAX_BYTES_OF_A_CHECKPOINT;
    assert!(
        peak_bytes < most,
        "{kind}: {peak_bytes} bytes, {most} at the most"
    );
    n_taken
}

/// Anything may have happened to the bytes of a file; what is taken for whole is whole.
pub(crate) fn headers_and_contents() {
    let (_folder, last) = whole();
    let bytes = fs::read(last).unwrap();
    let write = |idx, path: &Path| fs::write(path, changed(&bytes, idx)).unwrap();
    let n_taken = soak("checkpoints, bytes", write, |name, said| {
        assert!(said.contains(name), "{name} is not named: {said}");
    });
    assert_eq!(n_taken, 0, "a checksum misses nothing");
}

/// Damage that is none would be taken, and rightly.
fn changed(whole: &[u8], idx: u64) -> Vec<u8> {
    let mut draws = draws(1, idx);
    loop {
        let bytes = damaged(whole, &mut draws);
        if bytes != whole {
            return bytes;
        }
    }
}

/// Files that somebody made on purpose: whole, and what they say of their run is wrong.
pub(crate) fn metadata_with_a_right_checksum() {
    let (_folder, last) = whole();
    let archive = Archive::open(last).unwrap();
    let tensors: Vec<_> = archive
        .tensors()
        .map(|(name, info)| (name, info, archive.bytes(name).unwrap()))
        .collect();
    let write = |idx, path: &Path| {
        let mut draws = draws(2, idx);
        let entries: Vec<Entry<'_>> = tensors
            .iter()
            .filter(|_| draws.below(100) > 0)
            .map(|(name, info, bytes)| Entry::bytes(*name, &info.shape, info.dtype, bytes))
            .collect();
        let mut metadata = archive.metadata().clone();
        metadata.remove(CHECKSUM_KEY);
        damage_one(&mut metadata, &mut draws);
        write_archive(path, &entries, &metadata).unwrap();
    };
    let n_taken = soak("checkpoints, metadata", write, |name, said| {
        assert!(said.contains(name), "{name} is not named: {said}");
    });
    // Such as another number of epochs, or another letter in the name of the recipe.
    assert!(n_taken > 100, "hardly any came as far as the weights");
}

fn damage_one(metadata: &mut BTreeMap<String, String>, draws: &mut simmim::random::Draws) {
    let keys: Vec<String> = metadata.keys().cloned().collect();
    let key = &keys[draws.below(keys.len())];
    let text = damaged(metadata[key].as_bytes(), draws);
    let text = String::from_utf8_lossy(&text).into_owned();
    metadata.insert(key.clone(), text);
}
