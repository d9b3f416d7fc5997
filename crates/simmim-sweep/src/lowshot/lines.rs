//! The lines of a comparison: both starts, and what pixels come to.

use std::collections::BTreeMap;

use super::comparison::{LowShotResult, Start};
use crate::sweep::statistics::{mean, spread};

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Line {
    Pretrained,
    Scratch,
    Logistic,
    Neighbours,
    Majority,
}

impl Line {
    /// Both starts first.
    pub(super) const ALL: [Self; 5] = [
        Self::Pretrained,
        Self::Scratch,
        Self::Logistic,
        Self::Neighbours,
        Self::Majority,
    ];

    /// What it is called.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Pretrained => "pretrained",
            Self::Scratch => "scratch",
            Self::Logistic => "logistic regression on pixels",
            Self::Neighbours => "nearest neighbours on pixels",
            Self::Majority => "majority class",
        }
    }

    /// Whether it costs nothing.
    pub(super) fn is_baseline(self) -> bool {
        !matches!(self, Self::Pretrained | Self::Scratch)
    }

    /// The lines that a result has a value of, with that.
    fn of(result: &LowShotResult) -> Vec<(Self, f64)> {
        let start = match result.start {
            Start::Pretrained => Self::Pretrained,
            Start::Scratch => Self::Scratch,
        };
        let mut found = vec![(start, result.accuracy)];
        if let Some(baselines) = &result.baselines {
            found.extend([
                (Self::Logistic, baselines.logistic),
                (Self::Neighbours, baselines.neighbours),
                (Self::Majority, baselines.majority),
            ]);
        }
        found
    }
}

/// The values of one share and line.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) share: f64,
    pub(super) line: Line,
    pub(super) accuracies: Vec<f64>,
}

impl Group {
    pub(super) fn mean(&self) -> f64 {
        mean(&self.accuracies).expect("a group has a value")
    }

    /// The standard deviation of the sample; none of a single value.
    pub(super) fn spread(&self) -> Option<f64> {
        spread(&self.accuracies)
    }
}

/// The values by share and line, the smallest share first.
pub(super) fn groups(results: &[&LowShotResult]) -> Vec<Group> {
    // Shares are above 0, and of such floats the bits are in their order.
    let mut found: BTreeMap<(u64, Line), Group> = BTreeMap::new();
    for result in results {
        for (line, accuracy) in Line::of(result) {
            let share = result.share;
            let group = found.entry((share.to_bits(), line)).or_insert(Group {
                share,
                line,
                accuracies: Vec::new(),
            });
            group.accuracies.push(accuracy);
        }
    }
    found.into_values().collect()
}
