//! The results of a comparison as CSV and as Markdown.

use std::fmt::Write as _;

use simmim_eval::baselines::{Baseline, Baselines, Compared, warning};
use simmim_eval::report;

use super::comparison::LowShotResult;
use super::lines::{Group, Line, groups};

/// A row a run, every digit of every number. What pixels come to stands in the rows of both starts of a seed.
pub(super) fn csv(results: &[&LowShotResult]) -> String {
    let head = [
        "labels",
        "start",
        "seed",
        "top1",
        "images",
        "unreadable",
        "steps",
        "logistic_on_pixels",
        "neighbours_on_pixels",
        "majority_class",
        "minutes",
    ];
    let row = |result: &&LowShotResult| {
        let is_beside = |other: &&&LowShotResult| {
            other.share == result.share && other.seed == result.seed && other.baselines.is_some()
        };
        let beside = results.iter().find(is_beside);
        let baselines = beside.and_then(|other| other.baselines);
        let cell =
            |of: fn(&Baselines) -> f64| baselines.map_or(String::new(), |b| of(&b).to_string());
        vec![
            result.share.to_string(),
            result.start.to_string(),
            result.seed.to_string(),
            result.accuracy.to_string(),
            result.n_images.to_string(),
            result.n_unreadable.to_string(),
            result.steps.to_string(),
            cell(|b| b.logistic),
            cell(|b| b.neighbours),
            cell(|b| b.majority),
            result.minutes.to_string(),
        ]
    };
    report::csv(head, results.iter().map(row))
}

/// A row a share: both starts, the difference of their means, and what pixels come to.
pub(super) fn markdown(results: &[&LowShotResult]) -> String {
    let names = Line::ALL.map(Line::name);
    let [pretrained, scratch, baselines @ ..] = &names;
    let mut table = format!(
        "| labels | {pretrained} | {scratch} | difference | {} | seeds |\n|---|---|---|---|---|---|---|---|\n",
        baselines.join(" | ")
    );
    let groups = groups(results);
    // The groups are in the order of their shares, so all lines of a share are neighbours.
    for of_share in groups.chunk_by(|a, b| a.share == b.share) {
        // Writing to a string cannot fail.
        let _ = writeln!(table, "{}", row(of_share));
    }
    table += "\nTop-1 accuracy on the test images: mean and standard deviation over the seeds. Pixels are those of the same images \
              with the same labels, shrunk to as many as a square of 32 has.\n";
    for warning in warnings(results) {
        let _ = write!(table, "\n{warning}.\n");
    }
    table
}

fn row(of_share: &[Group]) -> String {
    let of = |line| of_share.iter().find(|group| group.line == line);
    let cell = |line| match of(line) {
        None => "–".to_owned(),
        Some(group) => match group.spread() {
            Some(spread) => format!("{:.2} ± {:.2} %", 100.0 * group.mean(), 100.0 * spread),
            None => format!("{:.2} %", 100.0 * group.mean()),
        },
    };
    let difference = match (of(Line::Pretrained), of(Line::Scratch)) {
        (Some(one), Some(other)) => format!("{:+.2}", 100.0 * (one.mean() - other.mean())),
        _ => "–".to_owned(),
    };
    let [pretrained, scratch, baselines @ ..] = Line::ALL.map(cell);
    // While the comparison is under way one start may be ahead of the other; the difference rests on the fewer.
    let starts = [Line::Pretrained, Line::Scratch].into_iter().filter_map(of);
    let n_seeds = starts.map(|group| group.accuracies.len()).min();
    format!(
        "| {} % | {pretrained} | {scratch} | {difference} | {} | {} |",
        100.0 * of_share[0].share,
        baselines.join(" | "),
        n_seeds.unwrap_or(0)
    )
}

