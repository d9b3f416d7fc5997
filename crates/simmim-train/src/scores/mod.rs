//! How good predictions are: accuracy, balance, calibration.
//!
//! * [`Scores`]: images with one label each. What is kept is counts, so any number of images fits.
//! * [`MultiLabelScores`]: images with several labels or none.

mod multi;
mod not_a_number;

use serde::Serialize;

pub use multi::MultiLabelScores;
pub use not_a_number::NotANumber;

/// Bins of the confidence for the calibration error.
///
/// Source: Guo et al., *On Calibration of Modern Neural Networks* (arXiv 1706.04599), §5: M = 15.
const N_BINS: usize = 15;
/// Guesses of the looser accuracy.
const TOP: usize = 5;

/// Predictions of one bin of confidence.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Bin {
    /// How many predictions.
    pub n: usize,
    /// Their mean confidence.
    pub confidence: f64,
    /// The share of them that is right.
    pub accuracy: f64,
}

/// The scores of one class.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ClassScore {
    /// Images of the class.
    pub n_images: usize,
    /// The share that is right of the images predicted as this class; none where none is.
    pub precision: Option<f64>,
    /// The share that is predicted right of the images of this class; none where there is none.
    pub recall: Option<f64>,
    /// The harmonic mean of both; 0 where both are 0, none where the class neither occurs nor is predicted.
    pub f1: Option<f64>,
}

/// Predictions of images with one label each, counted.
#[derive(Debug, Clone, PartialEq)]
pub struct Scores {
    n_classes: usize,
    /// How often each class (row) is predicted as each (column).
    confusion: Vec<usize>,
    n_in_top: usize,
    loss: f64,
    /// Of each bin: predictions, the sum of their confidences, those that are right.
    bins: [(usize, f64, usize); N_BINS],
}

impl Scores {
    /// Nothing counted yet.
    pub fn new(n_classes: usize) -> Self {
        Self {
            n_classes,
            confusion: vec![0; n_classes * n_classes],
            n_in_top: 0,
            loss: 0.0,
            bins: [(0, 0.0, 0); N_BINS],
        }
    }

    /// Counts the predictions for some images. Of equal probabilities the class that comes first wins.
    ///
    /// # Shapes
    /// `probabilities` `[B, K]`, `labels` `[B]`, each below K.
    ///
    /// # Errors
    /// [`NotANumber`]; nothing after that image is counted.
    ///
    /// # Panics
    /// When the shapes differ or a label is none of the classes.
    pub fn add(&mut self, probabilities: &[f32], labels: &[usize]) -> Result<(), NotANumber> {
        assert_eq!(probabilities.len(), labels.len() * self.n_classes);
        for (row, &label) in probabilities.chunks(self.n_classes).zip(labels) {
            if !row.iter().all(|p| p.is_finite()) {
                let image_idx = self.n_images();
                return Err(NotANumber { image_idx });
            }
            self.add_one(row, label);
        }
        Ok(())
    }

    fn add_one(&mut self, row: &[f32], label: usize) {
        // How many classes are ahead of the right one; of equal ones those that come first, as in `argmax`.
        let own = row[label];
        let ahead = |(class, p): (usize, &f32)| *p > own || (*p == own && class < label);
        let rank = row.iter().enumerate().filter(|entry| ahead(*entry)).count();
        let predicted = argmax(row);
        let confidence = f64::from(row[predicted]);
        self.confusion[label * self.n_classes + predicted] += 1;
        self.n_in_top += usize::from(rank < TOP);
        // A probability that rounds to 0 costs as much as the smallest positive f32: an infinite loss would say nothing.
        self.loss -= f64::from(own.max(f32::MIN_POSITIVE)).ln();
        let bin = ((confidence * N_BINS as f64).ceil() as usize).clamp(1, N_BINS) - 1;
        // Bins are open below: bin k holds confidences above k / M, up to and with (k + 1) / M.
        let (n, sum, n_right) = &mut self.bins[bin];
        *n += 1;
        *sum += confidence;
        *n_right += usize::from(predicted == label);
    }

    /// Number of classes, K.
    pub fn n_classes(&self) -> usize {
        self.n_classes
    }

    /// Images counted.
    pub fn n_images(&self) -> usize {
        self.confusion.iter().sum()
    }

    /// How often each class is predicted as each.
    ///
    /// # Shapes
    /// `[K, K]`: a row for each true class, a column for each predicted one.
    pub fn confusion(&self) -> &[usize] {
        &self.confusion
    }

    /// Share of the images whose label is the likeliest; not a number without images.
    pub fn top1(&self) -> f64 {
        let n_right: usize = (0..self.n_classes).map(|class| self.n_right(class)).sum();
        n_right as f64 / self.n_images() as f64
    }

    /// Share of the images whose label is among the five likeliest; not a number without images.
    pub fn top5(&self) -> f64 {
        self.n_in_top as f64 / self.n_images() as f64
    }

    /// The mean recall of the classes that occur.
    pub fn balanced_accuracy(&self) -> f64 {
        let recalls = (0..self.n_classes).filter_map(|class| self.of_class(class).recall);
        let (n, sum) = recalls.fold((0, 0.0), |(n, sum), recall| (n + 1, sum + recall));
        sum / f64::from(n)
    }

