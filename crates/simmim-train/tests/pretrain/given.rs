//! Pre-trainings that begin with given weights.

use super::*;
use simmim_checkpoint::{Array, Entry, write_archive};

/// The names of the TINY model's heads are nowhere in a file of weights.
const HEADS: &str = "model.heads=2";

#[test]
fn a_run_and_its_weights_without_a_word_of_it_begin_the_same_ten_steps() {
    let sandbox = Sandbox::new(40);
    let first = sandbox.job("first", &["train.epochs=2"]);
    run(&first);
    // Neither configuration nor checksum: a file as another program would write it.
    let bare = sandbox.root.join("bare.safetensors");
    let arrays: Vec<(String, Array)> = {
        let best = simmim_train::run_folder::weights_of(&first.out);
        let archive = Archive::open(best).unwrap();
        let names = archive.names();
        let array = |name: &str| (name.to_owned(), archive.array(name).unwrap());
        names.map(array).collect()
    };
    let entries: Vec<Entry<'_>> = arrays
        .iter()
        .map(|(name, array)| Entry::f32(name, &array.shape, &array.values))
        .collect();
    write_archive(&bare, &entries, &BTreeMap::new()).unwrap();

    let steps = ["train.max_steps=10", HEADS];
    let from = |path: &Path| format!("train.from={}", path.display());
    let of_run = from(&first.out);
    let of_file = from(&bare);
    let [a, b] = [("a", &of_run), ("b", &of_file)].map(|(out, from)| {
        let changes = [&steps[..], &[from.as_str()]].concat();
        run(&sandbox.job(out, &changes))
    });
    let losses: Vec<f64> = a.iter().map(|record| record.loss).collect();
    assert_eq!(losses.len(), 10);
    assert_eq!(exact(&a), exact(&b));
    let fresh = run(&sandbox.job("fresh", &steps));
    assert_ne!(exact(&a)[0], exact(&fresh)[0]);
}

#[test]
fn a_run_that_was_begun_with_weights_goes_on_without_them() {
    let sandbox = Sandbox::new(20);
    let first = sandbox.job("first", &["train.epochs=1"]);
    run(&first);
    let from = format!("train.from={}", first.out.display());
    let whole = sandbox.job("whole", &[&from]);
    let records = run(&whole);

    let job = sandbox.job("stopped", &[&from]);
    let stop = StopFlag::new();
    let mut watcher = StopAt {
        step: 2,
        stop: stop.clone(),
    };
    pretrain(&job, &mut watcher, &stop).unwrap();
    fs::remove_dir_all(&first.out).unwrap();
    let resumed = Job::resume(&job.out).unwrap();
    assert_eq!(exact(&run(&resumed)), exact(&records));
}

/// Asks to stop after a step.
struct StopAt {
    step: u64,
    stop: StopFlag,
}

impl Observer for StopAt {
    fn see(&mut self, event: &Event<'_>) {
        if let Event::Step(record) = event
            && record.step == self.step
        {
            self.stop.raise();
        }
    }
}

#[test]
fn another_image_another_patch_and_other_channels_are_resampled_and_said() {
    struct Notes(Vec<String>);
    impl Observer for Notes {
        fn see(&mut self, event: &Event<'_>) {
            if let Event::Note(note) = event {
                self.0.push((*note).to_owned());
            }
        }
    }
    let sandbox = Sandbox::new(20);
    let positions = "model.positions=absolute";
    let first = sandbox.job("first", &["train.epochs=1", positions]);
    run(&first);
    let from = format!("train.from={}", first.out.display());
    let changes = [
        from.as_str(),
        positions,
        "model.patch_px=8",
        "mask.cell_px=8",
        "data.image_size=32",
        "data.channels=1",
        "data.normalise=dataset",
        "train.max_steps=1",
    ];
    let mut notes = Notes(Vec::new());
    let job = sandbox.job("second", &changes);
    pretrain(&job, &mut notes, &StopFlag::new()).unwrap();
    let all = notes.0.join("\n");
    for part in [
        "1 layer of patches made of 3 channels for 1, and of patches of 4 px for patches of 8 px",
        "at random: decoder.0.weight, decoder.0.bias (that of the file predicts another number of values)",
    ] {
        assert!(all.contains(part), "no `{part}` in {all}");
    }
}

#[test]
fn what_a_file_lacks_is_an_error_that_names_it_and_one_way_past_it() {
    let sandbox = Sandbox::new(20);
    let first = sandbox.job("first", &["train.epochs=1"]);
    run(&first);
    let from = format!("train.from={}", first.out.display());
    let deeper = [from.as_str(), "model.depth=3", "train.max_steps=1"];
    let error = pretrain(&sandbox.job("deeper", &deeper), &mut (), &StopFlag::new()).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("lacks arrays of the model: `encoder.blocks.2."),
        "{text}"
    );
    assert!(error.hint().unwrap().contains("--allow-missing"));
    // The run folder was not touched.
    assert!(!sandbox.root.join("deeper").exists());
    let allowed = [&deeper[..], &["train.allow_missing=encoder.blocks.2.*"]].concat();
    run(&sandbox.job("deeper", &allowed));
}