/// A sentence for each share of the labels at which something that costs nothing is as good as the pre-trained encoder.
pub fn warnings(results: &[&LowShotResult]) -> Vec<String> {
    let groups = groups(results);
    let mut found = Vec::new();
    for of_share in groups.chunk_by(|a, b| a.share == b.share) {
        let is_ours = |group: &&Group| group.line == Line::Pretrained;
        let Some(ours) = of_share.iter().find(is_ours) else {
            continue;
        };
        let share = 100.0 * ours.share;
        let others = of_share.iter().filter(|group| group.line.is_baseline());
        let others = others.map(|group| Baseline {
            name: group.line.name(),
            accuracy: group.mean(),
        });
        let others: Vec<Baseline> = others.collect();
        let ours = Compared {
            name: "the fine-tuned encoder",
            accuracy: ours.mean(),
            is_pretrained: true,
        };
        let text = warning(&others, ours);
        found.extend(text.map(|text| format!("with {share} % of the labels {text}")));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lowshot::Start;

    fn result(share: f64, start: Start, seed: u64, accuracy: f64) -> LowShotResult {
        LowShotResult {
            share,
            start,
            seed,
            accuracy,
            n_images: 100,
            n_unreadable: 0,
            steps: 10,
            minutes: 0.5,
            baselines: None,
        }
    }

    fn baselines([logistic, neighbours, majority]: [f64; 3]) -> Baselines {
        Baselines {
            majority,
            neighbours,
            k: 5,
            logistic,
            lambda: 0.1,
            n_train: 10,
            n_fitted: 10,
            n_measured: 100,
        }
    }

    fn results() -> Vec<LowShotResult> {
        vec![
            result(1.0, Start::Pretrained, 0, 0.9),
            result(0.1, Start::Scratch, 0, 0.4),
            result(0.1, Start::Pretrained, 0, 0.5),
            result(0.1, Start::Pretrained, 1, 0.6),
            result(0.1, Start::Scratch, 1, 0.42),
        ]
    }

    #[test]
    fn the_table_has_means_and_spreads_and_the_smallest_share_first() {
        let results = results();
        let results: Vec<&LowShotResult> = results.iter().collect();
        let text = markdown(&results);
        let rows: Vec<&str> = text.lines().skip(2).take(2).collect();
        assert_eq!(
            rows[0],
            "| 10 % | 55.00 ± 7.07 % | 41.00 ± 1.41 % | +14.00 | – | – | – | 2 |"
        );
        assert_eq!(rows[1], "| 100 % | 90.00 % | – | – | – | – | – | 1 |");
        assert_eq!(csv(&results).lines().count(), 6);
        assert_eq!(warnings(&results), [""; 0]);
    }

    #[test]
    fn what_pixels_come_to_stands_beside_both_starts_and_is_named_where_it_is_as_good() {
        let mut results = results();
        results[2].baselines = Some(baselines([0.5, 0.25, 0.125]));
        results[3].baselines = Some(baselines([0.7, 0.25, 0.125]));
        let results: Vec<&LowShotResult> = results.iter().collect();
        let text = markdown(&results);
        let row = "| 10 % | 55.00 ± 7.07 % | 41.00 ± 1.41 % | +14.00 | 60.00 ± 14.14 % | 25.00 ± 0.00 % | 12.50 ± 0.00 % | 2 |";
        assert!(text.lines().any(|line| line == row), "{text}");
        let says = "with 10 % of the labels logistic regression on pixels gets 60.00 %, which is no less than the fine-tuned \
                    encoder with 55.00 %";
        let warnings = warnings(&results);
        assert!(
            warnings.len() == 1 && warnings[0].starts_with(says),
            "{warnings:?}"
        );
        assert!(text.contains(&warnings[0]), "{text}");
        let csv = csv(&results);
        let of_scratch = csv.lines().find(|line| line.starts_with("0.1,scratch,1"));
        assert_eq!(
            of_scratch,
            Some("0.1,scratch,1,0.42,100,0,10,0.7,0.25,0.125,0.5")
        );
        let of_all = csv.lines().find(|line| line.starts_with("1,pretrained"));
        assert_eq!(of_all, Some("1,pretrained,0,0.9,100,0,10,,,,0.5"));
    }
}
