//! Images with several labels or none: each label is a question of its own.

use serde::Serialize;

use super::not_a_number::NotANumber;

/// The lowest probability at which a label is predicted.
const YES: f32 = 0.5;

/// Predictions of images with several labels or none. A probability and an answer are kept for each image and class.
#[derive(Debug, Clone, PartialEq)]
pub struct MultiLabelScores {
    n_classes: usize,
    probabilities: Vec<f32>,
    answers: Vec<bool>,
}

/// The scores of one label.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LabelScore {
    /// Images that have the label.
    pub n_images: usize,
    /// The area under its curve of precision against recall; none where no image has it.
    pub average_precision: Option<f64>,
    /// F1 of the answers at a probability of one half; none where the label neither occurs nor is predicted.
    pub f1: Option<f64>,
}

impl MultiLabelScores {
    /// Nothing counted yet.
    pub fn new(n_classes: usize) -> Self {
        Self {
            n_classes,
            probabilities: Vec::new(),
            answers: Vec::new(),
        }
    }

    /// Counts the predictions for some images.
    ///
    /// # Shapes
    /// `probabilities` `[B, K]`; of each image the numbers of its labels.
    ///
    /// # Errors
    /// [`NotANumber`]; nothing of these images is counted.
    ///
    /// # Panics
    /// When the shapes differ or a label is none of the classes.
    pub fn add(&mut self, probabilities: &[f32], labels: &[Vec<usize>]) -> Result<(), NotANumber> {
        assert_eq!(probabilities.len(), labels.len() * self.n_classes);
        if let Some(place) = probabilities.iter().position(|p| !p.is_finite()) {
            let image_idx = self.n_images() + place / self.n_classes;
            return Err(NotANumber { image_idx });
        }
        self.probabilities.extend(probabilities);
        for own in labels {
            let first = self.answers.len();
            self.answers.resize(first + self.n_classes, false);
            for label in own {
                self.answers[first + label] = true;
            }
        }
        Ok(())
    }

    /// What was counted, for [`MultiLabelScores::add_bytes`]: of each image K probabilities and K answers.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let probabilities = self.probabilities.iter().flat_map(|p| p.to_le_bytes());
        let answers = self.answers.iter().map(|answer| u8::from(*answer));
        probabilities.chain(answers).collect()
    }

    /// Counts what another rank has counted.
    ///
    /// # Panics
    /// When the bytes are not those of whole images.
    pub(crate) fn add_bytes(&mut self, bytes: &[u8]) {
        const PER_ANSWER: usize = size_of::<f32>() + 1;
        let n_answers = bytes.len() / PER_ANSWER;
        assert_eq!(n_answers * PER_ANSWER, bytes.len(), "whole answers");
        let (probabilities, answers) = bytes.split_at(n_answers * size_of::<f32>());
        let of_bytes = |bytes: &[u8]| f32::from_le_bytes(bytes.try_into().expect("of 4 bytes"));
        let probabilities = probabilities.chunks_exact(size_of::<f32>()).map(of_bytes);
        self.probabilities.extend(probabilities);
        self.answers
            .extend(answers.iter().map(|answer| *answer != 0));
    }

    /// Number of labels, K.
    pub fn n_classes(&self) -> usize {
        self.n_classes
    }

    /// Images counted.
    pub fn n_images(&self) -> usize {
        self.answers.len() / self.n_classes.max(1)
    }

    /// The mean of the average precisions of the labels that occur; not a number where none does.
    pub fn mean_average_precision(&self) -> f64 {
        mean((0..self.n_classes).filter_map(|class| self.average_precision(class)))
    }

    /// The mean of the F1 of the labels that occur or are predicted.
    pub fn macro_f1(&self) -> f64 {
        mean((0..self.n_classes).filter_map(|class| self.counts(class).f1()))
    }

    /// F1 of all answers together.
    pub fn micro_f1(&self) -> f64 {
        let all = (0..self.n_classes).map(|class| self.counts(class));
        let sum = all.fold(Counts::default(), |sum, one| Counts {
            both: sum.both + one.both,
            truly: sum.truly + one.truly,
            said: sum.said + one.said,
        });
        sum.f1().unwrap_or(f64::NAN)
    }

    /// Share of the images of which every answer is right.
    pub fn exact_match(&self) -> f64 {
        let rows = self.probabilities.chunks(self.n_classes);
        let exact = |(row, answers): &(&[f32], &[bool])| {
            row.iter()
                .zip(*answers)
                .all(|(p, answer)| (*p >= YES) == *answer)
        };
        let n = rows
            .zip(self.answers.chunks(self.n_classes))
            .filter(exact)
            .count();
        n as f64 / self.n_images() as f64
    }

    /// The scores of a label.
    pub fn of_class(&self, class: usize) -> LabelScore {
        let counts = self.counts(class);
        LabelScore {
            n_images: counts.truly,
            average_precision: self.average_precision(class),
            f1: counts.f1(),
        }
    }

    /// Σ (Rₙ − Rₙ₋₁) Pₙ over the distinct probabilities from the highest down; none where no image has the label.
    ///
    /// Source: the definition of scikit-learn's `average_precision_score`, without interpolation.
    fn average_precision(&self, class: usize) -> Option<f64> {
        let mut pairs: Vec<(f32, bool)> = self.column(class).collect();
        pairs.sort_by(|a, b| b.0.total_cmp(&a.0));
        let n_true = pairs.iter().filter(|(_, answer)| *answer).count();
        let (mut sum, mut n_seen, mut n_found) = (0.0, 0, 0);
        // Equal probabilities have no order: they count together, or the result would depend on that of the images.
        for tied in pairs.chunk_by(|a, b| a.0 == b.0) {
            let n_here = tied.iter().filter(|(_, answer)| *answer).count();
            n_seen += tied.len();
            n_found += n_here;
            sum += n_here as f64 * n_found as f64 / n_seen as f64;
        }
        (n_true > 0).then(|| sum / n_true as f64)
    }

    fn counts(&self, class: usize) -> Counts {
        self.column(class)
            .fold(Counts::default(), |counts, (p, answer)| Counts {
                both: counts.both + usize::from(p >= YES && answer),
                truly: counts.truly + usize::from(answer),
                said: counts.said + usize::from(p >= YES),
            })
    }

    fn column(&self, class: usize) -> impl Iterator<Item = (f32, bool)> {
        let of = |values: std::ops::Range<usize>| values.skip(class).step_by(self.n_classes);
        of(0..self.answers.len()).map(|at| (self.probabilities[at], self.answers[at]))
    }
}

