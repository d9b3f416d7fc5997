//! What a classifier says of images without labels.

use std::fmt::Display;
use std::sync::Arc;

use simmim_data::{BadImage, DataSet, Reporter};

use crate::error::Error;
use crate::fine_tuned::FineTuned;
use crate::walk::Walk;

/// The prediction for one image.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction<'a> {
    /// The image.
    pub name: &'a str,
    /// Its likeliest classes, the likeliest first; of equally likely ones the first.
    pub labels: Vec<Label<'a>>,
}

/// A class, and how likely it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Label<'a> {
    /// Its name.
    pub class: &'a str,
    /// From 0 to 1.
    pub probability: f32,
}

/// Predicts the labels of all images of a data set, in order. `told` gets each image's `n_labels` likeliest classes as soon
/// as they are known, of several processes on rank 0; the images that could not be read are returned there.
///
/// # Errors
/// [`Error::Data`] where there is nothing to read, [`Error::Ranks`], and those of `told`, which end it.
pub fn predict<E: From<Error> + Display>(
    model: &FineTuned,
    data: &Arc<DataSet>,
    settings: PredictSettings,
    told: &mut dyn FnMut(&Prediction<'_>) -> Result<(), E>,
) -> Result<Vec<BadImage>, E> {
    // Nothing is measured here, so unreadable images are listed and never too many.
    let reporter = Arc::new(Reporter::new(usize::MAX));
    let mut walk = model.all_images(data, &reporter, settings.batch_size)?;
    let own = tell_all(model, data, settings.n_labels, &mut walk, told);
    walk.finish(own)?;
    Ok(reporter.list())
}

fn tell_all<E: From<Error>>(
    model: &FineTuned,
    data: &DataSet,
    n_labels: usize,
    walk: &mut Walk,
    told: &mut dyn FnMut(&Prediction<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let classes = &model.network().classes().classes;
    while let Some(part) = walk.next(&mut |batch| vec![model.network().probabilities(batch)])? {
        let probabilities = part.columns.concat();
        for (row, entry_idx) in probabilities.chunks(classes.len()).zip(&part.entries) {
            let label = |at: usize| Label {
                class: &classes[at],
                probability: row[at],
            };
            told(&Prediction {
                name: data.name(*entry_idx),
                labels: likeliest(row, n_labels).map(label).collect(),
            })?;
        }
    }
    Ok(())
}

/// How labels are predicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PredictSettings {
    /// Classes that are given for each image.
    pub n_labels: usize,
    /// Images that are looked at together; the result is the same, to the bit where products are our own (AVX-512 BF16, AMX).
    pub batch_size: usize,
}

/// The places of the largest values, the largest first; of equal ones the first.
fn likeliest(row: &[f32], n: usize) -> impl Iterator<Item = usize> {
    let mut places: Vec<usize> = (0..row.len()).collect();
    // A stable sort: equal ones stay in the order of the classes.
    places.sort_by(|a, b| row[*b].total_cmp(&row[*a]));
    places.into_iter().take(n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_likeliest_come_first_and_of_equal_ones_the_first() {
        let found: Vec<usize> = likeliest(&[0.1, 0.4, 0.1, 0.4], 3).collect();
        assert_eq!(found, [1, 3, 0]);
        assert_eq!(likeliest(&[0.5], 9).count(), 1);
    }
}
