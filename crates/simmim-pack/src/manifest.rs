//! What a folder of shards says of itself: `pack.json`.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use simmim_checkpoint::write_bytes_atomic;
use simmim_data::{Described, MANIFEST};

use crate::error::Error;
use crate::settings::PackSettings;

/// The images that were packed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// As it was named.
    pub spec: String,
    /// Images, readable or not.
    pub n_images: usize,
    /// Of names, sizes, order and labels, in hexadecimal digits.
    pub fingerprint: String,
}

impl Source {
    pub(crate) fn of(images: &Described) -> Self {
        Self {
            spec: images.data().spec().to_owned(),
            n_images: images.data().len(),
            fingerprint: format!("{:016x}", images.fingerprint()),
        }
    }
}

/// An image that cannot be read, and so is in no shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unreadable {
    /// Its place in the source.
    pub entry: usize,
    /// Its name in the source.
    pub name: String,
    /// The reason in a few words, by which such images are counted.
    pub kind: String,
    /// The reason in full.
    pub reason: String,
}

/// What was done with images.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Small enough, and copied byte for byte.
    pub copied: usize,
    /// Resized.
    pub resized: usize,
    /// Of these, PNG, BMP and GIF that have become JPEG.
    pub with_loss: usize,
    /// Too large, and copied all the same, because they have values that no picture has; by reason.
    pub kept: BTreeMap<String, usize>,
    /// Files beside images that state no label that could be used.
    pub unusable_labels: usize,
    /// Unreadable, by reason.
    pub unreadable: BTreeMap<String, usize>,
}

impl Counts {
    fn add(&mut self, other: &Self) {
        self.copied += other.copied;
        self.resized += other.resized;
        self.with_loss += other.with_loss;
        self.unusable_labels += other.unusable_labels;
        for (sums, counts) in [
            (&mut self.kept, &other.kept),
            (&mut self.unreadable, &other.unreadable),
        ] {
            for (reason, n) in counts {
                *sums.entry(reason.clone()).or_default() += n;
            }
        }
    }
}

/// One shard.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// Its file's name.
    pub name: String,
    /// Images in it.
    pub n_images: usize,
    /// Bytes of the file.
    pub n_bytes: u64,
    /// The place in the source of the first image that was looked at for it.
    pub begin: usize,
    /// The place behind the last one.
    pub end: usize,
    /// What was done with these.
    pub counts: Counts,
    /// Those of them that are unreadable.
    pub unreadable: Vec<Unreadable>,
}

/// What a folder of shards holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of the program that writes it.
    pub simmim_pack: String,
    /// Whether all images have been packed.
    pub finished: bool,
    /// The images.
    pub source: Source,
    /// How they are packed.
    pub settings: PackSettings,
    /// The filter by which they are resized.
    pub filter: String,
    /// The resolution of the colours of JPEGs.
    pub jpeg_subsampling: String,
    /// The table of labels beside the shards, where there is one.
    pub table: Option<String>,
    /// What the source passed over, by reason.
    pub passed_over: BTreeMap<String, usize>,
    /// The shards, in their order.
    pub shards: Vec<Shard>,
}

impl Manifest {
    /// One of no shard.
    pub(crate) fn new(images: &Described, settings: &PackSettings) -> Self {
        let passed_over = images.data().passed_over().counts().iter();
        Self {
            simmim_pack: env!("CARGO_PKG_VERSION").to_owned(),
            finished: false,
            source: Source::of(images),
            settings: settings.clone(),
            filter: "lanczos3".to_owned(),
            jpeg_subsampling: "4:4:4".to_owned(),
            table: images.is_table().then(|| simmim_data::TABLE.to_owned()),
            passed_over: passed_over
                .map(|(reason, n)| (reason.to_string(), *n))
                .collect(),
            shards: Vec::new(),
        }
    }

    /// That of a folder; `None` where there is none.
    pub(crate) fn read(folder: &Path) -> Result<Option<Self>, Error> {
        let path = folder.join(MANIFEST);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Error::Folder { path, source }),
        };
        match serde_json::from_slice(&bytes) {
            Ok(manifest) => Ok(Some(manifest)),
            Err(source) => Err(Error::Manifest { path, source }),
        }
    }

    pub(crate) fn write(&self, folder: &Path) -> Result<(), Error> {
        let path = folder.join(MANIFEST);
        let mut bytes = serde_json::to_vec_pretty(self).map_err(|source| Error::Manifest {
            path: path.clone(),
            source,
        })?;
        bytes.push(b'\n');
        Ok(write_bytes_atomic(&path, &bytes)?)
    }

    /// Refuses to go on with a pack that was begun otherwise than is `asked` for.
    pub(crate) fn require_same(&self, asked: &Self, folder: &Path) -> Result<(), Error> {
        let facts = |of: &Self| {
            let settings = &of.settings;
            let shard_images = settings
                .shard_images
                .map_or("any number".into(), |n| n.to_string());
            [
                ("version", of.simmim_pack.clone()),
                ("images of fingerprint", of.source.fingerprint.clone()),
                ("a short side of", settings.short_side_px.to_string()),
                ("the format", settings.format.to_string()),
                ("a JPEG quality of", settings.jpeg_quality.to_string()),
                ("shards of bytes", settings.shard_bytes.to_string()),
                ("shards of images", shard_images),
                ("a limit on pixels of", settings.max_pixels.to_string()),
                ("the prefix", settings.prefix.clone()),
            ]
        };
        let mut pairs = facts(self).into_iter().zip(facts(asked));
        match pairs.find(|((_, before), (_, now))| before != now) {
            None => Ok(()),
            Some(((what, before), (_, now))) => Err(Error::OtherPack {
                path: folder.to_owned(),
                what,
                before,
                now,
            }),
        }
    }

    /// Forgets the shards that are not there as they were written, and all behind the first such.
    pub(crate) fn keep_intact(&mut self, folder: &Path) {
        let is_intact = |shard: &Shard| {
            let found = fs::metadata(folder.join(&shard.name));
            found.is_ok_and(|found| found.is_file() && found.len() == shard.n_bytes)
        };
        let n_intact = self
            .shards
            .iter()
            .take_while(|shard| is_intact(shard))
            .count();
        if n_intact < self.shards.len() {
            self.shards.truncate(n_intact);
            self.finished = false;
        }
    }

    /// The place in the source of the first image that is in no shard yet.
    pub(crate) fn next_entry(&self) -> usize {
        self.shards.last().map_or(0, |shard| shard.end)
    }

    /// What was done with all images so far.
    pub fn counts(&self) -> Counts {
        let mut sum = Counts::default();
        for shard in &self.shards {
            sum.add(&shard.counts);
        }
        sum
    }

    /// Images in the shards.
    pub fn n_images(&self) -> usize {
        self.shards.iter().map(|shard| shard.n_images).sum()
    }

    /// Bytes of the shards.
    pub fn n_bytes(&self) -> u64 {
        self.shards.iter().map(|shard| shard.n_bytes).sum()
    }

    /// The unreadable images, in the order of the source.
    pub fn unreadable(&self) -> impl Iterator<Item = &Unreadable> {
        self.shards.iter().flat_map(|shard| &shard.unreadable)
    }
}
