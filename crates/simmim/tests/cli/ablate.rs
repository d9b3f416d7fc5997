//! A grid of runs: listed, run, killed, changed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use crate::drawn;
use crate::kills;
use crate::sandbox::Sandbox;

const GRID: &str = "\
recipe = 'tiny.toml'
[set]
train.epochs = 12
train.save_every_minutes = 0.0003
train.pictures = 0
[grid]
mask.kind = ['random', 'square']
mask.cell_px = [8, 16]
[[also]]
objective.norm_target = 3
[score]
kind = 'random'
cell_px = 8
ratio = 0.5
";
const RUN: &str = "ablate ./grid.toml --data photos";

fn sandbox(grid: &str) -> Sandbox {
    let sandbox = Sandbox::with_photos(12);
    write(&sandbox, grid);
    sandbox
}

fn write(sandbox: &Sandbox, grid: &str) {
    fs::write(sandbox.path("grid.toml"), grid).unwrap();
}

/// The rows of `ablation.csv` as maps from the column's name.
fn rows(out: &Path) -> Vec<BTreeMap<String, String>> {
    let text = fs::read_to_string(out.join("ablation.csv")).unwrap();
    let mut lines = text.lines().map(cells);
    let names = lines.next().unwrap();
    let row = |cells: Vec<String>| {
        assert_eq!(cells.len(), names.len());
        names.iter().cloned().zip(cells).collect()
    };
    lines.map(row).collect()
}

/// The cells of a line of CSV, some of them in quotes.
fn cells(line: &str) -> Vec<String> {
    let mut cells = vec![String::new()];
    let mut is_quoted = false;
    for letter in line.chars() {
        match letter {
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => cells.push(String::new()),
            letter => cells.last_mut().unwrap().push(letter),
        }
    }
    cells
}

/// The rows without what a clock says.
fn exact(out: &Path) -> Vec<BTreeMap<String, String>> {
    let mut rows = rows(out);
    for row in &mut rows {
        for timing in ["images_per_sec", "minutes"] {
            row.remove(timing).unwrap();
        }
    }
    rows
}

/// When each file of the finished runs was last written.
fn times(out: &Path) -> BTreeMap<PathBuf, SystemTime> {
    let mut times = BTreeMap::new();
    for result in fs::read_dir(out.join("points")).into_iter().flatten() {
        let result = result.unwrap().path();
        if result
            .extension()
            .is_none_or(|extension| extension != "json")
        {
            continue;
        }
        let run = out.join("runs").join(result.file_stem().unwrap());
        for file in ["metrics.jsonl", "checkpoints/last.safetensors", "log.txt"] {
            let path = run.join(file);
            times.insert(path.clone(), path.metadata().unwrap().modified().unwrap());
        }
    }
    times
}

#[test]
fn a_killed_ablation_goes_on_and_ends_as_one_that_was_not() {
    let sandbox = sandbox(GRID);
    let start = Instant::now();
    sandbox.simmim(&format!("{RUN} --out whole")).ok();
    let took = start.elapsed();
    let (whole, killed) = (sandbox.path("whole"), sandbox.path("killed"));
    let mut before = times(&killed);
    kills::until_the_end(took, || {
        let now = times(&killed);
        for (path, time) in &before {
            assert_eq!(&now[path], time, "{} was touched", path.display());
        }
        before = now;
        sandbox.command(&format!("{RUN} --out killed"))
    });
    let after = times(&killed);
    assert!(before.iter().all(|(path, time)| &after[path] == time));
    assert_eq!(exact(&killed), exact(&whole));
    assert!(exact(&whole).iter().all(|row| row["status"] == "finished"));
    let left = fs::read_dir(killed.join("runs")).unwrap().count();
    assert_eq!(left, 5);
}

