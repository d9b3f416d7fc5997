//! The learning rate of each step.
//!
//! Source: microsoft/SimMIM `lr_scheduler.py` and timm 0.4 `scheduler/`. All of them warm up linearly from
//! one absolute value; what follows is a [`Decay`].

/// What the learning rate does after the warm-up.
#[derive(Debug, Clone, PartialEq)]
pub enum Decay {
    /// Half a cosine from the base to the minimum. Steps count from the start of the warm-up, as in
    /// microsoft/SimMIM, so that the rate drops a little where the warm-up ends.
    Cosine,
    /// Half a cosine that starts where the warm-up ends, as in microsoft/Swin-Transformer.
    CosineAfterWarmup,
    /// A straight line to a hundredth of the base, which starts where the warm-up ends.
    Linear,
    /// Multiplied by `gamma` every `every` steps.
    Step {
        /// Steps between decays.
        every: u64,
        /// The factor.
        gamma: f64,
    },
    /// Multiplied by `gamma` at each of these steps.
    MultiStep {
        /// Steps at which the rate falls, ascending.
        milestones: Vec<u64>,
        /// The factor.
        gamma: f64,
    },
}

/// The fraction of the base that [`Decay::Linear`] ends at.
const LINEAR_END: f64 = 0.01;

/// A learning rate for each step of a run. Rates are absolute: already scaled by the batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    /// The rate at the end of the warm-up.
    pub base_lr: f64,
    /// The rate of the first step of a warm-up.
    pub warmup_lr: f64,
    /// The rate that a cosine ends at.
    pub min_lr: f64,
    /// Steps of the warm-up.
    pub warmup_steps: u64,
    /// Steps of the run.
    pub total_steps: u64,
    /// What follows the warm-up.
    pub decay: Decay,
}

impl Schedule {
    /// The learning rate of step `step`, counted from 0.
    pub fn lr(&self, step: u64) -> f64 {
        if step < self.warmup_steps {
            // Below 1: the base itself is the rate of the first step after the warm-up.
            let done = step as f64 / self.warmup_steps as f64;
            return self.warmup_lr + done * (self.base_lr - self.warmup_lr);
        }
        let after = (step - self.warmup_steps) as f64;
        // A warm-up may last as long as the run or longer, and leaves nothing to divide by.
        let rest = self.total_steps.saturating_sub(self.warmup_steps).max(1) as f64;
        match &self.decay {
            Decay::Cosine => self.cosine(step as f64 / self.total_steps.max(1) as f64),
            Decay::CosineAfterWarmup => self.cosine(after / rest),
            Decay::Linear => self.base_lr * (1.0 - (1.0 - LINEAR_END) * (after / rest).min(1.0)),
            Decay::Step { every, gamma } => {
                // Counted from the first step, warm-up included, as timm does.
                self.base_lr * gamma.powf((step / (*every).max(1)) as f64)
            }
            Decay::MultiStep { milestones, gamma } => {
                let passed = milestones
                    .iter()
                    .filter(|&&milestone| milestone <= step)
                    .count();
                self.base_lr * gamma.powf(passed as f64)
            }
        }
    }

    /// The learning rate of step `step` for a group whose base is scaled. The warm-up begins, and a cosine ends, at the
    /// same rate for all groups.
    ///
    /// Source: microsoft/SimMIM with timm's schedulers: `warmup_lr_init` and `lr_min` are of no group.
    pub fn lr_scaled(&self, step: u64, scale: f64) -> f64 {
        let group = Self {
            base_lr: self.base_lr * scale,
            ..self.clone()
        };
        group.lr(step)
    }

    fn cosine(&self, done: f64) -> f64 {
        // Held at its end: beyond it the cosine would rise again.
        let height = 0.5 * (1.0 + (std::f64::consts::PI * done.min(1.0)).cos());
        self.min_lr + (self.base_lr - self.min_lr) * height
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(decay: Decay) -> Schedule {
        Schedule {
            base_lr: 1.0,
            warmup_lr: 0.1,
            min_lr: 0.2,
            warmup_steps: 10,
            total_steps: 100,
            decay,
        }
    }

    fn assert_rates(decay: Decay, expected: &[(u64, f64)]) {
        let schedule = schedule(decay);
        for &(step, rate) in expected {
            let found = schedule.lr(step);
            assert!(
                (found - rate).abs() < 1e-12,
                "step {step}: {found} is not {rate}"
            );
        }
    }

    #[test]
    fn every_schedule_warms_up_along_a_straight_line() {
        for decay in [
            Decay::Cosine,
            Decay::Linear,
            Decay::Step {
                every: 30,
                gamma: 0.1,
            },
        ] {
            assert_rates(decay, &[(0, 0.1), (5, 0.55), (9, 0.91)]);
        }
    }

    #[test]
    fn the_cosine_of_the_paper_counts_its_warm_up() {
        // 0.2 + 0.8/2 (1 + cos(π/10)) at the end of the warm-up, the middle at half of all steps.
        assert_rates(
            Decay::Cosine,
            &[
                (10, 0.980_422_606_518_061_4),
                (50, 0.6),
                (100, 0.2),
                (200, 0.2),
            ],
        );
    }

    #[test]
    fn the_other_cosine_starts_after_the_warm_up() {
        assert_rates(
            Decay::CosineAfterWarmup,
            &[(10, 1.0), (55, 0.6), (100, 0.2)],
        );
    }

    #[test]
    fn groups_begin_and_end_alike_and_differ_between() {
        let schedule = schedule(Decay::CosineAfterWarmup);
        for (step, rate) in [(0, 0.1), (10, 0.5), (100, 0.2)] {
            assert!((schedule.lr_scaled(step, 0.5) - rate).abs() < 1e-12);
        }
    }

    #[test]
    fn linear_ends_at_a_hundredth() {
        assert_rates(Decay::Linear, &[(10, 1.0), (55, 0.505), (100, 0.01)]);
    }

    #[test]
    fn steps_and_milestones_multiply() {
        assert_rates(
            Decay::Step {
                every: 30,
                gamma: 0.1,
            },
            &[(29, 1.0), (30, 0.1), (60, 0.01)],
        );
        let decay = Decay::MultiStep {
            milestones: vec![70, 90],
            gamma: 0.1,
        };
        assert_rates(decay, &[(69, 1.0), (70, 0.1), (90, 0.01)]);
    }
}
