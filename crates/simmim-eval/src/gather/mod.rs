//! What a report shows of a run, found out: from its folder, its images and its model.
//!
//! Nothing here is an error that ends the report, but for a folder that is no run: where the images are gone, or no checkpoint is written
//! yet, the part says so and the others are there.

mod comparison;
mod curves;
mod encoder;
mod folder;
mod images;
mod labels;
mod samples;
mod told;

use std::path::Path;

use simmim_report::{Kind, Part, Report};

use crate::error::Error;
use crate::features::Extractor;
use folder::Folder;
use images::Images;
use told::{because, found, program};

pub use comparison::compare;

/// Finds out what is shown of the run in a folder. `told` is told what is looked at.
///
/// # Errors
/// [`Error::Train`] for a folder that holds no run, or whose log is damaged.
pub fn report(run: &Path, told: &mut dyn FnMut(&str)) -> Result<Report, Error> {
    let folder = Folder::open(run)?;
    let kind = match folder.config.finetune {
        Some(_) => Kind::FineTuning,
        None => Kind::PreTraining,
    };
    told("the images");
    // Why something is missing is told where it would stand.
    let extractor = Extractor::open(run).map_err(|error| because(&error));
    let images = Images::of(&folder.config, extractor.as_ref().ok());
    told("what the encoder sees");
    let seen = match (&extractor, &images) {
        (Ok(extractor), Ok(images)) => encoder::look(extractor, images),
        (Err(reason), _) | (_, Err(reason)) => encoder::Looked::missing(reason),
    };
    let labels = match (kind, &images) {
        (Kind::PreTraining, _) => None,
        (Kind::FineTuning, Err(reason)) => Some(Part::Missing(reason.clone())),
        (Kind::FineTuning, Ok(_)) => {
            told("the labels of held-out images");
            Some(found(labels::page(run, &folder.config)))
        }
    };
    Ok(Report {
        name: folder.name(),
        kind,
        program: program(),
        facts: folder.facts(),
        notes: folder.notes(),
        settings: folder.settings(),
        plots: curves::plots(&folder.records),
        data: found(images.as_ref().map(Images::page).map_err(Clone::clone)),
        batch: found(
            images
                .as_ref()
                .map_err(Clone::clone)
                .and_then(Images::batch),
        ),
        shots: folder.shots()?,
        looks: seen.looks,
        neighbours: seen.neighbours,
        map: seen.map,
        labels,
    })
}
