//! What the fuzz targets have in common: how bytes come to a reader, and what a reader must hold.
//!
//! A reader may refuse anything, with an error that has words. It may not panic, not even where the panic is caught
//! and becomes an error of one image: [`watch_panics`] ends the process for each that starts in this project's own
//! code, and leaves alone those of the decoders of others, for which that net is made.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use simmim_data::{
    DataSet, DecodeSettings, Error, Exif, Format, Image, LabelSettings, LabelledSet, Pages, Range,
    Samples, decode, printable, probe,
};
use tempfile::TempDir;

/// The most pixels of an image: few, so that a header that lies costs no time.
const MAX_PIXELS: u64 = 1 << 16;

/// A folder of this process, in memory where the system has such a place.
static FOLDER: LazyLock<TempDir> = LazyLock::new(|| {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() {
        TempDir::with_prefix_in("simmim-fuzz-", memory)
    } else {
        TempDir::with_prefix("simmim-fuzz-")
    };
    let folder = made.expect("a temporary folder can be made");
    for name in ["0.png", "1.png", "a b.png", "é.png", "x/2.png", "y/3.png"] {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("it is in the folder")).expect("it is made");
        std::fs::write(path, PIXEL).expect("the folder can be written to");
    }
    folder
});

/// A PNG of one grey pixel.
pub const PIXEL: &[u8] =
    b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\0\x01\0\0\0\x01\x08\0\0\0\0\x3a\x7e\x9b\x55\
    \0\0\0\x0aIDATx\x9cc\x60\0\0\0\x02\0\x01\x48\xaf\xa4\x71\0\0\0\0IEND\xae\x42\x60\x82";

/// Ends the process at a panic of this project's own code, also at one that would be caught.
pub fn watch_panics() {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let file = panic.location().map_or("", |location| location.file());
        // Those of the registry lie elsewhere; a panic that nobody catches ends the process at any place.
        if file.contains("crates/simmim") || !file.contains("/registry/") {
            default(panic);
        }
    }));
}

/// Reads an image in every way that a run can ask for.
pub fn image(format: Format, bytes: &[u8]) {
    let ways = [
        (Exif::Stored, Pages::First, Range::Type),
        (Exif::Upright, Pages::Channels, Range::Type),
        (
            Exif::Stored,
            Pages::First,
            Range::Values {
                low: -1.0,
                high: 300.0,
            },
        ),
    ];
    for (exif, pages, range) in ways {
        let settings = DecodeSettings {
            max_pixels: MAX_PIXELS,
            exif,
            pages,
            range,
        };
        let Ok(header) = said(probe(bytes, &settings)) else {
            // What the header alone refuses is refused by the whole.
            assert!(decode(bytes, 3, &settings).is_err());
            continue;
        };
        assert_eq!(header.format, format);
        for channels in BTreeSet::from([1, 3, header.channels]) {
            if let Ok(image) = said(decode(bytes, channels, &settings)) {
                whole(&image, channels);
            }
        }
    }
}

/// Holds that an image is as large as it says.
fn whole(image: &Image, channels: usize) {
    assert!(image.width > 0 && image.height > 0);
    assert_eq!(image.channels, channels);
    let n_samples = match &image.samples {
        Samples::U8(samples) => samples.len(),
        Samples::U16(samples) => samples.len(),
        Samples::F32(samples) => samples.len(),
    };
    assert_eq!(n_samples, image.width * image.height * channels);
}

/// Where a file of that name can be written, apart from those of other processes.
pub fn path(name: &str) -> PathBuf {
    FOLDER.path().join(name)
}

/// Writes a file of that name and opens it as images, and as images with labels.
pub fn source(name: &str, bytes: &[u8]) {
    let path = path(name);
    std::fs::write(&path, bytes).expect("the folder can be written to");
    let spec = path.to_str().expect("the path is plain text");
    if let Ok(data) = said(DataSet::open(spec)) {
        for entry_idx in 0..data.len() {
            let read = said(data.read(entry_idx));
            assert!(read.is_err() || !data.name(entry_idx).is_empty());
        }
        data.fingerprint();
    }
    if let Ok(set) = said(LabelledSet::open(spec, &LabelSettings::default())) {
        let n_classes = set.labels().classes().len();
        for entry_idx in 0..set.data().len() {
            let labels = set.labels().of(entry_idx);
            assert!(labels.iter().all(|class| (*class as usize) < n_classes));
        }
        set.fingerprint();
    }
}

fn said<T>(result: Result<T, Error>) -> Result<T, Error> {
    result.inspect_err(|error| {
        words(error);
        let _ = error.hint();
    })
}

/// Holds that an error and its causes say something, without what could steer a terminal once they are made printable.
pub fn words(error: &dyn std::error::Error) {
    let mut next = Some(error);
    while let Some(cause) = next {
        let said = printable(&cause.to_string()).into_owned();
        assert!(
            !said.is_empty() && !said.contains(char::is_control),
            "{said:?}"
        );
        next = cause.source();
    }
}
