//! The results as CSV, a row a run, and as Markdown, a row a point.

use std::fmt::Write as _;

use simmim_config::auto::good_avg_dist_px;

use super::point::{Ablation, Point};
use super::result::{RunResult, mean};

/// A run with what is known of it.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) point: Point,
    pub(super) result: Option<RunResult>,
    /// Steps done of a run that has begun.
    done_steps: Option<u64>,
}

impl Row {
    pub(super) fn new(point: Point, result: Option<RunResult>, done_steps: Option<u64>) -> Self {
        Self {
            point,
            result,
            done_steps,
        }
    }

    fn status(&self) -> String {
        match (&self.point.fit, &self.result, self.done_steps) {
            (Err(reason), ..) => format!("left out: {reason}"),
            (_, Some(result), _) => match &result.diverged {
                Some(what) => format!("diverged: {what}"),
                None => "finished".to_owned(),
            },
            (_, None, Some(step)) => format!("begun: {step} steps done"),
            (_, None, None) => "waiting".to_owned(),
        }
    }

    pub(super) fn avg_dist_px(&self) -> Option<f64> {
        self.point.fit.as_ref().ok()?.avg_dist_px
    }

    fn hidden_share(&self) -> Option<f64> {
        Some(self.point.fit.as_ref().ok()?.hidden_share)
    }

    pub(super) fn score(&self) -> Option<f64> {
        self.result.as_ref()?.score
    }

    /// The figures of the result, with the columns' names in CSV and in Markdown.
    fn figures(&self, ablation: &Ablation) -> [Figure; 7] {
        let of = |get: fn(&RunResult) -> Option<f64>| self.result.as_ref().and_then(get);
        let score = ablation.score();
        [
            Figure(
                "images_per_sec",
                "images/s",
                0,
                of(|result| result.images_per_sec),
            ),
            Figure("minutes", "minutes", 1, of(|result| result.minutes)),
            Figure(
                "val_loss_first",
                "own loss, first",
                4,
                of(|result| result.val_loss_first),
            ),
            Figure(
                "val_loss_last",
                "last",
                4,
                of(|result| result.val_loss_last),
            ),
            Figure(
                "val_loss_best",
                "best",
                4,
                of(|result| result.val_loss_best),
            ),
            Figure(score.column(), score.title(), 4, self.score()),
            Figure(
                "train_loss_last_epoch",
                "train loss",
                4,
                of(|result| result.train_loss),
            ),
        ]
    }
}

/// A figure of a result: its column in CSV, in Markdown, the decimals there, and its value.
struct Figure(&'static str, &'static str, usize, Option<f64>);

/// A row a run, every digit of every number.
pub(super) fn csv(ablation: &Ablation, rows: &[Row]) -> String {
    let mut text = String::new();
    for (row_idx, row) in rows.iter().enumerate() {
        let figures = row.figures(ablation);
        if row_idx == 0 {
            let mut names = vec!["run"];
            names.extend(ablation.keys().iter().map(String::as_str));
            names.extend(["seed", "avg_dist_px", "hidden_share", "parameters"]);
            names.extend(figures.iter().map(|figure| figure.0));
            names.push("status");
            text += &csv_line(names.into_iter().map(str::to_owned));
        }
        let number = |value: Option<f64>| value.map_or(String::new(), |value| value.to_string());
        let n_parameters = row
            .point
            .fit
            .as_ref()
            .map(|fit| fit.n_parameters.to_string());
        let mut cells = vec![row.point.name.clone()];
        cells.extend(row.point.values.iter().cloned());
        cells.extend([
            row.point.config.train.seed.to_string(),
            number(row.avg_dist_px()),
            number(row.hidden_share()),
            n_parameters.unwrap_or_default(),
        ]);
        cells.extend(figures.iter().map(|figure| number(figure.3)));
        cells.push(row.status());
        text += &csv_line(cells.into_iter());
    }
    text
}

/// Source: RFC 4180, with a line feed alone at the end.
fn csv_line(cells: impl Iterator<Item = String>) -> String {
    let quoted = |cell: String| {
        if cell.contains([',', '"', '\n', '\r']) {
            format!("\"{}\"", cell.replace('"', "\"\""))
        } else {
            cell
        }
    };
    cells.map(quoted).collect::<Vec<_>>().join(",") + "\n"
}

