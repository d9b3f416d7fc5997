//! An attentive classifier on frozen tokens: a few learned queries attend over the tokens of an image, and a linear layer makes
//! labels of what they see.
//!
//! The mean of the tokens throws away where each lies and what few of them say. For encoders that predict patches, attentive probing
//! is the measure that the field takes for fair: El-Nouby et al., AIM (arXiv 2401.08541) and Bardes et al., V-JEPA (arXiv
//! 2404.08471) judge theirs by it; Psomas et al. (arXiv 2506.10178) compare its forms and propose the one that is used here,
//! [`AttentivePool`](simmim_model::AttentivePool).

mod classifier;
mod frozen;
mod tokens;

use std::path::Path;

use serde::Serialize;

use super::division::Division;
use crate::error::Error;
use crate::features::{Choice, Pool};
use classifier::{Classifier, Goal, Task};
pub use frozen::Frozen;
use tokens::{Request, TokenFile};

/// One entry of the sweep.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AttentiveTrial {
    /// Which tokens.
    pub feature: String,
    /// The learning rate at its highest.
    pub lr: f64,
    /// Accuracy on the training images that were kept back.
    pub accuracy: f64,
}

/// What the sweep and the winner came to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Attended {
    /// Every choice of tokens and learning rate.
    pub trials: Vec<AttentiveTrial>,
    /// The tokens that were chosen.
    pub feature: String,
    /// The learning rate that was chosen.
    pub lr: f64,
    /// The winner's accuracy on the held-out images.
    pub top1: f64,
    /// Images that the winner was fitted to.
    pub n_train: usize,
    /// Images that it was measured on.
    pub n_held_out: usize,
}

/// How the sweep is done.
#[derive(Debug, Clone, Copy)]
pub struct AttentiveSettings<'a> {
    /// The blocks whose tokens are tried, counted from 1; none stands for the output.
    pub blocks: &'a [Option<usize>],
    /// The learning rates that are tried with each.
    pub lrs: &'a [f64],
    /// Decides which training images the trials are judged by, the first values and the order.
    pub seed: u64,
    /// Where tokens lie while they are needed.
    pub folder: &'a Path,
}

/// What is told while a sweep goes on.
#[derive(Debug)]
pub enum AttentiveEvent<'a> {
    /// The tokens of a choice will take so many bytes on disk while they are needed.
    Tokens {
        /// Which.
        feature: String,
        /// How many.
        bytes: u64,
    },
    /// A trial was judged.
    Tried(&'a AttentiveTrial),
}

/// Tries the tokens of each block with every learning rate, judged on a fifth of the training images; then fits the best to all of
/// them and measures it once on the held-out ones. None where there are no images to judge by or to measure on.
///
/// # Errors
/// [`Error::NoFeature`]; [`Error::Data`] for too many unreadable images; [`Error::Tokens`] where they cannot be kept on disk.
pub fn probe_attentively(
    frozen: Frozen<'_>,
    settings: AttentiveSettings<'_>,
    told: &mut dyn FnMut(AttentiveEvent<'_>),
) -> Result<Option<Attended>, Error> {
    let labels = frozen.images.set.labels();
    let class_of = |entry: usize| labels.of(entry)[0] as usize;
    let goal = Goal {
        class_of: &class_of,
        n_classes: labels.n_classes(),
        device: frozen.extractor.device(),
        seed: settings.seed,
    };
    let [train, held_out] = frozen.parts();
    let division = Division::new(&train, goal.n_classes, class_of, settings.seed);
    if division.judge.is_empty() || division.fit.is_empty() || held_out.is_empty() {
        return Ok(None);
    }
    let (mut trials, mut best) = (Vec::new(), None::<(AttentiveTrial, TokenFile)>);
    for block in settings.blocks {
        let request = Request {
            frozen,
            train: &train,
            held_out: &held_out,
            choice: Choice {
                block: *block,
                pool: Pool::Mean,
            },
        };
        told(AttentiveEvent::Tokens {
            feature: name(*block),
            bytes: request.bytes()?,
        });
        let tokens = request.kept_in(settings.folder)?;
        let task = Task {
            tokens: &tokens,
            goal,
        };
        let own = tried(task, &division, *block, settings.lrs, told)?;
        let before = best
            .as_ref()
            .map_or(f64::NEG_INFINITY, |(best, _)| best.accuracy);
        if let Some(trial) = best_of(&own).filter(|own| own.accuracy > before) {
            best = Some((trial.clone(), tokens));
        }
        trials.extend(own);
    }
    let Some((AttentiveTrial { feature, lr, .. }, tokens)) = best else {
        return Ok(None);
    };
    let task = Task {
        tokens: &tokens,
        goal,
    };
    Ok(Some(Attended {
        // From first values: the winner does not depend on what was tried before it.
        top1: Classifier::fitted(&task, &train, lr)?.accuracy(&task, &held_out)?,
        trials,
        feature,
        lr,
        n_train: train.len(),
        n_held_out: held_out.len(),
    }))
}

/// Of equal ones the first: a later one has to be better.
fn best_of(trials: &[AttentiveTrial]) -> Option<&AttentiveTrial> {
    trials
        .iter()
        .reduce(|a, b| if b.accuracy > a.accuracy { b } else { a })
}

fn name(block: Option<usize>) -> String {
    block.map_or("output".to_owned(), |block| format!("block {block}"))
}

/// The tokens of a block with every learning rate.
fn tried(
    task: Task<'_>,
    division: &Division,
    block: Option<usize>,
    lrs: &[f64],
    told: &mut dyn FnMut(AttentiveEvent<'_>),
) -> Result<Vec<AttentiveTrial>, Error> {
    let mut trials = Vec::new();
    for lr in lrs {
        let found = Classifier::fitted(&task, &division.fit, *lr)?;
        let trial = AttentiveTrial {
            feature: format!("{}, attentive", name(block)),
            lr: *lr,
            accuracy: found.accuracy(&task, &division.judge)?,
        };
        told(AttentiveEvent::Tried(&trial));
        trials.push(trial);
    }
    Ok(trials)
}
