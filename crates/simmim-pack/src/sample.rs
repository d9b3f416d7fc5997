//! An image with its label, as the members of a tar archive.

use std::io;

use simmim_data::{Described, Error, Said};

use crate::label_file::LabelFile;
use crate::manifest::{Counts, Unreadable};
use crate::name::{self, Names};
use crate::settings::PackSettings;
use crate::treat::{Treatment, treat};

/// Bytes of zeros at the end of an archive.
pub(crate) const END_BYTES: usize = 1024;

/// What comes of one image of the source.
#[derive(Debug)]
pub(crate) enum Made {
    Sample(Sample),
    Unreadable(Unreadable),
}

/// The members of one image.
#[derive(Debug)]
pub(crate) struct Sample {
    /// Headers and data of the image and of its label behind it, without the end of an archive.
    tar: Vec<u8>,
    /// The part of these that is the image's.
    image_bytes: usize,
    /// What the members of one sample share of their names.
    pub(crate) name: String,
    treatment: Treatment,
    has_unusable_label: bool,
}

impl Sample {
    /// What goes into a shard, in which the label of this sample may be already.
    pub(crate) fn members(&self, has_label: bool) -> &[u8] {
        if has_label {
            &self.tar[..self.image_bytes]
        } else {
            &self.tar
        }
    }

    pub(crate) fn count(&self, counts: &mut Counts) {
        match self.treatment {
            Treatment::Copied => counts.copied += 1,
            Treatment::Resized => counts.resized += 1,
            Treatment::ResizedWithLoss => {
                counts.resized += 1;
                counts.with_loss += 1;
            }
            Treatment::Kept(reason) => *counts.kept.entry(reason.to_owned()).or_default() += 1,
        }
        counts.unusable_labels += usize::from(self.has_unusable_label);
    }
}

/// Makes the members of images.
pub(crate) struct Maker<'a> {
    pub(crate) images: &'a Described,
    pub(crate) names: &'a Names,
    pub(crate) settings: &'a PackSettings,
}

impl Maker<'_> {
    /// Those of one image, or why there are none.
    pub(crate) fn make(&self, entry_idx: usize) -> Made {
        match self.sample(entry_idx) {
            Ok(sample) => Made::Sample(sample),
            Err(error) => Made::Unreadable(Unreadable {
                entry: entry_idx,
                name: self.images.data().name(entry_idx).to_owned(),
                kind: kind(&error).to_owned(),
                reason: error.chain(),
            }),
        }
    }

    fn sample(&self, entry_idx: usize) -> Result<Sample, Error> {
        let treated = treat(self.images.data().read(entry_idx)?, self.settings)?;
        let name = self.names.name(self.images, entry_idx);
        let said = self.images.of(entry_idx);
        let mut members = Members::default();
        members.add(&name, &treated.bytes)?;
        let image_bytes = members.n_bytes();
        let sample = name::sample(&name).to_owned();
        if let Some(label) = LabelFile::of(&said) {
            members.add(&format!("{sample}.{}", label.ending), label.text.as_bytes())?;
        }
        Ok(Sample {
            tar: members.finish()?,
            image_bytes,
            name: sample,
            treatment: treated.treatment,
            has_unusable_label: matches!(said, Said::Unusable(_)),
        })
    }
}

/// The members of an archive, in memory: so small that they are written nowhere else before their turn.
struct Members {
    tar: tar::Builder<Vec<u8>>,
}

impl Default for Members {
    fn default() -> Self {
        Self {
            tar: tar::Builder::new(Vec::new()),
        }
    }
}

impl Members {
    /// Adds a file of no time and no owner, so that the same images give the same bytes.
    fn add(&mut self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(0);
        let added = self.tar.append_data(&mut header, name, bytes);
        added.map_err(|source| unwritable(name, source))
    }

    fn n_bytes(&self) -> usize {
        self.tar.get_ref().len()
    }

    fn finish(self) -> Result<Vec<u8>, Error> {
        let mut bytes = self
            .tar
            .into_inner()
            .map_err(|e| unwritable("a member", e))?;
        bytes.truncate(bytes.len().saturating_sub(END_BYTES));
        Ok(bytes)
    }
}

/// A name that no archive can hold, of which none is known.
fn unwritable(name: &str, source: io::Error) -> Error {
    Error::Unreadable {
        path: name.into(),
        source,
    }
}

/// The reason why an image cannot be read, in words that many images share.
fn kind(error: &Error) -> &'static str {
    match error {
        Error::NotFound { .. } | Error::NotAFileOrFolder { .. } => "no such file",
        Error::Unreadable { .. } => "file cannot be read",
        Error::FileTooLarge { .. } => "file too large",
        Error::UnknownFormat { .. } => "not a format that is read",
        Error::CutShort { .. } => "cut short",
        Error::Decode { .. } => "damaged data",
        Error::Unsupported { .. } | Error::JpegKind { .. } | Error::UnequalPages { .. } => {
            "kind of its format that is not read"
        }
        Error::TooManyPixels { .. } | Error::TooManyBands { .. } | Error::Memory { .. } => {
            "too many pixels"
        }
        Error::NoPixels { .. } => "no pixels",
        Error::NoData => "no data",
        _ => "other",
    }
}
