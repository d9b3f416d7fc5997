//! Damaged images of every format, by the way that training has them.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::available_parallelism;

use flate2::Crc;
use flate2::read::GzDecoder;
use simmim::data::{
    BatchPlan, BatchSettings, CropSettings, DataSet, DecodeSettings, Exif, HeldOut, Loader,
    Normalisation, Pages, Pass, Range, Reporter, Split, Transform, Views,
};

use crate::damage::{damaged, draws};
use crate::peak_bytes_of;

/// Damaged files of each format.
const N_IMAGES: u64 = 10_000;

/// More than any of the whole files has.
const MAX_PIXELS: u64 = 1 << 16;

/// What one image may take while it is read: its samples in the widest type (eight bytes a pixel, twice, as decoders have
/// buffers of their own), and a decoder's tables, of which a lossless WebP can ask for many.
const MAX_BYTES_OF_AN_IMAGE: u64 = 16 * MAX_PIXELS + (24 << 20);

/// Small files, each with another way through a decoder.
struct Format {
    name: &'static str,
    ending: &'static str,
    files: Vec<Vec<u8>>,
}

pub(crate) fn all_formats() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let of_data = crates.join("simmim-data/tests");
    let folders = [of_data.join("data/tiff"), crates.join("../fuzz/seeds")];
    soak(&Format {
        name: "JPEG",
        ending: "jpg",
        files: jpegs(&of_data.join("golden/jpeg")),
    });
    for (name, ending) in [
        ("PNG", "png"),
        ("GIF", "gif"),
        ("BMP", "bmp"),
        ("TIFF", "tif"),
        ("WebP", "webp"),
    ] {
        let files = with_ending(&folders, ending);
        assert!(files.len() > 4, "{name}");
        soak(&Format {
            name,
            ending,
            files,
        });
    }
}

fn with_ending(folders: &[PathBuf], ending: &str) -> Vec<Vec<u8>> {
    let entries = folders
        .iter()
        .flat_map(|folder| fs::read_dir(folder).unwrap());
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|found| found == ending));
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// Those that decoding is held against: every sampling, baseline, progressive, arithmetic, of one scan and of several.
fn jpegs(folder: &Path) -> Vec<Vec<u8>> {
    let archive = File::open(folder.join("files.tar.gz")).unwrap();
    let mut archive = tar::Archive::new(GzDecoder::new(archive));
    let files = archive.entries().unwrap().map(|entry| {
        let mut bytes = Vec::new();
        entry.unwrap().read_to_end(&mut bytes).unwrap();
        bytes
    });
    let files: Vec<_> = files
        .filter(|bytes| bytes.starts_with(&[0xff, 0xd8]))
        .collect();
    assert!(files.len() > 100);
    files
}

/// Reads damaged images as a run does, and holds what comes of them.
fn soak(format: &Format) {
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("damaged.tar");
    write(&archive, format);
    let data = Arc::new(DataSet::open(archive.to_str().unwrap()).unwrap());
    assert_eq!(data.len() as u64, N_IMAGES, "{}", format.name);

    let n_workers = available_parallelism().map_or(1, usize::from);
    let reporter = Arc::new(Reporter::new(data.len()));
    let ((), peak_bytes) = peak_bytes_of(|| read_all(&data, &reporter, n_workers));

    let bad = reporter.list();
    for image in &bad {
        let said = image.to_string();
        assert!(said.starts_with(archive.to_str().unwrap()), "{said}");
        assert!(said.len() > image.name.len() + 10, "no reason: {said}");
        assert!(!said.contains(char::is_control), "{said:?}");
        let is_ours = image.reason.contains("panicked") && format.name == "TIFF";
        assert!(!is_ours, "{said}");
    }
    let n_bad = bad.len();
    eprintln!(
        "{}: {n_bad} of {N_IMAGES} refused, {peak_bytes} bytes at the peak",
        format.name
    );
    assert!(n_bad > 1000, "the damage is none");
    let most = n_workers as u64 * MAX_BYTES_OF_AN_IMAGE;
    assert!(
        peak_bytes < most,
        "{}: {peak_bytes} bytes, {most} at the most",
        format.name
    );
}

/// An archive of damaged files.
fn write(path: &Path, format: &Format) {
    let mut archive = tar::Builder::new(File::create(path).unwrap());
    for idx in 0..N_IMAGES {
        let whole = &format.files[idx as usize % format.files.len()];
        let mut draws = draws(whole.len() as u64, idx);
        let mut bytes = damaged(whole, &mut draws);
        // Else few would come further than to a wrong checksum.
        if format.name == "PNG" && draws.below(4) > 0 {
            mend_checksums(&mut bytes);
        }
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        let name = format!("{idx:05}.{}", format.ending);
        archive.append_data(&mut header, name, &bytes[..]).unwrap();
    }
    archive.into_inner().unwrap();
}

/// Gives each chunk of a PNG the checksum of what it holds.
fn mend_checksums(png: &mut [u8]) {
    let mut at = 8;
    while let Some(length) = png.get(at..at + 4) {
        let length = u32::from_be_bytes(length.try_into().unwrap()) as usize;
        let end = at.saturating_add(8).saturating_add(length);
        let Some([kind_and_data, checksum]) = png.get_mut(at + 4..).and_then(|rest| {
            let (data, rest) = rest.split_at_mut_checked(end - at - 4)?;
            Some([data, rest.get_mut(..4)?])
        }) else {
            return;
        };
        let mut crc = Crc::new();
        crc.update(kind_and_data);
        checksum.copy_from_slice(&crc.sum().to_be_bytes());
        at = end + 4;
    }
}

fn read_all(data: &Arc<DataSet>, reporter: &Arc<Reporter>, n_workers: usize) {
    let views = Views {
        transform: Transform::new(CropSettings::default(), [16, 16], Normalisation::imagenet())
            .unwrap(),
        masks: None,
        decoding: DecodeSettings {
            max_pixels: MAX_PIXELS,
            exif: Exif::Upright,
            pages: Pages::First,
            range: Range::Type,
        },
    };
    let settings = BatchSettings {
        seed: 0,
        batch_size: 8,
        n_micro: 1,
        rank: 0,
        world: 1,
    };
    let split = Split::new(data.len(), HeldOut::default(), 0);
    let plan = BatchPlan::new(
        Arc::clone(data),
        views,
        split,
        settings,
        Arc::clone(reporter),
    );
    let loader = Loader::start(Arc::new(plan.unwrap()), Pass::All, n_workers).unwrap();
    let mut n_read = 0;
    for batch in loader {
        let batch = batch.unwrap();
        assert!(batch.images.iter().all(|value| !value.is_infinite()));
        n_read += batch.entry_idx.len();
    }
    assert_eq!(n_read + reporter.count(), data.len());
}