#[test]
fn an_ablation_killed_before_it_stored_its_grid_begins_again() {
    let sandbox = sandbox("recipe = 'tiny.toml'\ngrid.mask.ratio = [0.5]\nset.train.max_steps = 1");
    fs::create_dir(sandbox.path("out")).unwrap();
    for left in ["run.lock", ".simmim-partial-aBcDeF"] {
        fs::write(sandbox.path("out").join(left), "").unwrap();
    }
    sandbox.simmim(&format!("{RUN} --out out")).ok();
    assert_eq!(rows(&sandbox.path("out"))[0]["status"], "finished");
    assert!(!sandbox.path("out/.simmim-partial-aBcDeF").exists());
}

#[test]
fn the_table_has_a_row_a_run_and_the_plot_is_a_picture() {
    let sandbox = sandbox(&format!("seeds = [0, 3]\n{GRID}"));
    let ran = sandbox.simmim(&format!("{RUN} --set train.epochs_=1"));
    ran.fails(2, &["unknown key `train.epochs_`"]);
    write(
        &sandbox,
        &format!(
            "seeds = [0, 3]\n{}",
            GRID.replace("epochs = 12", "epochs = 2")
        ),
    );
    let ran = sandbox.simmim(RUN).ok();
    let out = sandbox.path("runs/ablation-grid");
    assert_eq!(ran.stdout, "runs/ablation-grid/ablation.md\n");
    assert!(
        ran.stderr
            .contains("run 5 of 10: objective.norm_target=3,seed=0")
    );
    let rows = rows(&out);
    assert_eq!(rows.len(), 10);
    for row in &rows {
        assert_eq!(row["status"], "finished");
        for figure in [
            "avg_dist_px",
            "val_loss_first",
            "val_loss_best",
            "images_per_sec",
        ] {
            assert!(row[figure].parse::<f64>().unwrap() > 0.0, "{row:?}");
        }
        // Pixels normalised over a window are another target.
        let has_score = row["objective.norm_target"] == "0";
        assert_eq!(row["loss_at_common_mask"].is_empty(), !has_score);
    }
    assert_eq!(rows[0]["run"], "mask.kind=random,mask.cell_px=8,seed=0");
    assert_eq!(
        (rows[5]["seed"].as_str(), rows[4]["mask.cell_px"].as_str()),
        ("3", "16")
    );
    let table = fs::read_to_string(out.join("ablation.md")).unwrap();
    assert!(table.contains("10 of 10 runs are finished"), "{table}");
    assert!(
        table.contains("| random | 8 | 0 |") && table.contains(" ± "),
        "{table}"
    );
    let plot = image::open(out.join("ablation.png")).unwrap().to_rgb8();
    let distinct: std::collections::BTreeSet<_> = plot.pixels().map(|pixel| pixel.0).collect();
    assert!(distinct.len() > 50, "{} colours", distinct.len());
    let copy = fs::read_to_string(out.join("ablation.toml")).unwrap();
    assert_eq!(copy, fs::read_to_string(sandbox.path("grid.toml")).unwrap());
}

#[test]
fn the_score_is_the_loss_of_a_run_that_was_trained_under_the_common_mask() {
    let sandbox = sandbox("recipe = 'tiny.toml'\ngrid.mask.ratio = [0.3, 0.6]");
    sandbox.simmim(&format!("{RUN} --out out")).ok();
    let first = rows(&sandbox.path("out"));
    assert_eq!(first[1]["val_loss_last"], first[1]["loss_at_common_mask"]);
    assert_ne!(first[0]["val_loss_last"], first[0]["loss_at_common_mask"]);
    // Another common mask is measured without training.
    let before = times(&sandbox.path("out"));
    write(
        &sandbox,
        "recipe = 'tiny.toml'\ngrid.mask.ratio = [0.3, 0.6]\nscore.ratio = 0.3",
    );
    sandbox.simmim(&format!("{RUN} --out out")).ok();
    let second = rows(&sandbox.path("out"));
    assert_eq!(second[0]["val_loss_last"], second[0]["loss_at_common_mask"]);
    assert_eq!(times(&sandbox.path("out")), before);
}