/// A row a point: means over its seeds and, where there are several, their standard deviation.
pub(super) fn markdown(ablation: &Ablation, rows: &[Row]) -> String {
    let fits: Vec<&Row> = rows.iter().filter(|row| row.point.fit.is_ok()).collect();
    let n_finished = fits.iter().filter(|row| row.result.is_some()).count();
    let mut text = format!(
        "# Ablation {}\n\n{n_finished} of {} runs are finished.\n\n",
        ablation.name(),
        fits.len()
    );
    for (group_idx, group) in groups(&fits).iter().enumerate() {
        let columns = columns(ablation, group);
        if group_idx == 0 {
            let (names, rules): (Vec<_>, Vec<_>) = columns
                .iter()
                .map(|(name, _)| (name.replace('|', "\\|"), "---"))
                .unzip();
            let _ = writeln!(text, "| {} |\n| {} |", names.join(" | "), rules.join(" | "));
        }
        let cells: Vec<String> = columns
            .into_iter()
            .map(|(_, cell)| cell.replace('|', "\\|"))
            .collect();
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    }
    text + &notes(ablation, rows)
}

/// The runs of each point: repeats with different seeds together, in the order of the grid.
pub(super) fn groups<'a>(rows: &[&'a Row]) -> Vec<Vec<&'a Row>> {
    let n_groups = rows.iter().map(|row| row.point.group_idx + 1).max();
    let mut groups = vec![Vec::new(); n_groups.unwrap_or(0)];
    for row in rows {
        groups[row.point.group_idx].push(*row);
    }
    groups.retain(|group| !group.is_empty());
    groups
}

/// Name and cell of each column of Markdown.
fn columns(ablation: &Ablation, group: &[&Row]) -> Vec<(String, String)> {
    let first = group[0];
    let mut columns: Vec<(String, String)> = Vec::new();
    for (key, value) in ablation.keys().iter().zip(&first.point.values) {
        columns.push((key.clone(), value.clone()));
    }
    let mut add = |name: &str, cell: String| columns.push((name.to_owned(), cell));
    let all = |get: &dyn Fn(&Row) -> Option<f64>| -> Vec<f64> {
        group.iter().filter_map(|row| get(row)).collect()
    };
    let avg_dist_px = mean(&all(&Row::avg_dist_px)).map(|px| format!("{px:.1}"));
    add(
        "AvgDist (px)",
        avg_dist_px.unwrap_or_else(|| "–".to_owned()),
    );
    let share = first.hidden_share().unwrap_or_default();
    add("hidden", format!("{:.1} %", 100.0 * share));
    let n_parameters = first.point.fit.as_ref().map_or(0, |fit| fit.n_parameters);
    add("parameters", format!("{:.2} M", n_parameters as f64 / 1e6));
    for (idx, Figure(_, name, decimals, _)) in first.figures(ablation).into_iter().enumerate() {
        let values = all(&|row: &Row| row.figures(ablation)[idx].3);
        add(name, mean_and_spread(&values, decimals));
    }
    add("status", group_status(group));
    columns
}

fn mean_and_spread(values: &[f64], decimals: usize) -> String {
    match (mean(values), spread(values)) {
        (None, _) => "–".to_owned(),
        (Some(mean), None) => format!("{mean:.decimals$}"),
        (Some(mean), Some(spread)) => format!("{mean:.decimals$} ± {spread:.decimals$}"),
    }
}

/// The standard deviation of two values or more, as of a sample.
pub(super) fn spread(values: &[f64]) -> Option<f64> {
    let mean = mean(values).filter(|_| values.len() > 1)?;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    Some((squares / (values.len() - 1) as f64).sqrt())
}

fn group_status(group: &[&Row]) -> String {
    let mut all: Vec<String> = group.iter().map(|row| row.status()).collect();
    let n_finished = all.iter().filter(|status| *status == "finished").count();
    if n_finished == group.len() {
        return "finished".to_owned();
    }
    all.retain(|status| status != "finished");
    all.dedup();
    match n_finished {
        0 => all.join("; "),
        n => format!("{n} of {} seeds finished; {}", group.len(), all.join("; ")),
    }
}

