//! Pages of runs: of every kind of model, and of runs to which something has happened. What a browser makes of them: `browser`.

use std::fs;

use crate::attentive::FAMILIES;
use crate::drawn;
use crate::sandbox::Sandbox;

fn page(sandbox: &Sandbox, run: &str) -> String {
    fs::read_to_string(sandbox.path(run).join("report.html")).unwrap()
}

/// Holds that nothing is missing in a page.
#[track_caller]
fn is_whole(page: &str) {
    let missing = page.find("Not here: ").map(|at| &page[at..at + 120]);
    assert_eq!(missing, None);
    for part in [
        "Patches",
        "Nearest neighbours",
        "All on a map",
        "A batch as it is trained on",
        "held-out",
    ] {
        assert!(page.contains(part), "{part}");
    }
}

#[test]
fn runs_of_every_family_end_with_a_page_that_lacks_nothing_and_say_where_it_is() {
    for (name, settings) in FAMILIES {
        let sandbox = Sandbox::with_photos(12);
        let ran = sandbox.pretrain(&format!("--data photos {settings}")).ok();
        let last = ran.stderr.lines().last().unwrap_or_default();
        assert_eq!(
            last, "all of it on one page: run/report.html",
            "{name}: {ran:?}"
        );
        let page = page(&sandbox, "run");
        is_whole(&page);
        assert!(
            page.contains("id=\"pictures\"") && !page.contains("id=\"labels\""),
            "{name}"
        );
    }
}

#[test]
fn one_channel_and_five_are_shown_as_far_as_they_can_be() {
    let sandbox = Sandbox::with_photos(8);
    fs::create_dir(sandbox.path("bands")).unwrap();
    for idx in 0..8 {
        let image = drawn::tiff16([40, 44], 5, idx);
        fs::write(sandbox.path(&format!("bands/{idx}.tif")), image).unwrap();
    }
    for (data, channels) in [("photos", 1), ("bands", 5)] {
        let words = format!(
            "--data {data} --set data.channels={channels} --set data.normalise=dataset --overwrite"
        );
        sandbox.pretrain(&words).ok();
        is_whole(&page(&sandbox, "run"));
        let words = format!("features --from run {data} --out seen.png --overwrite");
        sandbox.simmim(&words).ok();
        let seen = image::open(sandbox.path("seen.png")).unwrap();
        assert!(seen.width() > 3 * 160, "{}", seen.width());
    }
}

#[test]
fn a_classifier_has_its_mistakes_and_its_classes_and_one_of_several_labels_its_scores() {
    let sandbox = Sandbox::with_labels(8);
    let tune = "finetune --from scratch --recipe finetune-small --set model.variant=vit-t/8 --set model.width=24 --set model.depth=1 \
        --set model.heads=2 --set data.image_size=32 --set train.max_steps=2 --set train.batch_size=4 --set data.workers=1 --set \
        train.threads=1 --val-share 0.5";
    sandbox
        .simmim(&format!("{tune} --data labelled --out one"))
        .ok();
    let one = page(&sandbox, "one");
    is_whole(&one);
    // After two steps most are wrong.
    for part in [
        "Worst mistakes",
        "Class by class",
        "Calibration",
        "confusion matrix",
        " classes</h3>",
    ] {
        assert!(one.contains(part), "{part}");
    }
    let label = |idx: usize| ["a", "b", "a;b"][idx % 3];
    let rows: String = (0..8)
        .flat_map(|idx| {
            drawn::CLASSES
                .iter()
                .map(move |class| format!("labelled/{class}/{idx:03}.png,{}\n", label(idx)))
        })
        .collect();
    fs::write(sandbox.path("table.csv"), format!("path,label\n{rows}")).unwrap();
    sandbox
        .simmim(&format!("{tune} --data table.csv --out several"))
        .ok();
    let several = page(&sandbox, "several");
    is_whole(&several);
    assert!(several.contains("mean average precision") && !several.contains("Worst mistakes"));
}

