//! Several processes look at the images of a command together, and what comes of it is that of one process.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use crate::launchers::{Mpi, here};
use crate::ranks::{Running, SECONDS, folder_of, require_same_curve};
use crate::sandbox::{Ran, Sandbox};

const FINETUNE: &str = "finetune --from scratch --recipe finetune --data labelled --set data.image_size=32 \
    --set model.variant=vit-t/16 --set model.patch_px=8 --set model.width=24 --set model.depth=2 --set model.heads=2 \
    --set train.epochs=1 --set train.batch_size=4 --set train.warmup_epochs=0 --set train.threads=1 --out run";
/// Of 33 images 8 batches of 4, and one of one image.
const BATCHES: &str = "--batch-size 4 --threads 1";

/// A fine-tuned model of 33 images, of which two are none, in as many batches that ranks cannot share evenly.
fn fine_tuned() -> Sandbox {
    let sandbox = Sandbox::with_labels(11);
    sandbox.simmim(FINETUNE).ok();
    let class = fs::read_dir(sandbox.path("labelled")).unwrap();
    let class = class.flatten().next().unwrap().path();
    for name in ["003.png", "007.png"] {
        fs::write(class.join(name), b"no image").unwrap();
    }
    sandbox
}

fn on_ranks(mpi: &Mpi, sandbox: &Sandbox, n: usize, words: &str) -> Ran {
    Ran::of(mpi.simmim(sandbox, n, words).output().unwrap())
}

#[track_caller]
fn require_same_file(one: &Path, other: &Path) {
    let (one, other) = (fs::read(one).unwrap(), fs::read(other).unwrap());
    assert!(one == other, "{} and {} bytes", one.len(), other.len());
}

#[test]
fn labels_are_predicted_as_by_one_process() {
    let sandbox = fine_tuned();
    let words = format!("predict --from run labelled labelled/*/00*.png {BATCHES}");
    let one = sandbox.simmim(&words);
    assert_eq!(one.stdout.lines().count(), 33 + 30, "{one:?}");
    assert!(one.stdout.contains("\"error\""), "{one:?}");
    for mpi in here("predictions on several ranks") {
        for n in [2, 3] {
            let ran = on_ranks(&mpi, &sandbox, n, &words);
            assert_eq!(ran.stdout, one.stdout);
            ran.fails(1, &["4 images could not be read"]);
        }
    }
}

#[test]
fn a_model_is_measured_as_by_one_process() {
    let sandbox = fine_tuned();
    let words = format!("evaluate --from run --data labelled {BATCHES}");
    let one = sandbox.simmim(&format!("{words} --out one")).ok();
    for mpi in here("a measure on several ranks") {
        let ran = on_ranks(&mpi, &sandbox, 3, &format!("{words} --out {}", mpi.name)).ok();
        assert_eq!(ran.stdout, one.stdout);
        let table = |ran: &Ran| ran.stderr.replace(mpi.name, "one");
        assert!(table(&ran).contains(&one.stderr), "{ran:?}");
        for name in [
            "scores.json",
            "classes.csv",
            "confusion.csv",
            "confusion.png",
        ] {
            require_same_file(
                &sandbox.path("one").join(name),
                &sandbox.path(mpi.name).join(name),
            );
        }
    }
}

#[test]
fn features_are_those_of_one_process() {
    let sandbox = fine_tuned();
    let embed = |out: &str| format!("embed --from run --data labelled --out {out} {BATCHES}");
    for ending in ["npy", "safetensors", "parquet"] {
        let one = format!("one.{ending}");
        let said = sandbox.simmim(&embed(&one)).ok();
        for mpi in here("features on several ranks") {
            let out = format!("{}.{ending}", mpi.name);
            let ran = on_ranks(&mpi, &sandbox, 2, &embed(&out)).ok();
            assert_eq!(ran.stdout.replace(mpi.name, "one"), said.stdout);
            assert_eq!(ran.stderr.matches("a row of NaN").count(), 2, "{ran:?}");
            require_same_file(&sandbox.path(&one), &sandbox.path(&out));
        }
    }
}

#[test]
fn what_is_measured_of_an_encoder_is_that_of_one_process() {
    let sandbox = fine_tuned();
    let knn = format!("knn --from run --data labelled --k 1,5 {BATCHES}");
    let probe = |cache: &str| {
        format!("probe --from run --data labelled --lambda 0.1 --cache {cache} {BATCHES}")
    };
    let near = sandbox.simmim(&knn).ok();
    let fitted = sandbox.simmim(&probe("one")).ok();
    for mpi in here("features of labels on several ranks") {
        assert_eq!(on_ranks(&mpi, &sandbox, 3, &knn).ok().stdout, near.stdout);
        // Computed, and then read.
        for what in ["kept in", "read from"] {
            let ran = on_ranks(&mpi, &sandbox, 2, &probe(mpi.name)).ok();
            assert_eq!(ran.stdout.replace(mpi.name, "one"), fitted.stdout);
            assert!(ran.stderr.contains(what), "{ran:?}");
        }
        let file = fs::read_dir(sandbox.path("one")).unwrap().next();
        let name = file.unwrap().unwrap().file_name();
        require_same_file(
            &sandbox.path("one").join(&name),
            &sandbox.path(mpi.name).join(&name),
        );
    }
}