#[test]
fn what_does_not_fit_is_refused_before_the_first_run_or_left_out() {
    let misfit = GRID
        .replace("[8, 16]", "[8, 12, 16]")
        .replace("epochs = 12", "epochs = 1");
    let sandbox = sandbox(&misfit);
    let ran = sandbox.simmim(&format!("{RUN} --out out")).fails(
        2,
        &[
            "does not fit: mask.kind=random,mask.cell_px=12,seed=0: a mask cell of 12 px",
            "does not fit: mask.kind=square,mask.cell_px=12,seed=0: ",
            "error: 2 of 7 points do not fit",
            "hint: change the values, or leave these points out with `skip_misfits = true`",
        ],
    );
    assert!(!sandbox.path("out").exists(), "{ran:?}");
    write(&sandbox, &format!("skip_misfits = true\n{misfit}"));
    let ran = sandbox.simmim(&format!("{RUN} --out out")).ok();
    assert!(
        ran.stderr
            .contains("left out: mask.kind=random,mask.cell_px=12")
    );
    let rows = rows(&sandbox.path("out"));
    let left_out = rows
        .iter()
        .filter(|row| row["status"].starts_with("left out: a mask cell of 12 px"));
    assert_eq!((rows.len(), left_out.count()), (7, 2));
    let table = fs::read_to_string(sandbox.path("out/ablation.md")).unwrap();
    assert!(
        table.contains("- `mask.kind=random,mask.cell_px=12,seed=0`: a mask cell"),
        "{table}"
    );
}

#[test]
fn a_grid_that_contradicts_a_run_is_refused_and_one_that_grows_is_not() {
    let small = "recipe = 'tiny.toml'\ngrid.mask.ratio = [0.5]\n";
    let sandbox = sandbox(small);
    sandbox.simmim(&format!("{RUN} --out out")).ok();
    let before = times(&sandbox.path("out"));
    write(&sandbox, &format!("{small}set.train.base_lr = 0.5"));
    let refused = sandbox.simmim(&format!("{RUN} --out out")).fails(
        2,
        &[
            "the run mask.ratio=0.5,seed=0 was made with `train.base_lr = 0.01`",
            "now asks for `train.base_lr = 0.5`",
            "hint: put it back",
        ],
    );
    assert_eq!(times(&sandbox.path("out")), before, "{refused:?}");
    assert_eq!(
        fs::read_to_string(sandbox.path("out/ablation.toml")).unwrap(),
        small
    );
    // A run whose folder is gone is trained anew, by what is asked now.
    write(&sandbox, &format!("{small}set.train.epochs = 1"));
    fs::remove_dir_all(sandbox.path("out/runs/mask.ratio=0.5,seed=0")).unwrap();
    sandbox.simmim(&format!("{RUN} --out out")).ok();
    let before = times(&sandbox.path("out"));
    let small = "recipe = 'tiny.toml'\nset.train.epochs = 1\n";
    // More values, more seeds, and a key that changes nothing that is computed.
    let grown = "seeds = [0, 1]\ngrid.mask.ratio = [0.3, 0.5]\nset.train.keep = 1";
    write(&sandbox, &format!("{small}{grown}"));
    sandbox.simmim(&format!("{RUN} --out out")).ok();
    assert_eq!(rows(&sandbox.path("out")).len(), 4);
    let now = times(&sandbox.path("out"));
    assert!(before.iter().all(|(path, time)| now[path] == *time));
}

#[test]
fn a_run_that_diverges_is_a_result_and_the_next_one_follows() {
    let sandbox =
        sandbox("recipe = 'tiny.toml'\nset.train.epochs = 20\ngrid.train.base_lr = [1e30, 0.01]");
    let ran = sandbox.simmim(&format!("{RUN} --out out")).ok();
    assert!(ran.stderr.contains("diverged: 1 of the runs"), "{ran:?}");
    let rows = rows(&sandbox.path("out"));
    assert!(rows[0]["status"].starts_with("diverged: `"), "{rows:?}");
    assert_eq!(rows[1]["status"], "finished");
    // It is not tried again.
    let ran = sandbox.simmim(&format!("{RUN} --out out")).ok();
    assert!(!ran.stderr.contains("run 1 of 2"), "{ran:?}");
}