    /// Mean cross-entropy.
    pub fn loss(&self) -> f64 {
        self.loss / self.n_images() as f64
    }

    /// The mean distance of confidence from accuracy over the bins, weighted by their predictions.
    ///
    /// Source: Naeini et al., *Obtaining Well Calibrated Probabilities Using Bayesian Binning* (AAAI 2015); Guo et al.
    /// (arXiv 1706.04599), equation 3.
    pub fn calibration_error(&self) -> f64 {
        let distance = |bin: &Bin| bin.n as f64 * (bin.confidence - bin.accuracy).abs();
        self.bins().iter().map(distance).sum::<f64>() / self.n_images() as f64
    }

    /// The bins of confidence, from the lowest to the highest.
    pub fn bins(&self) -> Vec<Bin> {
        let bin = |(n, sum, n_right): &(usize, f64, usize)| match *n {
            0 => Bin::default(),
            n => Bin {
                n,
                confidence: sum / n as f64,
                accuracy: *n_right as f64 / n as f64,
            },
        };
        self.bins.iter().map(bin).collect()
    }

    /// The scores of a class.
    pub fn of_class(&self, class: usize) -> ClassScore {
        let k = self.n_classes;
        let n_right = self.n_right(class);
        let n_images: usize = self.confusion[class * k..(class + 1) * k].iter().sum();
        let n_predicted: usize = self.confusion[class..].iter().step_by(k).sum();
        let share = |n: usize| (n > 0).then(|| n_right as f64 / n as f64);
        let n_both = n_images + n_predicted;
        ClassScore {
            n_images,
            precision: share(n_predicted),
            recall: share(n_images),
            f1: (n_both > 0).then(|| 2.0 * n_right as f64 / n_both as f64),
        }
    }

    fn n_right(&self, class: usize) -> usize {
        self.confusion[class * self.n_classes + class]
    }
}

/// The place of the largest value; of several, the first.
pub fn argmax(row: &[f32]) -> usize {
    let places = 0..row.len();
    places
        .reduce(|best, at| if row[at] > row[best] { at } else { best })
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROBABILITIES: [f32; 18] = [
        0.7, 0.2, 0.1, // right
        0.5, 0.3, 0.2, // taken for the first
        0.1, 0.8, 0.1, // right
        0.2, 0.2, 0.6, // taken for the last
        0.3, 0.3, 0.4, // right
        0.4, 0.4, 0.2, // a tie: the first wins
    ];
    const LABELS: [usize; 6] = [0, 1, 1, 0, 2, 1];

    fn scores() -> Scores {
        let mut scores = Scores::new(3);
        scores.add(&PROBABILITIES[..9], &LABELS[..3]).unwrap();
        scores.add(&PROBABILITIES[9..], &LABELS[3..]).unwrap();
        scores
    }

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-6, "{found} is not {expected}");
    }

    #[test]
    fn every_figure_agrees_with_an_independent_one() {
        // Source: scikit-learn 1.9.1 `accuracy_score`, `balanced_accuracy_score`, `precision_recall_fscore_support`,
        // `log_loss` on these six predictions; the calibration error by hand, one prediction a bin.
        let scores = scores();
        assert_eq!(scores.confusion(), [1, 0, 1, 2, 1, 0, 0, 0, 1]);
        close(scores.top1(), 0.5);
        close(scores.balanced_accuracy(), (0.5 + 1.0 / 3.0 + 1.0) / 3.0);
        close(scores.loss(), 0.870_968_446);
        let first = scores.of_class(0);
        assert_eq!(first.n_images, 2);
        close(first.precision.unwrap(), 1.0 / 3.0);
        close(first.recall.unwrap(), 0.5);
        close(first.f1.unwrap(), 0.4);
        // Confidences .7 and .8 right, .5 and .6 wrong, and in one bin .4 right and .4 wrong.
        close(
            scores.calibration_error(),
            (0.3 + 0.2 + 0.5 + 0.6 + 2.0 * 0.1) / 6.0,
        );
    }

    #[test]
    fn with_more_than_five_classes_the_label_may_be_among_the_likeliest() {
        let mut scores = Scores::new(7);
        let row = [0.3, 0.2, 0.15, 0.12, 0.1, 0.08, 0.05];
        scores.add(&row, &[4]).unwrap();
        scores.add(&row, &[5]).unwrap();
        close(scores.top5(), 0.5);
        close(scores.top1(), 0.0);
    }

    #[test]
    fn a_class_that_never_occurs_counts_in_no_mean() {
        let mut scores = Scores::new(3);
        scores
            .add(&[0.9, 0.1, 0.0, 0.9, 0.1, 0.0], &[0, 1])
            .unwrap();
        close(scores.balanced_accuracy(), 0.5);
        assert_eq!(scores.of_class(2).recall, None);
        assert_eq!(scores.of_class(2).f1, None);
    }

    #[test]
    fn what_is_no_number_is_an_error_and_names_the_image() {
        let mut scores = scores();
        let error = scores.add(&[0.1, 0.2, f32::NAN], &[0]).unwrap_err();
        assert_eq!(error, NotANumber { image_idx: 6 });
    }
}