/// Images that have a label, that are said to have it, and both.
#[derive(Default)]
struct Counts {
    both: usize,
    truly: usize,
    said: usize,
}

impl Counts {
    fn f1(&self) -> Option<f64> {
        let n = self.truly + self.said;
        (n > 0).then(|| 2.0 * self.both as f64 / n as f64)
    }
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (n, sum) = values.fold((0, 0.0), |(n, sum), value| (n + 1, sum + value));
    sum / f64::from(n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_agrees_with_an_independent_one() {
        let mut scores = MultiLabelScores::new(3);
        let probabilities = [
            0.9, 0.2, 0.4, 0.8, 0.6, 0.4, 0.3, 0.7, 0.1, 0.6, 0.6, 0.2, 0.1, 0.9, 0.3,
        ];
        let labels = [vec![0], vec![1, 2], vec![], vec![0, 1], vec![1]];
        scores.add(&probabilities[..6], &labels[..2]).unwrap();
        scores.add(&probabilities[6..], &labels[2..]).unwrap();
        let close = |found: f64, expected: f64| {
            assert!((found - expected).abs() < 1e-9, "{found} is not {expected}");
        };
        // Source: scikit-learn's `average_precision_score` and `f1_score` on these values.
        close(scores.of_class(0).average_precision.unwrap(), AP[0]);
        close(scores.of_class(1).average_precision.unwrap(), AP[1]);
        close(scores.of_class(2).average_precision.unwrap(), AP[2]);
        close(
            scores.mean_average_precision(),
            AP.iter().sum::<f64>() / 3.0,
        );
        close(scores.micro_f1(), MICRO_F1);
        close(scores.macro_f1(), MACRO_F1);
        close(scores.exact_match(), EXACT);
    }

    // Version 1.9.1.
    const AP: [f64; 3] = [5.0 / 6.0, 5.0 / 6.0, 0.5];
    const MICRO_F1: f64 = 0.769_230_769_230_769_3;
    const MACRO_F1: f64 = 0.552_380_952_380_952_3;
    const EXACT: f64 = 0.6;
}
