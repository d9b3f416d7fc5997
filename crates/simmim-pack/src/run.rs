//! The pass over the images.

use std::ops::ControlFlow;
use std::path::PathBuf;

use simmim_data::Described;

use crate::error::Error;
use crate::folder::Folder;
use crate::manifest::{Manifest, Shard};
use crate::name::Names;
use crate::ordered::in_order;
use crate::sample::{Made, Maker};
use crate::settings::PackSettings;
use crate::{shard, table};

/// Images that are packed to see how much room all will take.
const N_SAMPLED: usize = 32;

/// What is to be done.
#[derive(Debug, Clone)]
pub struct PackJob {
    /// The folder to write.
    pub out: PathBuf,
    /// How images are packed.
    pub settings: PackSettings,
    /// Threads that read, decode, resize and encode; the result is the same for any number.
    pub threads: usize,
    /// Whether a pack that is there is removed.
    pub overwrite: bool,
}

/// How far a pass is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Images that were looked at, those of earlier calls included.
    pub n_done: usize,
    /// Of these, what was there already.
    pub n_before: usize,
    /// All images.
    pub n_images: usize,
    /// Bytes of the shards so far.
    pub n_bytes: u64,
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Packed {
    /// What the folder holds.
    pub manifest: Manifest,
    /// Images that an earlier call had packed.
    pub n_before: usize,
}

/// Writes images as shards, or goes on with that. `see` is told after each image how far it is, and says whether to go on;
/// where not, the manifest that comes back is not finished, and the same call goes on with it later.
///
/// # Errors
/// [`Error::Setting`], [`Error::NotEmpty`], [`Error::OtherPack`], [`Error::Locked`], [`Error::FreeSpace`],
/// [`Error::NoneReadable`], and those of files that cannot be written.
pub fn pack(
    images: &Described,
    job: &PackJob,
    see: &mut dyn FnMut(&Progress) -> ControlFlow<()>,
) -> Result<Packed, Error> {
    job.settings.check()?;
    let folder = Folder::open(&job.out)?;
    let manifest = folder.begin(Manifest::new(images, &job.settings), job.overwrite)?;
    let n_before = manifest.next_entry();
    let mut packed = Packed { manifest, n_before };
    if packed.manifest.finished {
        return Ok(packed);
    }
    let names = Names::of(images);
    let maker = Maker {
        images,
        names: &names,
        settings: &job.settings,
    };
    folder.require_room(expected_bytes(&maker, n_before, job.threads))?;
    let is_whole = write_shards(&folder, &mut packed, &maker, job.threads, see)?;
    if is_whole {
        finish(&folder, &mut packed.manifest, &maker)?;
    }
    Ok(packed)
}

/// About how many bytes the images from `first` on will take, from some that are spread over them.
fn expected_bytes(maker: &Maker<'_>, first: usize, threads: usize) -> u64 {
    let n_left = maker.images.data().len() - first;
    let n_sampled = n_left.min(N_SAMPLED);
    let make = |place: usize| match maker.make(first + place * n_left / n_sampled) {
        Made::Sample(sample) => sample.members(false).len() as u64,
        Made::Unreadable(_) => 0,
    };
    let sum: u64 = in_order(0..n_sampled, threads, make, |sizes| sizes.sum());
    sum * n_left as u64 / n_sampled.max(1) as u64
}

/// Writes one shard after the other; answers whether that came to its end.
fn write_shards(
    folder: &Folder,
    packed: &mut Packed,
    maker: &Maker<'_>,
    threads: usize,
    see: &mut dyn FnMut(&Progress) -> ControlFlow<()>,
) -> Result<bool, Error> {
    let n_images = maker.images.data().len();
    let manifest = &mut packed.manifest;
    let make = |entry_idx| maker.make(entry_idx);
    in_order(packed.n_before..n_images, threads, make, |made| {
        let mut made = made.peekable();
        while made.peek().is_some() {
            let (begin, n_bytes) = (manifest.next_entry(), manifest.n_bytes());
            let shard = Shard {
                name: shard::name(maker.settings, manifest.shards.len()),
                begin,
                end: begin,
                ..Shard::default()
            };
            let mut seen = |shard: &shard::Seen| {
                let progress = Progress {
                    n_done: begin + shard.n_looked_at,
                    n_before: packed.n_before,
                    n_images,
                    n_bytes: n_bytes + shard.n_bytes,
                };
                see(&progress).is_continue()
            };
            let written = shard::write(folder.path(), shard, &mut made, maker.settings, &mut seen)?;
            let Some(shard) = written else {
                return Ok(false);
            };
            manifest.shards.push(shard);
            manifest.write(folder.path())?;
        }
        Ok(true)
    })
}

/// Writes what lies beside the shards, and at last that they are whole.
fn finish(folder: &Folder, manifest: &mut Manifest, maker: &Maker<'_>) -> Result<(), Error> {
    if manifest.n_images() == 0 {
        let first = manifest.unreadable().next();
        return Err(Error::NoneReadable {
            n_images: maker.images.data().len(),
            example: first.map_or_else(String::new, |image| {
                format!("{} ({})", image.name, image.reason)
            }),
        });
    }
    table::write_unreadable(folder.path(), manifest)?;
    table::write_labels(folder.path(), manifest, maker)?;
    manifest.finished = true;
    manifest.write(folder.path())
}
