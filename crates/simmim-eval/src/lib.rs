//! Trained models put to use: what they fill in, what their encoders see, how good their labels are.
//!
//! In reading order:
//!
//! * [`Trained`]: a model of a pre-training read back, to reconstruct pictures with. [`FineTuned`]: a classifier.
//! * [`features`]: one vector an image, of a frozen encoder of either.
//! * [`embed`]: the features of all images in one file.
//! * [`knn`]: labels by the nearest neighbours. [`probe`]: a linear classifier on features.
//! * [`baselines`](mod@baselines): what pixels alone come to, beside which all of these are to be seen.
//! * [`TestSet`]: images with labels to measure a classifier on. [`report`]: its scores as text, CSV and a picture.
//! * [`evaluate()`], [`accuracy`]: how good a classifier is on them. [`predict()`]: what it says of images without labels.
//! * [`gather`]: all that a report shows of a run, found out. [`draw_features()`]: what an encoder sees in patches.
//! * [`draw_masks()`]: masks on an image, before any training.
//! * [`held_out_loss`]: how well a network fills in the images that a plan holds out.
//!
//! Not here: training. A model is opened to be used, and what is used computes in f32 where vectors are compared, whatever
//! it was trained in. There is no server and no export of a graph: a checkpoint is a file of named arrays that other
//! programs read.
//!
//! ```
//! use simmim_eval::knn::{Labelled, Votes, knn};
//!
//! // Two classes that lie on two axes; the second query is nearer to the second axis.
//! let train = Labelled { features: vec![1.0, 0.0, 0.0, 1.0], labels: vec![0, 1] };
//! let query = Labelled { features: vec![2.0, 1.0, 1.0, 3.0], labels: vec![0, 1] };
//! let votes = Votes { n_classes: 2, temperature: 0.07 };
//! let scores = knn(&train, &query, &[1], votes);
//! assert_eq!(scores[0].top1, 1.0);
//! ```

pub mod baselines;
mod beside;
mod draw_features;
mod draw_masks;
pub mod embed;
mod error;
mod evaluate;
pub mod features;
mod fine_tuned;
mod foreign;
pub mod gather;
mod held_out;
pub mod knn;
mod one_image;
mod opened;
mod patches;
mod pca;
mod predict;
pub mod probe;
pub mod report;
mod test_set;
mod trained;
mod walk;

pub use beside::baselines_of_training;
pub use draw_features::draw_features;
pub use draw_masks::draw_masks;
pub use error::Error;
pub use evaluate::{Accuracy, Evaluation, accuracy, evaluate};
pub use fine_tuned::FineTuned;
pub use held_out::held_out_loss;
pub use predict::{Label, PredictSettings, Prediction, predict};
pub use test_set::{Measured, TestSet};
pub use trained::Trained;