#[test]
fn an_ablation_that_is_asked_to_stop_saves_and_goes_on() {
    let sandbox = sandbox(GRID);
    let mut running = sandbox.start(&format!("{RUN} --out out"));
    running.wait_for("point");
    running.wait_for("point");
    running.wait_for("step");
    running.signal("TERM");
    let ran = running.end().stopped();
    assert!(ran.stdout.contains("\"finished\":false"), "{ran:?}");
    let rows = rows(&sandbox.path("out"));
    let begun = rows
        .iter()
        .filter(|row| row["status"].starts_with("begun: "));
    assert_eq!(begun.count(), 1, "{rows:?}");
    assert_eq!(rows[0]["status"], "finished");
    assert_eq!(rows[4]["status"], "waiting");
    let ran = sandbox.simmim(&format!("{RUN} --out out --json")).ok();
    assert!(ran.stdout.contains("\"n_finished\":5"), "{ran:?}");
    assert!(!ran.stdout.contains("\"number\":1,"), "{ran:?}");
}

#[test]
fn folders_and_images_of_something_else_are_refused() {
    let sandbox = sandbox("recipe = 'tiny.toml'\ngrid.mask.ratio = [0.5]\nset.train.max_steps = 1");
    sandbox.simmim(&format!("{RUN} --out photos")).fails(
        2,
        &[
            "photos is not empty and holds no ablation",
            "hint: name a new",
        ],
    );
    sandbox.simmim(&format!("{RUN} --out out")).ok();
    drawn::photo(99)
        .save(sandbox.path("photos/new.png"))
        .unwrap();
    sandbox.simmim(&format!("{RUN} --out out")).fails(
        1,
        &["the fingerprint of the images of mask.ratio=0.5,seed=0 was"],
    );
    sandbox
        .simmim("ablate ./grid.toml")
        .fails(2, &["no images are given", "hint: pass --data"]);
}

#[test]
fn the_runs_are_listed_without_being_run() {
    let sandbox = sandbox(GRID);
    let ran = sandbox.simmim("ablate ./grid.toml --dry-run").ok();
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(lines.len(), 5);
    assert!(lines[0].starts_with("mask.kind=random,mask.cell_px=8,seed=0"));
    assert!(lines[0].contains(" px  ") && lines[0].ends_with("0.02 M parameters"));
    assert!(
        ran.stderr
            .contains("5 runs; the paper's good range of AvgDist is 1.7 to 3.3 px")
    );
    assert!(!sandbox.path("runs").exists());
    let ran = sandbox.simmim("ablate ./grid.toml --dry-run --json").ok();
    let points: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(points.as_array().unwrap().len(), 5);
    assert!(points[0]["avg_dist_px"].as_f64().unwrap() > 1.0);
}

#[test]
fn grids_that_ship_are_listed_printed_and_found_by_name() {
    let sandbox = Sandbox::new();
    let listed = sandbox.simmim("ablate --list").ok();
    assert!(listed.stdout.starts_with("cifar10 "), "{listed:?}");
    let listed = sandbox.simmim("ablate --list --json").ok();
    let grids: serde_json::Value = serde_json::from_str(&listed.stdout).unwrap();
    assert_eq!(grids[0]["name"], "cifar10");
    let printed = sandbox.simmim("ablate cifar10 --print").ok();
    fs::write(sandbox.path("mine.toml"), printed.stdout).unwrap();
    let same = |grid: &str| {
        sandbox
            .simmim(&format!("ablate {grid} --dry-run"))
            .ok()
            .stdout
    };
    assert_eq!(same("mine.toml"), same("cifar10"));
    sandbox
        .simmim("ablate cifar1 --dry-run")
        .fails(2, &["there is no grid `cifar1`", "did you mean `cifar10`?"]);
    sandbox
        .simmim("ablate none.toml --dry-run")
        .fails(2, &["cannot read none.toml"]);
    sandbox.simmim("ablate").fails(2, &["GRID"]);
}
