//! A micro-batch: samples, masks, targets, and where each belongs.

/// The epoch whose counters the crops and masks of held-out images are drawn from, so that they
/// stay the same throughout a run. No run reaches it.
pub const FIXED_EPOCH: u64 = u64::MAX;

/// The samples of one micro-batch.
///
/// # Shapes
/// `images`: `[B, C, H, W]`. `hidden`: `[B, h, w]`, empty without masks. `targets`: `[B, K]`, empty without
/// labels. `entry_idx`, `places`: `[B]`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Batch {
    /// Normalised samples.
    pub images: Vec<f32>,
    /// `[C, H, W]`.
    pub image_shape: [usize; 3],
    /// Whether each patch is hidden.
    pub hidden: Vec<bool>,
    /// `[h, w]` in patches; zeros without masks.
    pub grid: [usize; 2],
    /// What is to be predicted: for each class 1 where the image has that label, else 0; in training smoothed and
    /// mixed, where the plan has a [`crate::Mixing`].
    pub targets: Vec<f32>,
    /// Classes, K; 0 without labels.
    pub n_classes: usize,
    /// Whether an image may have several labels, or none.
    pub multi_label: bool,
    /// Which image of the data set each sample shows; of a mixed one, the image it is a mixture with another of.
    pub entry_idx: Vec<usize>,
    /// The place of each sample: in training among all samples of its step, over all micro-batches and processes;
    /// else among the images of the pass. In ascending order.
    pub places: Vec<usize>,
    /// The epoch that crops and masks were drawn for, or [`FIXED_EPOCH`].
    pub epoch: u64,
    /// The optimiser step in training, else the number of the batch.
    pub step: u64,
    /// Which micro-batch of the step.
    pub micro_idx: usize,
}

impl Batch {
    /// The number of samples, B.
    pub fn len(&self) -> usize {
        self.entry_idx.len()
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.entry_idx.is_empty()
    }

    /// The same samples over and over until there are `n`, each at a place of its own: a batch that costs what one of `n` images
    /// costs, to measure by. None of none.
    #[must_use]
    pub fn repeated(&self, n: usize) -> Self {
        let n = if self.is_empty() { 0 } else { n };
        Self {
            images: repeat_rows(&self.images, self.len(), n),
            hidden: repeat_rows(&self.hidden, self.len(), n),
            targets: repeat_rows(&self.targets, self.len(), n),
            entry_idx: repeat_rows(&self.entry_idx, self.len(), n),
            places: (0..n).collect(),
            ..*self
        }
    }

    /// Takes all samples out and keeps their memory.
    pub(crate) fn clear(&mut self) {
        self.images.clear();
        self.hidden.clear();
        self.targets.clear();
        self.entry_idx.clear();
        self.places.clear();
    }

    /// Drops the samples whose places are not among `kept`, which are in ascending order.
    pub(crate) fn retain_places(&mut self, kept: &[usize]) {
        let is_kept = |place: &usize| kept.binary_search(place).is_ok();
        let rows: Vec<bool> = self.places.iter().map(is_kept).collect();
        self.retain(&rows);
    }

    /// Keeps the samples that `kept` says, `[B]`.
    fn retain(&mut self, kept: &[bool]) {
        if kept.iter().all(|is_kept| *is_kept) {
            return;
        }
        retain_rows(&mut self.images, kept);
        retain_rows(&mut self.hidden, kept);
        retain_rows(&mut self.targets, kept);
        retain_rows(&mut self.entry_idx, kept);
        retain_rows(&mut self.places, kept);
    }
}

/// Keeps those of equally long rows that `kept` says, in their order.
fn retain_rows<T: Copy>(values: &mut Vec<T>, kept: &[bool]) {
    let row_len = values.len() / kept.len().max(1);
    let mut filled = 0;
    for (row, _) in kept.iter().enumerate().filter(|(_, kept)| **kept) {
        values.copy_within(row * row_len..(row + 1) * row_len, filled);
        filled += row_len;
    }
    values.truncate(filled);
}

/// `n` rows: those of `n_rows` equally long ones, again and again.
fn repeat_rows<T: Copy>(values: &[T], n_rows: usize, n: usize) -> Vec<T> {
    let row_len = values.len() / n_rows.max(1);
    let endless = values.iter().copied().cycle();
    endless.take(n * row_len).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_samples_of_other_places_are_dropped_with_all_that_belongs_to_them() {
        let mut batch = Batch {
            images: vec![1., 2., 3., 4., 5., 6., 7., 8.],
            hidden: vec![true, false, true, false],
            entry_idx: vec![40, 41, 42, 43],
            places: vec![2, 3, 7, 9],
            ..Batch::default()
        };
        batch.retain_places(&[3, 9]);
        let expected = Batch {
            images: vec![3., 4., 7., 8.],
            hidden: vec![false, false],
            entry_idx: vec![41, 43],
            places: vec![3, 9],
            ..Batch::default()
        };
        assert_eq!(batch, expected);
        batch.retain(&[true, true]);
        assert_eq!(batch.len(), 2);
        batch.retain(&[true, false]);
        assert_eq!(
            (batch.images.as_slice(), batch.places.as_slice()),
            (&[3., 4.][..], &[3][..])
        );
        batch.retain_places(&[]);
        assert_eq!(batch, Batch::default());
    }

    #[test]
    fn repeated_samples_keep_their_rows_together() {
        let batch = Batch {
            images: vec![1., 2., 3., 4.],
            targets: vec![0.5, 0.25],
            entry_idx: vec![8, 9],
            places: vec![4, 6],
            n_classes: 1,
            ..Batch::default()
        };
        let repeated = batch.repeated(3);
        assert_eq!(repeated.images, [1., 2., 3., 4., 1., 2.]);
        assert_eq!(repeated.targets, [0.5, 0.25, 0.5]);
        assert_eq!(
            (repeated.entry_idx, repeated.places),
            (vec![8, 9, 8], vec![0, 1, 2])
        );
        assert_eq!((repeated.hidden.len(), repeated.n_classes), (0, 1));
        assert_eq!(batch.repeated(1).images, [1., 2.]);
        assert_eq!(Batch::default().repeated(5), Batch::default());
    }
}
