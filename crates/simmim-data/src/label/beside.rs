//! Labels from the files beside images in archives.

use super::{Collected, Found, Remark};
use crate::Error;
use crate::source::{Beside, DataSet, Stated};

/// Whether labels are those of the files beside the images: each image has a `.cls`, or there are no folders to be classes.
pub(super) fn decides(data: &DataSet, beside: &Beside, has_folders: bool) -> bool {
    let mut images = (0..data.len()).map(|entry_idx| data.name(entry_idx));
    !beside.is_empty() && (!has_folders || images.all(|image| beside.has_cls(image)))
}

/// The labels that the files beside images state.
pub(super) fn open(data: DataSet, beside: &Beside) -> Result<Found, Error> {
    let mut labels = Collected::default();
    let mut without = None;
    let none = Stated::default();
    for entry_idx in 0..data.len() {
        let image = data.name(entry_idx);
        let stated = match beside.of(image) {
            Some(Ok(stated)) => stated,
            Some(Err(reason)) => {
                return Err(Error::LabelFile {
                    image: image.to_owned(),
                    reason: reason.to_owned(),
                });
            }
            None => &none,
        };
        labels.multi_label |= stated.is_list && stated.labels.len() != 1;
        if labels.push(stated.labels.iter().map(String::as_str)) == 0 {
            without.get_or_insert(entry_idx);
        }
    }
    match without {
        Some(entry_idx) if !labels.multi_label => Err(Error::NoLabelBeside {
            image: data.name(entry_idx).to_owned(),
        }),
        _ => Ok(Found {
            data,
            labels,
            parts: None,
            remarks: vec![Remark::Beside],
        }),
    }
}
