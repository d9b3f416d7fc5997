//! Which training images a sweep is fitted to, and which judge it.

use simmim_random::{Purpose, Stream};

/// Of so many training images one is kept to judge the sweep by.
const ONE_OF: usize = 5;
/// Images that a fit of the sweep takes at most: which feature is best shows with fewer than all.
const MAX_OF_SWEEP: usize = 10_000;

/// The training images' rows as the sweep uses them, each list in the order of the rows.
pub(crate) struct Division {
    pub(crate) judge: Vec<usize>,
    pub(crate) fit: Vec<usize>,
}

impl Division {
    /// A fifth of each class judges, as nearly as whole images allow, and each class keeps an image to be fitted to. Which
    /// ones is drawn, because the order of the rows may follow the classes.
    pub(crate) fn new(
        rows: &[usize],
        n_classes: usize,
        class_of: impl Fn(usize) -> usize,
        seed: u64,
    ) -> Self {
        let mut draws = Stream::new(seed, Purpose::Split).at(0, 1);
        let mut classes = vec![Vec::new(); n_classes];
        for at in draws.permutation(rows.len()) {
            classes[class_of(rows[at])].push(rows[at]);
        }
        // What classes have over whole fifths adds up to images of the next ones.
        let (mut judge, mut fit, mut over) = (Vec::new(), Vec::new(), 0);
        for class in classes {
            over += class.len();
            // An image to fit to is worth more than one to judge by: the last of a class is kept.
            let n_judges = (over / ONE_OF).min(class.len().saturating_sub(1));
            over -= n_judges * ONE_OF;
            judge.extend(&class[..n_judges]);
            fit.extend(&class[n_judges..]);
        }
        // Thinned out before the rows are sorted, while each class stands together: every class keeps its part.
        let every = fit.len().div_ceil(MAX_OF_SWEEP).max(1);
        let mut fit: Vec<usize> = fit.into_iter().step_by(every).collect();
        judge.sort_unstable();
        fit.sort_unstable();
        Self { judge, fit }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_goes_round_the_classes_is_judged_by_all_of_them() {
        let rows: Vec<usize> = (0..100).collect();
        let counts = |part: &[usize]| {
            let mut counts = [0; 5];
            for row in part {
                counts[row % 5] += 1;
            }
            counts
        };
        let sweep = Division::new(&rows, 5, |row| row % 5, 0);
        assert_eq!(counts(&sweep.judge), [4; 5]);
        assert_eq!(counts(&sweep.fit), [16; 5]);
        let other = Division::new(&rows, 5, |row| row % 5, 1);
        assert_eq!(counts(&other.judge), [4; 5]);
        assert_ne!(other.judge, sweep.judge, "another seed, other images");

        // More than the sweep fits to: of each class a part, whatever the order.
        let rows: Vec<usize> = (0..60_000).collect();
        let sweep = Division::new(&rows, 5, |row| row % 5, 0);
        assert_eq!(counts(&sweep.fit), [1920; 5]);
    }

    #[test]
    fn classes_of_few_images_judge_together_and_each_keeps_one_to_be_fitted_to() {
        let rows: Vec<usize> = (0..20).collect();
        let sweep = Division::new(&rows, 10, |row| row / 2, 0);
        assert_eq!((sweep.judge.len(), sweep.fit.len()), (4, 16));
        let lonely = Division::new(&rows, 20, |row| row, 0);
        assert!(lonely.judge.is_empty());
    }
}