#[test]
fn what_cannot_be_found_out_any_more_is_said_and_the_rest_is_there() {
    let sandbox = Sandbox::with_photos(10);
    sandbox.pretrain("--data photos").ok();
    fs::write(
        sandbox.path("photos/new.png"),
        fs::read(sandbox.path("photos/000.png")).unwrap(),
    )
    .unwrap();
    sandbox.simmim("report run --out changed.html").ok();
    let changed = fs::read_to_string(sandbox.path("changed.html")).unwrap();
    assert!(changed.contains("are not those that the run was trained on"));
    fs::remove_dir_all(sandbox.path("photos")).unwrap();
    fs::remove_file(sandbox.path("run/checkpoints/best.safetensors")).unwrap();
    fs::write(sandbox.path("run/checkpoints/last.safetensors"), b"cut").unwrap();
    let ran = sandbox.simmim("report run").ok();
    assert_eq!(ran.stdout, "run/report.html\n");
    let rest = page(&sandbox, "run");
    assert!(
        rest.contains("the images of the run cannot be opened"),
        "{rest}"
    );
    for part in [
        "Settings that are not the defaults",
        "data-plot=\"0\"",
        "id=\"pictures\"",
    ] {
        assert!(rest.contains(part), "{part}");
    }
    sandbox
        .simmim("report photos")
        .fails(2, &["photos is not a run folder"]);
    sandbox
        .simmim("report run nothing")
        .fails(2, &["nothing is not a run folder"]);
}

#[test]
fn a_page_that_cannot_be_written_is_a_warning_and_the_run_is_saved() {
    let sandbox = Sandbox::with_photos(6);
    // A run that is stopped writes no page: whoever stops it waits for its end.
    let mut running = sandbox
        .start("pretrain --config tiny.toml --out run --data photos --set train.epochs=100000");
    running.wait_for("step");
    running.signal("TERM");
    running.end().stopped();
    assert!(!sandbox.path("run/report.html").exists());
    // On demand it has one all the same.
    sandbox.simmim("report run").ok();
    assert!(page(&sandbox, "run").contains("<dt>state</dt><dd>step "));
    fs::create_dir_all(sandbox.path("other/report.html/in-the-way")).unwrap();
    fs::write(
        sandbox.path("other/config.toml"),
        fs::read(sandbox.path("run/config.toml")).unwrap(),
    )
    .unwrap();
    let ran = sandbox
        .simmim("pretrain --config tiny.toml --out fresh --data photos")
        .ok();
    assert!(
        ran.stderr
            .contains("all of it on one page: fresh/report.html"),
        "{ran:?}"
    );
    fs::remove_file(sandbox.path("fresh/report.html")).unwrap();
    fs::create_dir_all(sandbox.path("fresh/report.html/in-the-way")).unwrap();
    let ran = sandbox.simmim("pretrain --resume fresh").ok();
    assert!(
        ran.stderr.contains("warning: no report is written"),
        "{ran:?}"
    );
    assert_eq!(ran.stdout, "fresh\n");
}

#[test]
fn several_runs_are_told_apart_by_what_differs() {
    let sandbox = Sandbox::with_photos(6);
    for (run, ratio) in [("a", 0.5), ("b", 0.75)] {
        let words = format!(
            "pretrain --config tiny.toml --out {run} --data photos --set mask.ratio={ratio}"
        );
        sandbox.simmim(&words).ok();
    }
    let ran = sandbox.simmim("report a b").ok();
    assert_eq!(ran.stdout, "comparison.html\n");
    let page = fs::read_to_string(sandbox.path("comparison.html")).unwrap();
    assert!(page.contains("<th><code>mask.ratio</code></th><td>0.5</td><td>0.75</td>"));
    assert!(
        !page.contains("mask.kind") && page.contains("a, training") && page.contains("b, held-out")
    );
}
