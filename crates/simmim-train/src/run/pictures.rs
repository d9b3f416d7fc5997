//! When a run draws a picture of reconstructions.

use simmim_config::RawConfig;

/// Pictures that a run draws at most, beside the first and the last: enough to see it learn, and hundreds of epochs of a few images do
/// not fill a disk with them.
const MOST: u64 = 50;

/// The validations of a run with which a picture is drawn.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pictures {
    /// Steps between two of them; 0 where only the first is drawn.
    spacing: u64,
    total_steps: u64,
}

impl Pictures {
    pub(crate) fn of(config: &RawConfig, steps_per_epoch: u64) -> Self {
        let total_steps = config.schedule(steps_per_epoch).total_steps;
        let every = config.train.validate_every_epochs as u64;
        let spacing = match every.saturating_mul(steps_per_epoch) {
            0 => 0,
            every => total_steps.div_ceil(every).div_ceil(MOST).max(1) * every,
        };
        Self {
            spacing,
            total_steps,
        }
    }

    /// Whether one is drawn with the validation after this step.
    pub(crate) fn is_due(self, step: u64) -> bool {
        step == self.total_steps || step.is_multiple_of(self.spacing)
    }

    /// How many are drawn after so many steps are done; with that before the first step.
    pub(crate) fn n_after(self, done_steps: u64) -> u64 {
        let first = u64::from(done_steps == 0);
        let n_until = |step: u64| step.checked_div(self.spacing).unwrap_or_default();
        let is_last_apart = self.spacing > 0
            && done_steps < self.total_steps
            && !self.total_steps.is_multiple_of(self.spacing);
        let between = n_until(self.total_steps).saturating_sub(n_until(done_steps));
        first + between + u64::from(is_last_apart)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pictures(epochs: usize, every: usize) -> Pictures {
        let mut config = RawConfig::default();
        config.train.epochs = epochs;
        config.train.validate_every_epochs = every;
        Pictures::of(&config, 3)
    }

    #[test]
    fn a_long_run_draws_few_of_them_and_always_the_first_and_the_last() {
        for (epochs, every) in [
            (1, 1),
            (7, 2),
            (50, 1),
            (51, 1),
            (803, 1),
            (800, 7),
            (9, 20),
        ] {
            let found = pictures(epochs, every);
            let total = 3 * epochs as u64;
            let is_validated =
                |step: &u64| *step == 0 || *step == total || step.is_multiple_of(3 * every as u64);
            let drawn: Vec<u64> = (0..=total)
                .filter(is_validated)
                .filter(|step| found.is_due(*step))
                .collect();
            let n_validated = (0..=total).filter(is_validated).count();
            assert!(drawn.len() == n_validated || drawn.len() <= MOST as usize + 2);
            assert_eq!((drawn[0], drawn[drawn.len() - 1]), (0, total));
            for done in 0..=total {
                let left = drawn.iter().filter(|step| **step > done).count();
                let expected = (left + usize::from(done == 0)) as u64;
                assert_eq!(found.n_after(done), expected, "{epochs} {every} {done}");
            }
        }
        assert_eq!(pictures(800, 1).n_after(0), 51);
    }

    #[test]
    fn a_run_that_is_never_validated_draws_the_first() {
        let found = pictures(5, 0);
        assert!(found.is_due(0));
        assert_eq!([0, 3, 15].map(|done| found.n_after(done)), [1, 0, 0]);
    }
}
