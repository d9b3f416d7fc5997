//! A folder for one test, images in it, and packing of them.

use std::fs;
use std::io::Cursor;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use simmim_data::{Described, Only, Opening};
use simmim_pack::{Error, PackJob, PackSettings, Packed, pack};

/// A picture that is another one for each `kind`.
pub(crate) fn picture(width: u32, height: u32, kind: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let wave = ((x + kind * 7) * (y + 3) / 5) % 64;
        let ramp = |at: u32, all: u32| (at * 255 / all) as u8;
        Rgb([
            ramp(x, width),
            ramp(y, height),
            (wave * 2 + kind * 31 % 128) as u8,
        ])
    })
}

pub(crate) fn encode(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.into().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

pub(crate) struct Scene {
    folder: tempfile::TempDir,
    pub(crate) settings: PackSettings,
    pub(crate) threads: usize,
}

impl Scene {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            settings: PackSettings {
                short_side_px: 32,
                ..PackSettings::default()
            },
            threads: 2,
        }
    }

    /// One with a folder `photos` of `n` pictures, every third of them small.
    pub(crate) fn with_photos(n: u32) -> Self {
        let scene = Self::new();
        for kind in 0..n {
            let [width, height] = if kind % 3 == 0 { [40, 30] } else { [90, 60] };
            let jpeg = encode(picture(width, height, kind), ImageFormat::Jpeg);
            scene.write(&format!("photos/{kind:03}.jpg"), &jpeg);
        }
        scene
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A path as a specification.
    pub(crate) fn spec(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    pub(crate) fn job(&self, out: &str) -> PackJob {
        PackJob {
            out: self.path(out),
            settings: self.settings.clone(),
            threads: self.threads,
            overwrite: false,
        }
    }

    pub(crate) fn images(&self, data: &str) -> Described {
        let opening = Opening {
            only: Only::default(),
            watch: None,
        };
        Described::open(&self.spec(data), opening).unwrap()
    }

    /// Packs up to `n` images, and then stops.
    pub(crate) fn pack_some(&self, data: &str, job: &PackJob, n: usize) -> Result<Packed, Error> {
        let mut n_seen = 0;
        pack(&self.images(data), job, &mut |_| {
            n_seen += 1;
            if n_seen < n {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        })
    }

    pub(crate) fn pack(&self, data: &str, out: &str) -> Packed {
        let packed = self.pack_some(data, &self.job(out), usize::MAX).unwrap();
        assert!(packed.manifest.finished);
        packed
    }

    /// The files of a folder of shards, the lock left out.
    pub(crate) fn files(&self, out: &str) -> Vec<(String, Vec<u8>)> {
        let entries = fs::read_dir(self.path(out)).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| name != "pack.lock").collect();
        names.sort();
        let read = |name: String| {
            let bytes = fs::read(self.path(out).join(&name)).unwrap();
            (name, bytes)
        };
        names.into_iter().map(read).collect()
    }
}

/// The members of an archive.
pub(crate) fn members(path: &Path) -> Vec<(String, Vec<u8>)> {
    let mut archive = tar::Archive::new(fs::File::open(path).unwrap());
    let entries = archive.entries().unwrap();
    let member = |entry: std::io::Result<tar::Entry<'_, fs::File>>| {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().to_str().unwrap().to_owned();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
        (name, bytes)
    };
    entries.map(member).collect()
}