#[test]
fn an_error_is_told_once_whoever_meets_it() {
    let sandbox = fine_tuned();
    fs::write(sandbox.path("there.npy"), b"").unwrap();
    let data = "--data labelled --from run";
    for mpi in here("errors of commands on several ranks") {
        for (words, code, says) in [
            (format!("embed {data} --out there.npy"), 2, "there.npy"),
            // Rank 0 alone writes.
            (format!("embed {data} --out no/where.npy"), 1, "no/"),
            (format!("embed {data} --out x.npy --block 99"), 2, "block"),
            ("predict --from run nowhere".to_owned(), 1, "nowhere"),
            ("evaluate --from no --data labelled".to_owned(), 1, "no"),
        ] {
            let begun = Instant::now();
            let ran = on_ranks(&mpi, &sandbox, 2, &words);
            assert!(begun.elapsed() < SECONDS, "{words}");
            let ran = ran.fails(code, &[says]);
            assert_eq!(ran.stderr.matches("error: ").count(), 1, "{ran:?}");
        }
        let ran = on_ranks(&mpi, &sandbox, 2, "predict --from run nowhere --json");
        assert_eq!(ran.stdout.matches("\"error\"").count(), 1, "{ran:?}");
    }
}

#[test]
fn too_many_unreadable_images_are_counted_over_all_ranks() {
    let sandbox = fine_tuned();
    // Ten are allowed, which none of three ranks meets alone.
    for entry in fs::read_dir(sandbox.path("labelled")).unwrap().flatten() {
        for name in ["001.png", "002.png", "003.png", "004.png", "005.png"] {
            fs::write(entry.path().join(name), b"no image").unwrap();
        }
    }
    let words = format!("embed --from run --data labelled --out x.npy {BATCHES}");
    for mpi in here("unreadable images on several ranks") {
        let ran = on_ranks(&mpi, &sandbox, 3, &words);
        let ran = ran.fails(1, &["11 images are unreadable, over the limit of 10"]);
        assert_eq!(ran.stderr.matches("error: ").count(), 1, "{ran:?}");
        assert!(!sandbox.path("x.npy").exists());
    }
}

#[test]
fn ranks_with_other_images_or_weights_are_told_so() {
    let sandbox = fine_tuned();
    fs::create_dir(sandbox.path("other")).unwrap();
    for name in ["labelled", "run"] {
        let [from, to] = [sandbox.path(name), sandbox.path("other").join(name)];
        let copied = Command::new("cp").arg("-r").args([from, to]).status();
        assert!(copied.unwrap().success());
    }
    let other = sandbox.path("other/labelled");
    let class = fs::read_dir(other).unwrap().flatten().next().unwrap();
    fs::remove_file(class.path().join("000.png")).unwrap();
    for mpi in here("other images on a rank") {
        // The same arguments in another folder, as on another machine.
        let words = "embed --from run --data labelled --out x.npy";
        let mut command = mpi.launch(&sandbox);
        command.args(["-n", "1"]).args(Mpi::program());
        command.args(words.split_whitespace());
        command.args([":", "-n", "1", "env", "-C", "other"]);
        command.args(Mpi::program()).args(words.split_whitespace());
        let ran = Ran::of(command.output().unwrap());
        ran.fails(1, &["rank 1", "was started with images other than"]);
        assert!(!sandbox.path("x.npy").exists());
    }
}

#[test]
fn a_rank_that_is_killed_ends_the_others() {
    let sandbox = fine_tuned();
    let folder = fs::read_dir(sandbox.path("labelled")).unwrap();
    let photo = folder.flatten().next().unwrap().path().join("000.png");
    fs::create_dir(sandbox.path("many")).unwrap();
    for n in 0..2000 {
        fs::hard_link(&photo, sandbox.path(&format!("many/{n}.png"))).unwrap();
    }
    for mpi in here("a killed rank that predicts") {
        // Minutes of work.
        let words = format!(
            "predict --from run --batch-size 1 --threads 1 {}",
            "many ".repeat(500)
        );
        let mut child = mpi.simmim(&sandbox, 2, &words).spawn().unwrap();
        // It is under way.
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        lines.read_line(&mut String::new()).unwrap();
        let process = Running::process_of(1, &folder_of(&sandbox)).unwrap();
        let begun = Instant::now();
        let sent = Command::new("kill").args(["-s", "KILL", &process]).status();
        assert!(sent.unwrap().success());
        // MPICH tells it there.
        let mut said = String::new();
        lines.read_to_string(&mut said).unwrap();
        let ran = Ran::of(child.wait_with_output().unwrap());
        assert!(begun.elapsed() < SECONDS, "{:?}", begun.elapsed());
        assert_ne!(ran.code, Some(0), "{ran:?}");
        let host = rustix::system::uname().nodename().to_owned();
        assert!(
            format!("{ran:?}{said}").contains(&*host.to_string_lossy()),
            "{ran:?}"
        );
    }
}

