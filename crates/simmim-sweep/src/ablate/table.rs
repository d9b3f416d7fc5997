//! The results as CSV, a row a run, and as Markdown, a row a point.

use std::fmt::Write as _;

use simmim_config::auto::good_avg_dist_px;
use simmim_eval::report;

use super::point::{Ablation, Point};
use super::result::RunResult;
use super::score::Score;
use crate::sweep::State;
use crate::sweep::statistics::{mean, spread};

/// A run with what is known of it.
#[derive(Debug)]
pub(super) struct Row<'a> {
    pub(super) point: &'a Point,
    state: State<'a, RunResult>,
}

impl<'a> Row<'a> {
    pub(super) fn new(point: &'a Point, state: State<'a, RunResult>) -> Self {
        Self { point, state }
    }

    fn status(&self) -> String {
        match (&self.point.fit, &self.state) {
            (Err(reason), _) => format!("left out: {reason}"),
            (_, State::Done(result)) => match &result.diverged {
                Some(what) => format!("diverged: {what}"),
                None => "finished".to_owned(),
            },
            (_, State::Begun { steps }) => format!("begun: {steps} steps done"),
            (_, State::Waiting) => "waiting".to_owned(),
        }
    }

    pub(super) fn avg_dist_px(&self) -> Option<f64> {
        self.point.fit.as_ref().ok()?.avg_dist_px
    }

    fn hidden_share(&self) -> Option<f64> {
        Some(self.point.fit.as_ref().ok()?.hidden_share)
    }

    pub(super) fn score(&self) -> Option<f64> {
        self.state.result()?.score
    }

    /// The figures of the result, in the order of the columns.
    fn figures(&self, score: &Score) -> [Figure; 7] {
        let figure = |column, title, decimals, of: fn(&RunResult) -> Option<f64>| Figure {
            column,
            title,
            decimals,
            value: self.state.result().and_then(of),
        };
        [
            figure("images_per_sec", "images/s", 0, |run| run.images_per_sec),
            figure("minutes", "minutes", 1, |run| run.minutes),
            figure("val_loss_first", "own loss, first", 4, |run| {
                run.val_loss_first
            }),
            figure("val_loss_last", "last", 4, |run| run.val_loss_last),
            figure("val_loss_best", "best", 4, |run| run.val_loss_best),
            figure(score.column(), score.title(), 4, |run| run.score),
            figure("train_loss_last_epoch", "train loss", 4, |run| {
                run.train_loss
            }),
        ]
    }
}

/// A figure of a result.
struct Figure {
    /// Its column in CSV.
    column: &'static str,
    /// Its column in Markdown.
    title: &'static str,
    /// The decimals in Markdown.
    decimals: usize,
    value: Option<f64>,
}

/// A row a run, every digit of every number.
pub(super) fn csv(ablation: &Ablation, rows: &[Row<'_>]) -> String {
    let score = ablation.score();
    let mut names = vec!["run"];
    names.extend(ablation.keys().iter().map(String::as_str));
    names.extend(["seed", "avg_dist_px", "hidden_share", "parameters"]);
    // The columns are the same for all rows.
    let figures = rows.first().map(|row| row.figures(score));
    names.extend(figures.iter().flatten().map(|figure| figure.column));
    names.push("status");
    report::csv(names, rows.iter().map(|row| csv_cells(row, score)))
}

fn csv_cells(row: &Row<'_>, score: &Score) -> Vec<String> {
    let number = |value: Option<f64>| value.map_or(String::new(), |value| value.to_string());
    let fit = row.point.fit.as_ref().ok();
    let mut cells = vec![row.point.name.clone()];
    cells.extend(row.point.values.iter().cloned());
    cells.extend([
        row.point.config.train.seed.to_string(),
        number(row.avg_dist_px()),
        number(row.hidden_share()),
        fit.map_or(String::new(), |fit| fit.n_parameters.to_string()),
    ]);
    let figures = row.figures(score);
    cells.extend(figures.iter().map(|figure| number(figure.value)));
    cells.push(row.status());
    cells
}

/// A row a point: means over its seeds and, where there are several, their standard deviation.
pub(super) fn markdown(ablation: &Ablation, rows: &[Row<'_>]) -> String {
    let fits: Vec<&Row<'_>> = rows.iter().filter(|row| row.point.fit.is_ok()).collect();
    let n_finished = fits
        .iter()
        .filter(|row| row.state.result().is_some())
        .count();
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
            // A bar would end the cell; TOML values may have one.
            .map(|(_, cell)| cell.replace('|', "\\|"))
            .collect();
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    }
    text + &notes(ablation, rows)
}

/// The runs of each point: repeats with different seeds together, in the order of the grid.
pub(super) fn groups<'a>(rows: &[&'a Row<'a>]) -> Vec<Vec<&'a Row<'a>>> {
    let n_groups = rows.iter().map(|row| row.point.group_idx + 1).max();
    let mut groups = vec![Vec::new(); n_groups.unwrap_or(0)];
    for row in rows {
        groups[row.point.group_idx].push(*row);
    }
    // Points that do not fit have a number too, and no row here.
    groups.retain(|group| !group.is_empty());
    groups
}

