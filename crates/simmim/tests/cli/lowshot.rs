//! Few labels: pre-trained beside scratch, and beside what pixels alone come to.

use std::fs;
use std::time::Instant;

use crate::drawn;
use crate::finetune::{PLAIN, lines, pretrained};
use crate::kills;
use crate::sandbox::{Sandbox, tensors};

/// The rows of a comparison's table without the minutes that each took.
fn accuracies(sandbox: &Sandbox, out: &str) -> Vec<String> {
    let text = fs::read_to_string(sandbox.path(&format!("{out}/lowshot.csv"))).unwrap();
    let without_minutes = |line: &str| line.rsplit_once(',').unwrap().0.to_owned();
    text.lines().map(without_minutes).collect()
}

#[test]
fn pretrained_and_scratch_are_compared_and_the_comparison_can_be_killed() {
    let sandbox = pretrained(12);
    let test = sandbox.path("test");
    for (class, name) in drawn::CLASSES.iter().enumerate() {
        fs::create_dir_all(test.join(name)).unwrap();
        for idx in 40..44 {
            drawn::labelled(class, idx)
                .save(test.join(name).join(format!("{idx}.png")))
                .unwrap();
        }
    }
    let words = format!(
        "lowshot --data labelled --test test --from run --shares 0.5,1 --seeds 2 {PLAIN} \
         --set data.held_out=0 --set train.epochs=8 --set-scratch finetune.layer_decay=1"
    );
    let start = Instant::now();
    sandbox.simmim(&format!("{words} --out whole")).ok();
    kills::until_the_end(start.elapsed(), || {
        sandbox.command(&format!("{words} --out few"))
    });
    assert_eq!(accuracies(&sandbox, "few"), accuracies(&sandbox, "whole"));
    for name in ["labels-0.5-pretrained-seed1", "labels-1-scratch-seed1"] {
        let last = |out| {
            tensors(&sandbox.path(&format!("{out}/runs/{name}/checkpoints/last.safetensors")))
        };
        assert!(last("few") == last("whole"), "{name} differs");
    }
    let text = fs::read_to_string(sandbox.path("few/lowshot.csv")).unwrap();
    assert_eq!(text.lines().count(), 1 + 8, "{text}");
    let table = fs::read_to_string(sandbox.path("few/lowshot.md")).unwrap();
    assert!(
        table.contains("pretrained") && table.contains("scratch"),
        "{table}"
    );
    assert!(sandbox.path("few/lowshot.png").is_file());
    let scratch =
        fs::read_to_string(sandbox.path("few/runs/labels-1-scratch-seed1/config.toml")).unwrap();
    assert!(
        scratch.contains("layer_decay = 1.0") && scratch.contains("weights = false"),
        "{scratch}"
    );
    // Nothing is trained again, and other settings are not mixed in.
    let again = sandbox.simmim(&format!("{words} --out few")).ok();
    assert!(again.stderr.contains("done: 8 runs"), "{again:?}");
    let events = sandbox
        .simmim(&format!("{words} --out few --json"))
        .ok()
        .stdout;
    pixels_stand_beside(&table, &events);
    let ran = sandbox.simmim(&format!("{words} --out few --set train.weight_decay=0.1"));
    ran.fails(1, &["weight_decay = 0.05", "weight_decay = 0.1"]);
}

/// Holds that what pixels alone come to is in the table and in what a script reads, with the sentence that they are as good: classes
/// of another brightness each are told by them.
#[track_caller]
fn pixels_stand_beside(table: &str, events: &str) {
    let columns =
        "| logistic regression on pixels | nearest neighbours on pixels | majority class | seeds |";
    assert!(table.contains(columns), "{table}");
    for row in ["| 50 % |", "| 100 % |"] {
        let row = table.lines().find(|line| line.starts_with(row)).unwrap();
        // Classes of another brightness each: pixels alone tell them.
        assert!(
            row.contains("| 100.00 ± 0.00 % |") && row.ends_with("| 33.33 ± 0.00 % | 2 |"),
            "{table}"
        );
    }
    assert!(table.contains("with 50 % of the labels"), "{table}");
    let done = lines(events).pop().unwrap();
    let results = done["results"].as_array().unwrap();
    let n_beside = results
        .iter()
        .filter(|result| result["baselines"]["logistic"] == 1.0)
        .count();
    assert_eq!(n_beside, 4, "{done}");
    let warning = done["warnings"][0].as_str().unwrap();
    assert!(
        warning.contains("logistic regression on pixels gets 100.00 %"),
        "{done}"
    );
}