const SWEEP: &str = "lowshot --from scratch-run --data labelled --shares 0.5,1 --seeds 1 --set train.epochs=2 \
    --set train.batch_size=4 --set train.warmup_epochs=0 --set train.threads=1";

/// A table of runs, but for how long they took.
fn results(table: &Path) -> Vec<Vec<String>> {
    let table = fs::read_to_string(table).unwrap();
    let rows = table.lines().map(|row| row.split(',').map(str::to_owned));
    let mut rows: Vec<Vec<String>> = rows.map(Iterator::collect).collect();
    for name in ["minutes", "images_per_sec"] {
        // From the end: the name of a point may hold a comma.
        let from_end = rows[0].iter().rev().position(|own| own == name);
        for row in rows.iter_mut().filter(|_| from_end.is_some()) {
            row.remove(row.len() - 1 - from_end.unwrap());
        }
    }
    rows
}

#[test]
fn the_runs_of_a_comparison_are_shared_and_come_to_the_same() {
    let sandbox = Sandbox::with_labels(8);
    sandbox
        .simmim(
            "pretrain --config tiny.toml --data labelled --out scratch-run --set train.max_steps=2",
        )
        .ok();
    sandbox.simmim(&format!("{SWEEP} --out one")).ok();
    for mpi in here("a comparison on several ranks") {
        let words = format!("{SWEEP} --out {}", mpi.name);
        let ran = on_ranks(&mpi, &sandbox, 2, &words).ok();
        assert_eq!(ran.stdout.trim(), format!("{}/lowshot.md", mpi.name));
        let results = |out: &str| results(&sandbox.path(out).join("lowshot.csv"));
        assert_eq!(results(mpi.name), results("one"));
        // Nothing is left to do.
        on_ranks(&mpi, &sandbox, 2, &words).ok();
        let ran = sandbox.simmim(&words).ok();
        assert!(ran.stderr.contains("done: 4 runs"), "{ran:?}");
    }
}

#[test]
fn a_grid_is_shared_and_a_signal_to_one_rank_stops_all() {
    let sandbox = Sandbox::with_photos(24);
    fs::write(
        sandbox.path("grid.toml"),
        "recipe = \"tiny.toml\"\n[grid]\nmask.ratio = [0.4, 0.5, 0.6, 0.7]\n",
    )
    .unwrap();
    let words = |out: &str, more: &str| {
        format!("ablate grid.toml --data photos --set train.threads=1 --out {out} {more}")
    };
    sandbox.simmim(&words("one", "")).ok();
    for mpi in here("a grid on several ranks") {
        on_ranks(&mpi, &sandbox, 3, &words(mpi.name, "")).ok();
        let results = |out: &str| results(&sandbox.path(out).join("ablation.csv"));
        assert_eq!(results(mpi.name), results("one"));
        assert_eq!(
            on_ranks(&mpi, &sandbox, 2, "ablate grid.toml --dry-run")
                .ok()
                .stdout,
            sandbox.simmim("ablate grid.toml --dry-run").ok().stdout
        );
        let long = words(
            "long",
            "--set train.epochs=100000 --set train.validate_every_epochs=0",
        );
        let child = mpi.simmim(&sandbox, 2, &long).spawn().unwrap();
        let first = sandbox.path("long/runs/mask.ratio=0.4,seed=0");
        let running = Running::begun(child, &first);
        Running::wait_for_steps(&sandbox.path("long/runs/mask.ratio=0.5,seed=0"));
        let ran = running.end_by("USR1", 1, &sandbox).stopped();
        assert!(ran.stderr.contains("saved; 0 of 4 runs"), "{ran:?}");
        // Both had begun one, and have saved it.
        for ratio in ["0.4", "0.5"] {
            let last = format!("long/runs/mask.ratio={ratio},seed=0/checkpoints/last.safetensors");
            assert!(sandbox.path(&last).exists(), "{ratio}");
        }
        fs::remove_dir_all(sandbox.path("long")).unwrap();
    }
}

#[test]
fn archives_that_are_dealt_out_give_the_curve_of_one_process() {
    let sandbox = Sandbox::with_photos(24);
    fs::create_dir(sandbox.path("shards")).unwrap();
    for shard in 0..8 {
        let mut command = Command::new("tar");
        let tar = sandbox.path(&format!("shards/{shard}.tar"));
        command.current_dir(sandbox.path("photos")).arg("-cf");
        command.arg(tar);
        for n in 3 * shard..3 * shard + 3 {
            command.arg(format!("{n:03}.png"));
        }
        assert!(command.status().unwrap().success());
    }
    let run = |out: &str| {
        format!(
            "pretrain --config tiny.toml --data shards/*.tar --set data.shuffle=shards --out {out}"
        )
    };
    sandbox.simmim(&run("one")).ok();
    for mpi in here("archives on several ranks") {
        on_ranks(&mpi, &sandbox, 2, &run(mpi.name)).ok();
        require_same_curve(&sandbox.path("one"), &sandbox.path(mpi.name));
    }
    let refused = sandbox.simmim(&run("two").replace("shards/*.tar", "photos"));
    refused.fails(2, &["lies in no archive", "simmim pack"]);
}
