//! Images and image files, drawn in code.

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use image::codecs::jpeg::JpegEncoder;
use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use simmim_data::{DataSet, Error};

/// A smooth picture with some texture, another for each `kind`.
pub(crate) fn picture(width: u32, height: u32, kind: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let wave = ((x + kind * 7) * (y + 3) / 5) % 64;
        Rgb([
            (x * 255 / width) as u8,
            (y * 255 / height) as u8,
            (wave * 2 + kind * 31 % 128) as u8,
        ])
    })
}

pub(crate) fn jpeg(image: &RgbImage) -> Vec<u8> {
    let mut bytes = Vec::new();
    let encoder = JpegEncoder::new_with_quality(&mut bytes, 92);
    image.write_with_encoder(encoder).unwrap();
    bytes
}

pub(crate) fn encode(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.into().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// A folder that goes with the test.
pub(crate) struct Folder {
    dir: tempfile::TempDir,
}

impl Folder {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { dir }
    }

    /// A folder with `n` pictures of 48 x 40 pixels, named 000.jpg and so on.
    pub(crate) fn of_pictures(n: u32) -> Self {
        let folder = Self::new();
        for kind in 0..n {
            folder.write(&format!("{kind:03}.jpg"), &jpeg(&picture(48, 40, kind)));
        }
        folder
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// A specification below this folder.
    pub(crate) fn spec(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn open(&self, name: &str) -> Result<DataSet, Error> {
        DataSet::open(&self.spec(name))
    }
}

/// A tar archive of files.
pub(crate) fn tar_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, *bytes).unwrap();
    }
    builder.into_inner().unwrap()
}

/// The last parts of the names of a data set's images.
pub(crate) fn names(data: &DataSet, below: &Path) -> Vec<String> {
    let below = below.to_str().unwrap();
    (0..data.len())
        .map(|i| {
            data.name(i)
                .trim_start_matches(below)
                .trim_start_matches('/')
        })
        .map(str::to_owned)
        .collect()
}
