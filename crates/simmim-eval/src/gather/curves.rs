//! The log of a run as plots.

use simmim_report::{Line, Plot, Point};
use simmim_train::metrics::Record;

/// What is plotted of a record; nothing where the record has none of it.
struct Curve {
    plot: &'static str,
    unit: &'static str,
    name: &'static str,
    value: fn(&Record) -> Option<f64>,
}

/// Those of one plot follow each other.
const CURVES: [Curve; 7] = [
    Curve {
        plot: "Loss",
        unit: "",
        name: "training",
        value: |record| Some(record.loss),
    },
    Curve {
        plot: "Loss",
        unit: "",
        name: "held-out",
        value: |record| record.val_loss,
    },
    Curve {
        plot: "Accuracy",
        unit: "%",
        name: "held-out",
        value: |record| record.val_accuracy.map(|share| 100.0 * share),
    },
    Curve {
        plot: "Learning rate",
        unit: "",
        name: "rate",
        value: |record| Some(record.lr),
    },
    Curve {
        plot: "Gradient norm",
        unit: "before it is clipped",
        name: "norm",
        value: |record| Some(record.grad_norm),
    },
    Curve {
        plot: "Speed",
        unit: "images/s",
        name: "rate",
        value: |record| Some(record.images_per_sec),
    },
    Curve {
        plot: "Waiting for images",
        unit: "% of the time",
        name: "share",
        value: |record| Some(100.0 * record.data_wait),
    },
];

pub(super) fn plots(records: &[Record]) -> Vec<Plot> {
    plots_of(|curve| vec![line(curve.name, curve, records)])
}

/// The same of several runs: a line for each run and curve.
pub(super) fn plots_of_runs<'a>(
    runs: impl Iterator<Item = (&'a str, &'a [Record])> + Clone,
) -> Vec<Plot> {
    plots_of(|curve| {
        let is_only = CURVES
            .iter()
            .filter(|other| other.plot == curve.plot)
            .count()
            == 1;
        let of_run = |(name, records): (&str, &[Record])| {
            let name = if is_only {
                name.to_owned()
            } else {
                format!("{name}, {}", curve.name)
            };
            line(&name, curve, records)
        };
        runs.clone().map(of_run).collect()
    })
}

fn plots_of(lines: impl Fn(&Curve) -> Vec<Line>) -> Vec<Plot> {
    let groups = CURVES.chunk_by(|a, b| a.plot == b.plot);
    let plot = |group: &[Curve]| Plot {
        title: group[0].plot.to_owned(),
        unit: group[0].unit.to_owned(),
        lines: group.iter().flat_map(&lines).collect(),
    };
    groups.map(plot).collect()
}

fn line(name: &str, curve: &Curve, records: &[Record]) -> Line {
    let point = |record: &Record| {
        (curve.value)(record).map(|value| Point {
            step: record.step,
            value,
        })
    };
    Line {
        name: name.to_owned(),
        points: records.iter().filter_map(point).collect(),
    }
}
