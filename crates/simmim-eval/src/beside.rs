//! What stands beside a fine-tuning that has come to its end.

use simmim_train::finetune::open_labelled;

use crate::baselines::Baselines;
use crate::error::Error;
use crate::fine_tuned::FineTuned;

/// What pixels alone come to on the images that the training of a model held out, learned from those that it learned from; none
/// where nothing was held out, and for images of several labels.
///
/// # Errors
/// [`Error::Train`] where the images of the training are gone, [`Error::Data`] where there is nothing to read.
pub fn baselines_of_training(model: &FineTuned) -> Result<Option<Baselines>, Error> {
    let config = model.plan().config();
    let asked = config.of_fine_tuning();
    let set = open_labelled(config)?;
    let split = set.subset(asked.labels, asked.labels_seed)?;
    if set.labels().multi_label() || split.held_out().is_empty() {
        return Ok(None);
    }
    Baselines::of_split(&set, &split, &model.pixels()?, asked.labels_seed)
}
