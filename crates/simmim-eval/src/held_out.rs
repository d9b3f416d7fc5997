//! The loss on held-out images, outside a run.

use std::sync::Arc;

use simmim_collective::Alone;
use simmim_config::Plan;
use simmim_data::{DataSet, Loader, Pass, Reporter};
use simmim_train::in_threads;
use simmim_train::pretrain::{Network, open_images};

use crate::error::Error;

/// The mean loss of a network on the images that the plan holds out, under the plan's masks; none where it holds none out or
/// where the loss is not a number.
///
/// # Errors
/// [`Error::Data`] for too many unreadable images.
pub fn held_out_loss(
    plan: &Plan,
    network: &Network,
    data: &Arc<DataSet>,
) -> Result<Option<f64>, Error> {
    let reporter = Arc::new(Reporter::new(plan.config().bad_limit(data.len())));
    let images = open_images(plan, &Alone, Arc::clone(data), reporter)?;
    if images.batches.n_held_out_batches() == 0 {
        return Ok(None);
    }
    let loss = in_threads(plan.config().train.threads, || -> Result<_, Error> {
        let loader = Loader::start(images.batches, Pass::HeldOut, images.n_workers)?;
        Ok(network.mean_loss(loader)?)
    })?;
    Ok(loss.filter(|loss| loss.is_finite()))
}
