//! The images of a run before they are divided.

use simmim_data::{DataSet, Reporter, Survey};

/// The images that were found, and how many ranks share them.
pub(crate) struct Found<'a> {
    pub(crate) data: &'a DataSet,
    pub(crate) reporter: &'a Reporter,
    /// What they are like.
    pub(crate) survey: &'a Survey,
    /// Images to train on.
    pub(crate) n_train: usize,
    /// Number of ranks.
    pub(crate) world: usize,
}
