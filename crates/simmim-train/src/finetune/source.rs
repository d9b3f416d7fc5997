//! What a fine-tuning starts from.

use std::path::Path;

use simmim_checkpoint::Archive;
use simmim_config::{Layer, RawConfig};

use crate::checkpoint;
use crate::error::Error;
use crate::family::Family;
use crate::run_folder::weights_of;

/// What a checkpoint says of its encoder: the geometry, and how images are normalised. None for a file of another program,
/// whose geometry the configuration has to give.
///
/// # Errors
/// [`Error::File`], [`Error::Config`] for a damaged file.
pub fn source_layer(from: &Path) -> Result<Option<Layer>, Error> {
    let archive = Archive::open(weights_of(from))?;
    if !checkpoint::is_own(&archive) {
        return Ok(None);
    }
    checkpoint::verify(&archive)?;
    let origin = checkpoint::origin(&archive)?;
    Ok(Some(origin.config.encoder_layer(&format!(
        "the encoder of {}",
        from.display()
    ))))
}

/// Refuses a configuration that asks for another family of encoders than the checkpoint `from` has. Later, only keys that do
/// not fit would be reported. A missing file passes: whoever reads it reports that.
///
/// # Errors
/// [`Error::OtherEncoder`], and as [`source_layer`].
pub(super) fn require_same_family(from: &Path, config: &RawConfig) -> Result<(), Error> {
    let file = weights_of(from);
    if !file.is_file() {
        return Ok(());
    }
    let archive = Archive::open(file)?;
    if !checkpoint::is_own(&archive) {
        return Ok(());
    }
    let own = checkpoint::origin(&archive)?.config;
    match (Family::of_variant(&own), Family::of_variant(config)) {
        (Some(found), Some(wanted)) if found != wanted => Err(Error::OtherEncoder {
            path: archive.path().to_owned(),
            wanted: format!("{wanted} (`{}`)", config.model.variant),
            found: format!("{found} (`{}`)", own.model.variant),
            is_own: true,
        }),
        _ => Ok(()),
    }
}