fn notes(ablation: &Ablation, rows: &[Row]) -> String {
    let [low, high] = good_avg_dist_px(ablation.first().config.data.image_size);
    let score = ablation.score();
    let mut text = format!(
        "\n- AvgDist: mean distance of a hidden pixel to the nearest visible one. The paper's good range, {low:.1} to \
         {high:.1} px at this size, is the band of the plot.\n\
         - Own loss: mean error on the held-out images under the run's own masks, before training, at the end, and \
         the least. Under different masks these are no measure of each other.\n\
         - {}: {}. A dash stands where the target, its unit or its classes are \
         others than in the first row, where no image was held out, and where the loss is no number. A run that hides everything or \
         nothing has no AvgDist and no place in the plot.\n\
         - Train loss: mean over the steps of the last epoch. images/s: median over the steps.\n",
        capital(score.title()),
        score.describe(),
    );
    if rows
        .iter()
        .any(|row| row.point.config.train.seed != rows[0].point.config.train.seed)
    {
        text += "- ±: standard deviation over the seeds. A seed also draws which images are held out.\n";
    }
    let misfits = ablation.misfits();
    if !misfits.is_empty() {
        text += "\nLeft out, because they do not fit:\n\n";
        for misfit in misfits {
            let _ = writeln!(text, "- `{}`: {}", misfit.name, misfit.reason);
        }
    }
    text
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().into_iter().flat_map(char::to_uppercase);
    first.chain(letters).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::ablate::Grid;

    pub(crate) fn finished(score: f64) -> RunResult {
        RunResult {
            steps: 9,
            diverged: None,
            images_per_sec: Some(100.0),
            minutes: Some(1.5),
            val_loss_first: Some(1.0),
            val_loss_last: Some(0.5),
            val_loss_best: Some(0.25),
            train_loss: Some(0.75),
            score: Some(score),
            scored_by: None,
            images: String::new(),
        }
    }

    fn example(results: [Option<RunResult>; 6]) -> (Ablation, Vec<Row>) {
        let text = "seeds = [0, 1]\nskip_misfits = true\n[grid]\nmask.cell_px = [8, 12, 16]\n[set]\n\
            data.image_size = 32\nmodel.variant = 'vit-t/8'";
        let grid = Grid::text("mine", "mine.toml", text).unwrap();
        let ablation = Ablation::new(&grid, &[], None);
        let ablation = ablation.unwrap_or_else(|error| panic!("{error}"));
        let points = ablation.points().iter().cloned();
        let rows = points
            .zip(results)
            .map(|(point, result)| Row::new(point, result, None));
        let rows = rows.collect();
        (ablation, rows)
    }

    #[test]
    fn a_row_of_markdown_has_the_mean_and_the_spread_of_its_seeds() {
        let results = [
            Some(finished(0.2)),
            None,
            None,
            Some(finished(0.4)),
            None,
            None,
        ];
        let (ablation, rows) = example(results);
        let text = markdown(&ablation, &rows);
        assert!(text.contains("2 of 4 runs are finished"), "{text}");
        assert!(
            text.contains("| 0.3000 ± 0.1414 | 0.7500 ± 0.0000 | finished |"),
            "{text}"
        );
        assert!(text.contains("| – | – | waiting |"), "{text}");
        assert!(
            text.contains("- `mask.cell_px=12,seed=0`: a mask cell of 12 px"),
            "{text}"
        );
        let n_bars: Vec<usize> = text
            .lines()
            .filter(|line| line.starts_with('|'))
            .map(|line| line.matches('|').count())
            .collect();
        assert_eq!(n_bars, [13; 4]);
    }

    #[test]
    fn csv_has_a_row_a_run_and_quotes_what_has_commas() {
        let (ablation, rows) = example([Some(finished(0.125)), None, None, None, None, None]);
        let text = csv(&ablation, &rows);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 7);
        assert!(lines[0].starts_with("run,mask.cell_px,seed,avg_dist_px,"));
        assert!(lines[1].starts_with("\"mask.cell_px=8,seed=0\",8,0,"));
        assert!(lines[1].ends_with(",100,1.5,1,0.5,0.25,0.125,0.75,finished"));
        assert!(
            lines[2].contains(",\"left out: a mask cell of 12 px"),
            "{text}"
        );
    }

    #[test]
    fn a_quote_in_a_cell_is_doubled() {
        let line = csv_line(["a \"b\"".to_owned(), "c".to_owned()].into_iter());
        assert_eq!(line, "\"a \"\"b\"\"\",c\n");
    }

    #[test]
    fn the_spread_of_one_value_is_not_known() {
        assert_eq!(spread(&[1.0]), None);
        assert_eq!(spread(&[1.0, 3.0]), Some(2.0_f64.sqrt()));
    }
}
