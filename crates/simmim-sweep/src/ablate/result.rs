//! What is known of a run that is done.

use std::path::Path;

use serde::{Deserialize, Serialize};
use simmim_data::DataSet;
use simmim_train::metrics::{MetricsLog, Record};
use simmim_train::run_folder::METRICS;

use crate::error::Error;
use crate::sweep::statistics::mean;

/// What is known of a run that is done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunResult {
    /// Steps done.
    pub steps: u64,
    /// What was no number any more, and when.
    pub diverged: Option<String>,
    /// Training images a second: the median over the steps.
    pub images_per_sec: Option<f64>,
    /// Minutes of training, validations among them.
    pub minutes: Option<f64>,
    /// Loss on the held-out images under the run's own masks before training.
    pub val_loss_first: Option<f64>,
    /// The same where it was last measured.
    pub val_loss_last: Option<f64>,
    /// The least of those measured in training.
    pub val_loss_best: Option<f64>,
    /// Mean training loss over the steps of the last epoch.
    pub train_loss: Option<f64>,
    /// The [`Score`](super::Score).
    pub score: Option<f64>,
    /// How the score was measured; none where it cannot be set beside those of the other runs.
    pub scored_by: Option<String>,
    /// Fingerprint of the images, in hexadecimal.
    pub images: String,
}

impl RunResult {
    /// What the log of a run tells.
    pub(super) fn of(
        run: &Path,
        val_loss_first: Option<f64>,
        data: &DataSet,
    ) -> Result<Self, Error> {
        let records = MetricsLog::read(&run.join(METRICS))?;
        let last = records.last();
        let val_losses = records.iter().filter_map(|record| record.val_loss);
        Ok(Self {
            steps: last.map_or(0, |record| record.step),
            diverged: None,
            images_per_sec: median(records.iter().map(|record| record.images_per_sec).collect()),
            minutes: last.map(|record| record.seconds / 60.0),
            val_loss_first,
            val_loss_last: val_losses.clone().next_back(),
            // This minimum passes over values that are no number.
            val_loss_best: val_losses.reduce(f64::min),
            train_loss: last_epoch(&records),
            score: None,
            scored_by: None,
            images: fingerprint(data),
        })
    }
}

/// The fingerprint of the images as it is stored.
pub(super) fn fingerprint(data: &DataSet) -> String {
    format!("{:016x}", data.fingerprint())
}

fn last_epoch(records: &[Record]) -> Option<f64> {
    let end = records.last()?.epoch;
    // Epochs are fractions here, so this is a whole epoch of steps wherever the run ended.
    let in_it = records.iter().filter(|record| record.epoch > end - 1.0);
    mean(&in_it.map(|record| record.loss).collect::<Vec<_>>())
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}
