//! Where the time of a step goes, operation by operation.

use serde_json::{Value, json};
use simmim_device::{OpCost, Peaks};

/// The operations of some steps.
#[derive(Debug)]
pub(super) struct Profile {
    /// The longest first.
    costs: Vec<(&'static str, OpCost)>,
    peaks: Peaks,
    n_steps: f64,
    /// Of all steps.
    total_secs: f64,
}

impl Profile {
    pub(super) fn new(
        mut costs: Vec<(&'static str, OpCost)>,
        peaks: Peaks,
        step_secs: &[f64],
    ) -> Self {
        costs.sort_by(|(_, a), (_, b)| b.secs.total_cmp(&a.secs));
        Self {
            costs,
            peaks,
            n_steps: step_secs.len() as f64,
            total_secs: step_secs.iter().sum(),
        }
    }

    /// Seconds of a step that no operation took: the tape, buffers handed out, images made into tensors.
    fn between_secs(&self) -> f64 {
        let within: f64 = self.costs.iter().map(|(_, cost)| cost.secs).sum();
        (self.total_secs - within) / self.n_steps
    }

    pub(super) fn to_json(&self) -> Value {
        let of = |(op, cost): &(&str, OpCost)| {
            json!({
                "op": op,
                "calls": cost.calls as f64 / self.n_steps,
                "secs": cost.secs / self.n_steps,
                "gflops": cost.gflops(),
                "gbs": cost.gbs(),
                "share_of_step": cost.secs / self.total_secs,
                "share_of_peak": self.peaks.share(cost),
            })
        };
        json!({
            "peak_gflops": self.peaks.gflops,
            "peak_gbs": self.peaks.gbs,
            "between_secs": self.between_secs(),
            "ops": self.costs.iter().map(of).collect::<Vec<_>>(),
        })
    }

    pub(super) fn to_table(&self) -> String {
        let mut lines = vec![
            format!(
                "of a step; peaks: products {:.0} GFLOP/s, memory {:.1} GB/s (stream triad)",
                self.peaks.gflops, self.peaks.gbs
            ),
            format!(
                "{:<26} {:>9} {:>7} {:>8} {:>8} {:>8} {:>8}",
                "operation", "ms", "calls", "GFLOP/s", "GB/s", "of step", "of peak"
            ),
        ];
        lines.extend(self.costs.iter().map(|(op, cost)| {
            // A rate of 0 would read like a very slow product.
            let products = if cost.operations > 0.0 {
                format!("{:.1}", cost.gflops())
            } else {
                "-".to_owned()
            };
            format!(
                "{op:<26} {:>9.2} {:>7.0} {products:>8} {:>8.1} {:>7.1}% {:>7.0}%",
                cost.secs / self.n_steps * 1e3,
                cost.calls as f64 / self.n_steps,
                cost.gbs(),
                cost.secs / self.total_secs * 100.0,
                self.peaks.share(cost) * 100.0,
            )
        }));
        let between = self.between_secs();
        lines.push(format!(
            "{:<26} {:>9.2} {:>7} {:>8} {:>8} {:>7.1}%",
            "between operations",
            between * 1e3,
            "",
            "",
            "",
            between * self.n_steps / self.total_secs * 100.0
        ));
        lines.join("\n")
    }
}
