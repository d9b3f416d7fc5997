//! One shard: as many samples as fit.

use std::io::{self, Write};
use std::iter::Peekable;
use std::path::Path;

use simmim_checkpoint::write_atomic;

use crate::error::Error;
use crate::manifest::Shard;
use crate::sample::{END_BYTES, Made};
use crate::settings::PackSettings;

/// The name of a shard.
pub(crate) fn name(settings: &PackSettings, shard_idx: usize) -> String {
    format!("{}-{shard_idx:06}.tar", settings.prefix)
}

/// What is told of a shard while it is written.
pub(crate) struct Seen {
    /// Images that were looked at for it.
    pub(crate) n_looked_at: usize,
    pub(crate) n_bytes: u64,
}

/// Writes a shard of what comes next, and gives it its name when it is whole. `see` is asked after each image whether to go on;
/// nothing is left of a shard that it stops, and nothing comes back.
pub(crate) fn write<I: Iterator<Item = Made>>(
    folder: &Path,
    mut shard: Shard,
    made: &mut Peekable<I>,
    settings: &PackSettings,
    see: &mut dyn FnMut(&Seen) -> bool,
) -> Result<Option<Shard>, Error> {
    let path = folder.join(&shard.name);
    let mut is_stopped = false;
    let mut last = String::new();
    let written = write_atomic(&path, |to| {
        while let Some(next) = made.next_if(|next| fits(&shard, next, &last, settings)) {
            shard.end += 1;
            add(&mut shard, next, &mut last, to)?;
            let seen = Seen {
                n_looked_at: shard.end - shard.begin,
                n_bytes: shard.n_bytes,
            };
            if !see(&seen) {
                is_stopped = true;
                // Any error keeps the file from getting its name.
                return Err(io::ErrorKind::Interrupted.into());
            }
        }
        shard.n_bytes += END_BYTES as u64;
        to.write_all(&[0; END_BYTES])
    });
    match written {
        Err(_) if is_stopped => Ok(None),
        written => {
            written?;
            Ok(Some(shard))
        }
    }
}

/// Whether an image has room in a shard. One always has, so have those that belong to the `last` sample, and what is unreadable needs
/// none.
fn fits(shard: &Shard, made: &Made, last: &str, settings: &PackSettings) -> bool {
    let Made::Sample(sample) = made else {
        return true;
    };
    let n_bytes = shard.n_bytes + (sample.members(false).len() + END_BYTES) as u64;
    let max_images = settings.shard_images.unwrap_or(usize::MAX);
    let has_room = n_bytes <= settings.shard_bytes && shard.n_images < max_images;
    shard.n_images == 0 || has_room || sample.name == last
}

fn add(
    shard: &mut Shard,
    made: Made,
    last: &mut String,
    to: &mut (dyn Write + Send),
) -> io::Result<()> {
    match made {
        Made::Sample(sample) => {
            // A label stands once beside the images that share it.
            let members = sample.members(sample.name == *last);
            to.write_all(members)?;
            shard.n_bytes += members.len() as u64;
            shard.n_images += 1;
            sample.count(&mut shard.counts);
            *last = sample.name;
        }
        Made::Unreadable(image) => {
            *shard
                .counts
                .unreadable
                .entry(image.kind.clone())
                .or_default() += 1;
            shard.unreadable.push(image);
        }
    }
    Ok(())
}
