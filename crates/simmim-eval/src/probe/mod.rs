//! A linear classifier on frozen features: which block, which pooling, how much regularisation, and how good the best is.
//!
//! * [`features_of`]: all features of all images in one pass, kept on disk.
//! * [`probe`]: the sweep. It is judged on a part of the training images; the held-out ones are looked at once, by the
//!   winner, which has then been fitted to all training images.
//! * [`LinearLayer`]: the classifier.
//! * [`probe_attentively`]: the same with learned queries that attend over the tokens, in place of their mean.
//!
//! For this kind of pre-training middle blocks, the mean of the patch tokens and no last norm are usually best (the authors, in
//! issues 14 and 36 of microsoft/SimMIM).

mod attentive;
mod cache;
mod division;
mod logistic;
mod standard;

use serde::Serialize;
use simmim_data::{Labels, Split};

use crate::features::Choice;

pub use attentive::{
    Attended, AttentiveEvent, AttentiveSettings, AttentiveTrial, Frozen, probe_attentively,
};
pub use cache::{Column, FeatureSet, features_of};
pub(crate) use division::Division;
pub use logistic::{LinearLayer, Samples, Solver};
pub(crate) use standard::Standard;

/// One entry of the sweep.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Trial {
    /// Which feature.
    pub feature: String,
    /// The penalty λ.
    pub lambda: f64,
    /// Accuracy on the training images that were kept back.
    pub accuracy: f64,
}

/// What the sweep and the winner came to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Probed {
    /// Every feature and penalty.
    pub trials: Vec<Trial>,
    /// The feature that was chosen.
    pub feature: String,
    /// The same, to be looked up.
    #[serde(skip)]
    pub choice: Choice,
    /// The penalty that was chosen.
    pub lambda: f64,
    /// The winner's accuracy on the held-out images.
    pub top1: f64,
    /// Images that the winner was fitted to.
    pub n_train: usize,
    /// Images that it was measured on.
    pub n_held_out: usize,
}

/// How the sweep is done.
#[derive(Debug, Clone, Copy)]
pub struct ProbeSettings<'a> {
    /// The penalties λ that are tried with every feature.
    pub lambdas: &'a [f64],
    /// How each layer is found.
    pub solver: Solver,
    /// Decides which training images the trials are judged by.
    pub seed: u64,
    /// The only feature that is tried; none: all of them.
    pub only: Option<Choice>,
}

/// Features of some of the images, with their classes.
struct Part {
    features: Vec<f32>,
    labels: Vec<usize>,
    width: usize,
    n_classes: usize,
}

impl Part {
    fn samples(&self) -> Samples<'_> {
        Samples {
            features: &self.features,
            labels: &self.labels,
            width: self.width,
            n_classes: self.n_classes,
        }
    }
}

/// One feature of the images to fit to and of those to measure on, standardised by the former.
struct Parts {
    fit: Part,
    measure: Part,
}

/// The rows of a set of features, with the labels of their images.
#[derive(Clone, Copy)]
struct LabelledRows<'a> {
    set: &'a FeatureSet,
    labels: &'a Labels,
}

impl LabelledRows<'_> {
    /// The rows of the images of a part of the split, which lists them in order.
    fn of_images(&self, images: &[usize]) -> Vec<usize> {
        let entries = &self.set.entries;
        let is_in = |row: &usize| images.binary_search(&entries[*row]).is_ok();
        (0..entries.len()).filter(is_in).collect()
    }

    fn class_of(&self, row: usize) -> usize {
        self.labels.of(self.set.entries[row])[0] as usize
    }

    fn part(&self, column: &Column, rows: &[usize]) -> Part {
        let of_row = |row: &usize| &column.rows[row * column.width..][..column.width];
        Part {
            features: rows.iter().flat_map(of_row).copied().collect(),
            labels: rows.iter().map(|row| self.class_of(*row)).collect(),
            width: column.width,
            n_classes: self.labels.n_classes(),
        }
    }

    fn parts(&self, column: &Column, fit: &[usize], measure: &[usize]) -> Parts {
        let (mut fit, mut measure) = (self.part(column, fit), self.part(column, measure));
        let standard = Standard::of(&fit.features, column.width);
        standard.apply(&mut fit.features);
        standard.apply(&mut measure.features);
        Parts { fit, measure }
    }
}

/// The best trial so far.
struct Best<'a> {
    accuracy: f64,
    column: &'a Column,
    lambda: f64,
}

/// Tries every feature, or `settings.only`, with every penalty; `told` hears of each trial. None where there are no images to
/// judge by or to measure on.
pub fn probe(
    set: &FeatureSet,
    labels: &Labels,
    split: &Split,
    settings: ProbeSettings<'_>,
    told: &mut dyn FnMut(&Trial),
) -> Option<Probed> {
    let rows = LabelledRows { set, labels };
    let train = rows.of_images(split.train());
    let held_out = rows.of_images(split.held_out());
    let class_of = |row| rows.class_of(row);
    let sweep = Division::new(&train, labels.n_classes(), class_of, settings.seed);
    if sweep.judge.is_empty() || sweep.fit.is_empty() || held_out.is_empty() {
        return None;
    }
    let mut trials = Vec::new();
    let mut best: Option<Best<'_>> = None;
    let is_wanted = |column: &&Column| settings.only.is_none_or(|only| only == column.choice);
    for column in set.columns.iter().filter(is_wanted) {
        let parts = rows.parts(column, &sweep.fit, &sweep.judge);
        for trial in tried(column, &parts, settings, told) {
            // Of equal ones the first: a later one has to be better.
            if best
                .as_ref()
                .is_none_or(|best| trial.accuracy > best.accuracy)
            {
                best = Some(Best {
                    accuracy: trial.accuracy,
                    column,
                    lambda: trial.lambda,
                });
            }
            trials.push(trial);
        }
    }
    let Best { column, lambda, .. } = best?;
    let parts = rows.parts(column, &train, &held_out);
    // From zero: the winner does not depend on what was tried before it.
    let layer = LinearLayer::fit(parts.fit.samples(), lambda, settings.solver, None);
    Some(Probed {
        trials,
        feature: column.choice.to_string(),
        choice: column.choice,
        lambda,
        top1: layer.accuracy(parts.measure.samples()),
        n_train: train.len(),
        n_held_out: held_out.len(),
    })
}

/// A feature with every penalty.
fn tried(
    column: &Column,
    parts: &Parts,
    settings: ProbeSettings<'_>,
    told: &mut dyn FnMut(&Trial),
) -> Vec<Trial> {
    // Each fit begins where the one before it ended: the next penalty's minimum is near.
    let mut layer: Option<LinearLayer> = None;
    let mut trials = Vec::new();
    for &lambda in settings.lambdas {
        let samples = parts.fit.samples();
        let found = LinearLayer::fit(samples, lambda, settings.solver, layer.as_ref());
        let trial = Trial {
            feature: column.choice.to_string(),
            lambda,
            accuracy: found.accuracy(parts.measure.samples()),
        };
        told(&trial);
        trials.push(trial);
        layer = Some(found);
    }
    trials
}