/// Name and cell of each column of Markdown.
fn columns(ablation: &Ablation, group: &[&Row<'_>]) -> Vec<(String, String)> {
    let first = group[0];
    let score = ablation.score();
    let mut columns: Vec<(String, String)> = Vec::new();
    for (key, value) in ablation.keys().iter().zip(&first.point.values) {
        columns.push((key.clone(), value.clone()));
    }
    let mut add = |name: &str, cell: String| columns.push((name.to_owned(), cell));
    let all = |get: &dyn Fn(&Row<'_>) -> Option<f64>| -> Vec<f64> {
        group.iter().filter_map(|row| get(row)).collect()
    };
    let avg_dist_px = mean(&all(&|row| row.avg_dist_px())).map(|px| format!("{px:.1}"));
    add(
        "AvgDist (px)",
        avg_dist_px.unwrap_or_else(|| "–".to_owned()),
    );
    let share = first.hidden_share().unwrap_or_default();
    add("hidden", format!("{:.1} %", 100.0 * share));
    let n_parameters = first.point.fit.as_ref().map_or(0, |fit| fit.n_parameters);
    add("parameters", format!("{:.2} M", n_parameters as f64 / 1e6));
    for (idx, figure) in first.figures(score).into_iter().enumerate() {
        let values = all(&|row| row.figures(score)[idx].value);
        add(figure.title, mean_and_spread(&values, figure.decimals));
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

fn group_status(group: &[&Row<'_>]) -> String {
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

fn notes(ablation: &Ablation, rows: &[Row<'_>]) -> String {
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

    /// The rows of points of which the first ones are done.
    pub(crate) fn rows<'a>(
        ablation: &'a Ablation,
        results: &'a [Option<RunResult>],
    ) -> Vec<Row<'a>> {
        let state = |idx| match results.get(idx) {
            Some(Some(result)) => State::Done(result),
            _ => State::Waiting,
        };
        let points = ablation.points().iter().enumerate();
        points
            .map(|(idx, point)| Row::new(point, state(idx)))
            .collect()
    }

    fn example() -> Ablation {
        let text = "seeds = [0, 1]\nskip_misfits = true\n[grid]\nmask.cell_px = [8, 12, 16]\n[set]\n\
            data.image_size = 32\nmodel.variant = 'vit-t/8'";
        let grid = Grid::text("mine", "mine.toml", text).unwrap();
        let ablation = Ablation::new(&grid, &[], None);
        ablation.unwrap_or_else(|error| panic!("{error}"))
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
        let ablation = example();
        let text = markdown(&ablation, &rows(&ablation, &results));
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
        let ablation = example();
        let text = csv(&ablation, &rows(&ablation, &[Some(finished(0.125))]));
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
        let ablation = example();
        let diverged = RunResult {
            diverged: Some("a \"b\"".to_owned()),
            ..finished(0.125)
        };
        let text = csv(&ablation, &rows(&ablation, &[Some(diverged)]));
        let line = text.lines().nth(1).unwrap();
        assert!(line.ends_with(",\"diverged: a \"\"b\"\"\""), "{line}");
    }
}
