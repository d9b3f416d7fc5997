//! What the runs of a sweep take together.

use simmim_train::{Event, Observer};

/// How long a run is beside others of its sweep.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Length {
    /// Its steps.
    pub(crate) n_steps: u64,
    /// What one of them costs, in a unit of the sweep's own.
    pub(crate) step_cost: f64,
}

/// Watches the first run that is left, and tells with what it takes what all take.
pub(super) struct Together<'o> {
    observer: &'o mut dyn Observer,
    /// Of the runs that are left, the first one first.
    lengths: Vec<Length>,
    is_told: bool,
}

impl<'o> Together<'o> {
    pub(super) fn new(observer: &'o mut dyn Observer, lengths: Vec<Length>) -> Self {
        Self {
            observer,
            // One run says itself what it takes.
            is_told: lengths.len() < 2,
            lengths,
        }
    }
}

impl Observer for Together<'_> {
    fn see(&mut self, event: &Event<'_>) {
        self.observer.see(event);
        let Event::Estimate(found) = event else {
            return;
        };
        let Some((first, others)) = self.lengths.split_first().filter(|_| !self.is_told) else {
            return;
        };
        self.is_told = true;
        let steps = |other: &Length| other.n_steps as f64 * other.step_cost / first.step_cost;
        let n_steps: f64 = others.iter().map(steps).sum();
        self.observer.see(&Event::AllRuns {
            n_runs: self.lengths.len(),
            secs: found.secs + found.step_secs * n_steps,
        });
    }
}
