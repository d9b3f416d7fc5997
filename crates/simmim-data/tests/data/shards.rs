//! Archives that are dealt out: the same batches on any number of processes, each of which opens some archives alone.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use simmim_data::{
    BatchPlan, BatchSettings, CropSettings, DataSet, DecodeSettings, Error, Normalisation,
    Reporter, Shuffle, Split, Transform, Views,
};

use crate::drawn::{Folder, jpeg, picture, tar_of};

const N_SHARDS: usize = 16;
/// Of all processes together.
const BATCH: usize = 8;

fn shards() -> Folder {
    let folder = Folder::new();
    let image = jpeg(&picture(20, 20, 1));
    for shard in 0..N_SHARDS {
        // As many as a batch has places for each two archives, but for one of them.
        let n = if shard == 3 { 4 } else { 6 };
        let names: Vec<String> = (0..n).map(|image| format!("{image}.jpg")).collect();
        let files: Vec<(&str, &[u8])> = names.iter().map(|name| (&**name, &image[..])).collect();
        folder.write(&format!("{shard:02}.tar"), &tar_of(&files));
    }
    folder
}

fn plan(data: DataSet, rank: usize, world: usize) -> Result<BatchPlan, Error> {
    let views = Views {
        transform: Transform::new(CropSettings::default(), [16, 16], Normalisation::imagenet())
            .unwrap(),
        masks: None,
        decoding: DecodeSettings::default(),
    };
    let settings = BatchSettings {
        seed: 5,
        batch_size: BATCH,
        n_micro: 1,
        rank,
        world,
    };
    let split = Split::all(data.len());
    let plan = BatchPlan::new(
        Arc::new(data),
        views,
        split,
        settings,
        Arc::new(Reporter::new(0)),
    );
    plan?.with_shuffle(Shuffle::Shards)
}

fn open(folder: &Folder) -> DataSet {
    let data = folder.open("*.tar").unwrap();
    data.with_closed_archives().unwrap()
}

/// The images of each step of an epoch.
fn epoch(plan: &BatchPlan, epoch: u64) -> Vec<Vec<usize>> {
    let n_steps = plan.steps_per_epoch().unwrap();
    let steps = epoch * n_steps..(epoch + 1) * n_steps;
    let images = |step| plan.batch(step, 0).unwrap().entry_idx.clone();
    steps.map(images).collect()
}

/// The archives in a folder that this process has open.
#[cfg(target_os = "linux")]
fn open_in(folder: &Path) -> BTreeSet<PathBuf> {
    let folder = folder.canonicalize().unwrap();
    let open = fs::read_dir("/proc/self/fd").unwrap().flatten();
    let paths = open.filter_map(|entry| fs::read_link(entry.path()).ok());
    paths.filter(|path| path.starts_with(&folder)).collect()
}

#[test]
fn every_number_of_processes_makes_the_same_steps() {
    let folder = shards();
    let one = plan(open(&folder), 0, 1).unwrap();
    for world in [2, 4] {
        for number in 0..3 {
            let ranks = (0..world).map(|rank| plan(open(&folder), rank, world).unwrap());
            let of_ranks: Vec<_> = ranks.map(|plan| epoch(&plan, number)).collect();
            for (step, expected) in epoch(&one, number).into_iter().enumerate() {
                let all: Vec<usize> = of_ranks.iter().flat_map(|of| of[step].clone()).collect();
                assert_eq!(all, expected);
            }
        }
    }
    assert_ne!(epoch(&one, 0), epoch(&one, 1));
}

#[test]
fn a_batch_has_images_of_many_archives() {
    let folder = shards();
    let one = plan(open(&folder), 0, 1).unwrap();
    let archive = |entry: &usize| {
        one.data()
            .name(*entry)
            .split_once(':')
            .unwrap()
            .0
            .to_owned()
    };
    let mut seen = BTreeSet::new();
    for step in epoch(&one, 0) {
        let archives: BTreeSet<String> = step.iter().map(archive).collect();
        // Of eight places two may lie at the two ends of one archive.
        assert!(archives.len() >= BATCH - 2, "{archives:?}");
        seen.extend(step);
    }
    // No image twice, and none left out but those that fill no step.
    assert_eq!(seen.len(), one.data().len() / BATCH * BATCH);
}

#[cfg(target_os = "linux")]
#[test]
fn a_process_opens_the_archives_that_it_reads_from_alone() {
    let folder = shards();
    let data = open(&folder);
    assert!(open_in(&folder.path("")).is_empty());
    let plan = plan(data, 1, 4).unwrap();
    let images = epoch(&plan, 0).concat();
    let wanted: BTreeSet<&str> = images
        .iter()
        .map(|image| plan.data().name(*image).split_once(':').unwrap().0)
        .collect();
    let found = open_in(&folder.path(""));
    assert_eq!(found.len(), wanted.len());
    // A quarter of them, and one that is shared at either end.
    assert!(wanted.len() <= N_SHARDS / 4 + 2, "{wanted:?}");
}

#[test]
fn an_archive_that_was_replaced_is_not_read() {
    let folder = shards();
    let data = open(&folder);
    fs::remove_file(folder.path("00.tar")).unwrap();
    fs::copy(folder.path("01.tar"), folder.path("00.tar")).unwrap();
    let refused = data.read(0).unwrap_err();
    assert!(matches!(refused, Error::ArchiveChanged { .. }), "{refused}");
    data.read(data.len() - 1).unwrap();
}

#[test]
fn images_in_no_archive_are_refused() {
    let folder = shards();
    folder.write("a.jpg", &jpeg(&picture(20, 20, 1)));
    let refused = plan(folder.open("").unwrap(), 0, 1).unwrap_err();
    assert!(refused.to_string().contains("a.jpg"), "{refused}");
    assert!(refused.hint().unwrap().contains("simmim pack"));
}
