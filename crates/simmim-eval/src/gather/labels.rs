//! How good a classifier is on the images that its training held out.

use std::path::Path;

use simmim_config::RawConfig;
use simmim_report::{Calibration, ClassRow, LabelPage, Mistake, Sample, Shown};
use simmim_train::scores::{MultiLabelScores, Scores, argmax};

use super::samples::{self, GALLERY_PX};
use super::told::{because, fact};
use crate::evaluate::{Evaluation, Judged, evaluate_seen};
use crate::fine_tuned::FineTuned;
use crate::report::confusion_picture;
use crate::test_set::{Measured, TestSet};

/// Mistakes that are shown.
const N_MISTAKES: usize = 24;
/// Images that are measured on at most: the run's log has the accuracy on all of them.
const MOST_MEASURED: usize = 2000;
/// More classes than this are not drawn.
const MOST_DRAWN: usize = 100;
const BATCH: usize = 32;

/// A mistake, before its image is looked at.
#[derive(Clone, Copy)]
struct Wrong {
    entry_idx: usize,
    label: usize,
    predicted: usize,
    confidence: f32,
}

pub(super) fn page(run: &Path, config: &RawConfig) -> Result<LabelPage, String> {
    let model = FineTuned::open(run).map_err(|error| because(&error))?;
    let path = config.data.path.as_deref().unwrap_or_default();
    let test = TestSet::open(&model, path).map_err(|error| because(&error))?;
    if test.is_empty() || matches!(test.measured(), Measured::All | Measured::AllSinceChanged) {
        return Err(
            "the training held no images out; `simmim evaluate` measures on others".to_owned(),
        );
    }
    let n_all = test.len();
    let test = test.thinned(MOST_MEASURED);
    let mut wrong = Vec::new();
    let mut seen = |judged: &Judged<'_>| wrong.extend(mistakes_of(judged));
    let found = evaluate_seen(&model, &test, BATCH, &mut seen).map_err(|error| because(&error))?;
    let classes = &model.network().classes().classes;
    let mut page = match &found {
        Evaluation::Single(scores) => of_single(scores, classes)?,
        Evaluation::Several(scores) => of_several(scores, classes),
    };
    let n = found.n_images();
    let of_all = if n < n_all {
        format!("{n}, spread over {n_all}")
    } else {
        n.to_string()
    };
    page.facts.insert(0, fact("held-out images", of_all));
    page.mistakes = shown(&model, &test, wrong)?;
    Ok(page)
}

/// The images of a batch that are taken for another class, of those with one label each.
fn mistakes_of(judged: &Judged<'_>) -> Vec<Wrong> {
    let n_classes = judged.probabilities.len() / judged.labels.len().max(1);
    let rows = judged
        .probabilities
        .chunks(n_classes.max(1))
        .zip(judged.labels)
        .zip(judged.entries);
    let wrong = |((row, labels), entry_idx): ((&[f32], &Vec<usize>), &usize)| {
        let [label] = labels[..] else {
            return None;
        };
        let predicted = argmax(row);
        (predicted != label).then_some(Wrong {
            entry_idx: *entry_idx,
            label,
            predicted,
            confidence: row[predicted],
        })
    };
    rows.filter_map(wrong).collect()
}

fn shown(model: &FineTuned, test: &TestSet, mut wrong: Vec<Wrong>) -> Result<Vec<Mistake>, String> {
    // Of several labels there is no one class that an image is taken for.
    if model.network().classes().multi_label {
        return Ok(Vec::new());
    }
    wrong.sort_by(|a, b| {
        b.confidence
            .total_cmp(&a.confidence)
            .then(a.entry_idx.cmp(&b.entry_idx))
    });
    wrong.truncate(N_MISTAKES);
    let views = model.views().map_err(|error| because(&error))?;
    let classes = &model.network().classes().classes;
    let entries: Vec<usize> = wrong.iter().map(|wrong| wrong.entry_idx).collect();
    let mistake = |seen: &samples::Seen| {
        let wrong = wrong
            .iter()
            .find(|wrong| wrong.entry_idx == seen.entry_idx)?;
        let thumb = samples::thumb(&seen.sample, &views, GALLERY_PX);
        let label = Some(classes[wrong.label].clone());
        Some(Mistake {
            image: Sample {
                image: thumb,
                name: test.data().name(seen.entry_idx).to_owned(),
                label,
            },
            predicted: classes[wrong.predicted].clone(),
            confidence: f64::from(wrong.confidence),
        })
    };
    Ok(samples::see(test.data(), &views, &entries)
        .iter()
        .filter_map(mistake)
        .collect())
}

fn percent(share: f64) -> String {
    format!("{:.2} %", 100.0 * share)
}

fn of_single(scores: &Scores, classes: &[String]) -> Result<LabelPage, String> {
    let row = |(class, name): (usize, &String)| {
        let of = scores.of_class(class);
        ClassRow {
            name: name.clone(),
            n_images: of.n_images,
            precision: of.precision,
            recall: of.recall,
            f1: of.f1,
        }
    };
    let bins = scores.bins().into_iter().map(|bin| Calibration {
        n: bin.n,
        confidence: bin.confidence,
        accuracy: bin.accuracy,
    });
    let confusion = if classes.len() > MOST_DRAWN {
        None
    } else {
        let picture = confusion_picture(scores, classes).map_err(|error| because(&error))?;
        Some(Shown::of(&picture, 90))
    };
    Ok(LabelPage {
        facts: vec![
            fact("accuracy (top-1)", percent(scores.top1())),
            fact("top-5", percent(scores.top5())),
            fact("balanced accuracy", percent(scores.balanced_accuracy())),
            fact("calibration error", percent(scores.calibration_error())),
        ],
        classes: classes.iter().enumerate().map(row).collect(),
        confusion,
        bins: bins.collect(),
        mistakes: Vec::new(),
    })
}

fn of_several(scores: &MultiLabelScores, classes: &[String]) -> LabelPage {
    let row = |(class, name): (usize, &String)| {
        let of = scores.of_class(class);
        ClassRow {
            name: name.clone(),
            n_images: of.n_images,
            precision: of.average_precision,
            recall: None,
            f1: of.f1,
        }
    };
    LabelPage {
        facts: vec![
            fact(
                "mean average precision",
                percent(scores.mean_average_precision()),
            ),
            fact("F1, all together", percent(scores.micro_f1())),
            fact("F1, mean over classes", percent(scores.macro_f1())),
            fact("all labels right", percent(scores.exact_match())),
        ],
        classes: classes.iter().enumerate().map(row).collect(),
        confusion: None,
        bins: Vec::new(),
        mistakes: Vec::new(),
    }
}
