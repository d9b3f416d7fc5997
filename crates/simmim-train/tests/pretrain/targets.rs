//! Runs with other heads, targets and scopes than the paper's default.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::fs;
use std::path::{Path, PathBuf};

use simmim_checkpoint::{Archive, Entry, write_archive};
use simmim_eval::Trained;
use simmim_picture::Picture;
use simmim_train::{Error, Event, Job, Observer, StopFlag, pretrain};

use crate::{Sandbox, StopAt, exact, run, state};

const CLUSTERS: [&str; 4] = [
    "objective.target=clusters",
    "objective.clusters=12",
    "objective.target_px=2",
    "train.epochs=3",
];

/// A file with one tensor.
fn write_tensor(path: &Path, name: &str, shape: &[usize], values: &[f32]) {
    let entry = Entry::f32(name, shape, values);
    write_archive(path, &[entry], &BTreeMap::new()).unwrap();
}

/// A codebook of eight squares of 2 x 2 pixels: each of one colour, brighter on one side.
fn codewords(sandbox: &Sandbox) -> PathBuf {
    let path = sandbox.root.join("words.safetensors");
    let value = |i: usize| {
        let (word, channel, x) = (i / 12, i / 4 % 3, i % 2);
        let colour = if word >> channel & 1 == 1 { 0.7 } else { 0.2 };
        colour + 0.1 * x as f32
    };
    let values: Vec<f32> = (0..8 * 12).map(value).collect();
    write_tensor(&path, "words", &[8, 12], &values);
    path
}

fn draw(out: &Path, image: &Path) -> Picture {
    let trained = Trained::open(out).unwrap();
    let masks = trained.plan().masks().clone();
    trained.reconstruct(&[image.to_owned()], &masks, 0).unwrap()
}

#[test]
fn a_run_by_clusters_stopped_and_resumed_is_the_uninterrupted_run_to_the_bit() {
    let sandbox = Sandbox::new(24);
    let whole = sandbox.job("whole", &CLUSTERS);
    let expected = run(&whole);
    assert!(expected.last().unwrap().loss < expected[0].loss);
    let parts = sandbox.job("parts", &CLUSTERS);
    let stop = StopFlag::new();
    pretrain(&parts, &mut StopAt(3, stop.clone()), &stop).unwrap();
    // The checkpoint is enough: the file beside it is for other runs, and is written again.
    let own = parts.out.join("codebook.safetensors");
    fs::remove_file(&own).unwrap();
    let found = run(&Job::resume(&parts.out).unwrap());
    assert_eq!(exact(&found), exact(&expected));
    assert_eq!(state(&parts.out), state(&whole.out));
    assert_eq!(state(&parts.out)["codebook"].len(), 12 * 3);
    let whole_own = whole.out.join("codebook.safetensors");
    assert_eq!(fs::read(&own).unwrap(), fs::read(&whole_own).unwrap());

    // Found once, the colours serve another run, as clusters or as tokens.
    let given = format!("objective.codebook={}", whole_own.display());
    for target in ["clusters", "tokens"] {
        let target_key = format!("objective.target={target}");
        let changes = ["objective.target_px=2", "train.epochs=3"];
        let changes = [&changes[..], &[&target_key, &given]].concat();
        let again = run(&sandbox.job(target, &changes));
        assert_eq!(exact(&again), exact(&expected), "{target}");
    }
}

#[test]
fn a_picture_of_a_run_by_clusters_shows_its_colours_in_squares() {
    let sandbox = Sandbox::new(24);
    let job = sandbox.job("run", &CLUSTERS);
    run(&job);
    let picture = draw(&job.out, &sandbox.root.join("images/003.png"));
    let colours: Vec<[u8; 3]> = state(&job.out)["codebook"]
        .chunks_exact(3)
        .map(|word| [0, 1, 2].map(|c| (word[c] * 255.0).round() as u8))
        .collect();
    // Images of 16 px are enlarged ten times, three in a row under their titles, with 6 px around: hidden, then predicted there.
    let top = picture.height - 6 - 16 * 10;
    let at = |column: usize, x: usize, y: usize| {
        let (x, y) = (6 + column * (16 * 10 + 6) + x * 10, top + y * 10);
        let pixel = &picture.pixels[(y * picture.width + x) * 3..][..3];
        [pixel[0], pixel[1], pixel[2]]
    };
    let all = (0..16).flat_map(|y| (0..16).map(move |x| (x, y)));
    let hidden: Vec<_> = all.filter(|(x, y)| at(0, *x, *y) == [127; 3]).collect();
    assert!(hidden.len() >= 16 * 16 / 2, "{}", hidden.len());
    for (x, y) in hidden {
        let found = at(1, x, y);
        assert!(colours.contains(&found), "{found:?} at {x}, {y}");
        assert_eq!(found, at(1, x / 2 * 2, y / 2 * 2));
    }
}

#[test]
fn a_run_by_tokens_needs_its_file_at_the_start_only() {
    let sandbox = Sandbox::new(24);
    let path = codewords(&sandbox);
    let given = format!("objective.codebook={}", path.display());
    let changes = [
        "objective.target=tokens",
        "objective.target_px=2",
        "objective.head=mlp",
        "objective.scope=full",
        "train.accumulation=2",
        "train.epochs=3",
        &given,
    ];
    let expected = run(&sandbox.job("whole", &changes));
    assert!(expected.last().unwrap().loss < expected[0].loss);
    let parts = sandbox.job("parts", &changes);
    let stop = StopFlag::new();
    pretrain(&parts, &mut StopAt(4, stop.clone()), &stop).unwrap();
    fs::remove_file(path).unwrap();
    let found = run(&Job::resume(&parts.out).unwrap());
    assert_eq!(exact(&found), exact(&expected));
    let picture = draw(&parts.out, &sandbox.root.join("images/003.png"));
    assert!(picture.pixels.iter().any(|&value| value != 255));
}

/// A file may have more words than k-means looks for; the run keeps their number and can be opened again.
#[test]
fn a_large_codebook_of_a_file_serves_as_clusters_and_the_run_goes_on() {
    let sandbox = Sandbox::new(24);
    let path = sandbox.root.join("words.safetensors");
    let values: Vec<f32> = (0..5000 * 3)
        .map(|i| (i * 37 % 1000) as f32 / 1000.0)
        .collect();
    write_tensor(&path, "words", &[5000, 3], &values);
    let given = format!("objective.codebook={}", path.display());
    let changes = [
        "objective.target=clusters",
        "objective.target_px=4",
        "train.epochs=2",
    ];
    let job = sandbox.job("run", &[&changes[..], &[&given]].concat());
    let stop = StopFlag::new();
    pretrain(&job, &mut StopAt(2, stop.clone()), &stop).unwrap();
    run(&Job::resume(&job.out).unwrap());
    let picture = draw(&job.out, &sandbox.root.join("images/003.png"));
    assert!(picture.pixels.iter().any(|&value| value != 255));
}

/// A Swin transformer with an inverse one on it: parts of a batch add up, and a run goes on exactly.
#[test]
fn a_swin_transformer_with_a_heavy_head_is_resumed_to_the_bit() {
    let sandbox = Sandbox::new(24);
    let changes = [
        "model.variant=swinv2-t/2",
        "model.depth=unset",
        "model.width=8",
        "model.heads=1",
        "model.depths=[1, 2, 1]",
        "model.window=2",
        "objective.head=inverse-swin-t",
        "data.image_size=16",
        "mask.cell_px=4",
        "train.max_steps=4",
    ];
    let expected = run(&sandbox.job("whole", &changes));
    let parts = sandbox.job("parts", &changes);
    let stop = StopFlag::new();
    pretrain(&parts, &mut StopAt(2, stop.clone()), &stop).unwrap();
    let found = run(&Job::resume(&parts.out).unwrap());
    assert_eq!(exact(&found), exact(&expected));
    let picture = draw(&parts.out, &sandbox.root.join("images/003.png"));
    assert!(picture.pixels.iter().any(|&value| value != 255));
}

#[test]
fn every_other_target_loss_and_scope_trains_in_parts_as_in_one() {
    let sandbox = Sandbox::new(24);
    let variants: [&[&str]; 5] = [
        &["objective.loss=l2", "objective.scope=full"],
        &["objective.loss=smooth-l1", "objective.target_px=4"],
        &["objective.norm_target=7", "objective.target_px=2"],
        &["objective.target=bins", "objective.head=mlp"],
        &[
            "objective.target=bins",
            "objective.bins=256",
            "mask.cell_px=8",
        ],
    ];
    for (i, changes) in variants.iter().enumerate() {
        let one = [changes, &["train.epochs=2"][..]].concat();
        let parts = [&one[..], &["train.accumulation=4"]].concat();
        let job = sandbox.job(&format!("one{i}"), &one);
        let (one, parts) = (run(&job), run(&sandbox.job(&format!("parts{i}"), &parts)));
        for (one, parts) in one.iter().zip(&parts) {
            let close = (one.loss - parts.loss).abs() < 2e-3 * one.loss;
            assert!(close, "{changes:?}: {} is not {}", parts.loss, one.loss);
        }
        let picture = draw(&job.out, &sandbox.root.join("images/000.png"));
        assert!(picture.pixels.iter().any(|&value| value != 255));
    }
}

#[test]
fn what_is_no_codebook_is_refused_before_a_folder_is_made() {
    let sandbox = Sandbox::new(8);
    let path = sandbox.root.join("words.safetensors");
    let nan = [vec![0.5; 23], vec![f32::NAN]].concat();
    for (shape, values, expected) in [
        (&[2, 3, 4][..], vec![0.5; 24], "its shape is [2, 3, 4]"),
        (&[3, 8], vec![0.5; 24], "its rows have 8 values"),
        (&[2, 12], nan, "a value of codeword 1 is NaN"),
        // Squares of 3 px in patches of 4.
        (&[2, 27], vec![0.5; 54], "fitting: no `objective.target_px`"),
    ] {
        write_tensor(&path, "words", shape, &values);
        let (job, error) = refused(&sandbox, &path);
        let mut text = error.to_string();
        if let Some(source) = error.source() {
            assert!(text.contains("words.safetensors") && text.contains("`words`"));
            text = source.to_string();
        }
        assert!(text.contains(expected), "{text}");
        assert!(error.hint().is_some() && !job.out.exists());
    }
    fs::write(&path, "no tensors").unwrap();
    let (_, error) = refused(&sandbox, &path);
    assert!(error.to_string().contains("words.safetensors"), "{error}");
    fs::remove_file(&path).unwrap();
    let (_, error) = refused(&sandbox, &path);
    assert!(error.to_string().contains("cannot read"), "{error}");
}

fn refused(sandbox: &Sandbox, path: &Path) -> (Job, Error) {
    let given = format!("objective.codebook={}", path.display());
    let job = sandbox.job("run", &["objective.target=tokens", &given]);
    let error = pretrain(&job, &mut (), &StopFlag::new()).unwrap_err();
    (job, error)
}

#[test]
fn a_checkpoint_with_a_spoilt_codebook_is_an_error_and_no_panic() {
    let sandbox = Sandbox::new(16);
    let job = sandbox.job("run", &[&CLUSTERS[..], &["data.held_out=0"]].concat());
    run(&job);
    let path = job.out.join("checkpoints/last.safetensors");
    let archive = Archive::open(&path).unwrap();
    let tensors: Vec<(String, Vec<usize>, Vec<f32>)> = archive
        .names()
        .map(|name| (name, archive.array(name).unwrap()))
        .map(|(name, array)| (name.to_owned(), array.shape, array.values))
        .collect();
    let spoilt: [Option<(&[usize], usize)>; 5] = [
        None,
        Some((&[36], 36)),
        Some((&[9, 4], 36)),
        Some((&[10, 3], 30)),
        Some((&[3, 12], 36)),
    ];
    let values = [0.5; 36];
    for spoilt in spoilt {
        let mut entries: Vec<Entry<'_>> = tensors
            .iter()
            .filter(|(name, ..)| name != "codebook")
            .map(|(name, shape, values)| Entry::f32(name, shape, values))
            .collect();
        if let Some((shape, n)) = spoilt {
            entries.push(Entry::f32("codebook", shape, &values[..n]));
        }
        write_archive(&path, &entries, archive.metadata()).unwrap();
        let error = Trained::open(&job.out).unwrap_err();
        assert!(error.to_string().contains("last.safetensors"), "{error}");
        pretrain(&Job::resume(&job.out).unwrap(), &mut (), &StopFlag::new()).unwrap_err();
    }
}

struct Notes(Vec<String>);

impl Observer for Notes {
    fn see(&mut self, event: &Event<'_>) {
        if let Event::Note(text) = event {
            self.0.push((*text).to_owned());
        }
    }
}

/// Replaces the images by such of whole lines of `n` colours.
fn paint(sandbox: &Sandbox, n: usize) {
    for i in 0..8 {
        let pixels = (0..16 * 16).flat_map(|k| [(k / 16 % n * 60) as u8; 3]);
        let picture = Picture {
            width: 16,
            height: 16,
            pixels: pixels.collect(),
        };
        let path = sandbox.root.join(format!("images/{i:03}.png"));
        picture.write(&path).unwrap();
    }
}

#[test]
fn fewer_colours_than_clusters_are_told_and_a_single_one_is_refused() {
    let sandbox = Sandbox::new(8);
    let changes = [
        "objective.target=clusters",
        "objective.clusters=12",
        "train.epochs=1",
        "train.batch_size=4",
    ];
    paint(&sandbox, 3);
    let mut notes = Notes(Vec::new());
    let job = sandbox.job("three", &changes);
    pretrain(&job, &mut notes, &StopFlag::new()).unwrap();
    let said = "the images have 3 colours where 12 clusters were asked for";
    assert!(
        notes.0.iter().any(|note| note.contains(said)),
        "{:?}",
        notes.0
    );
    assert!(
        Trained::open(&job.out)
            .unwrap()
            .plan()
            .config()
            .objective
            .clusters
            == 3
    );
    paint(&sandbox, 1);
    let job = sandbox.job("one", &changes);
    let error = pretrain(&job, &mut (), &StopFlag::new()).unwrap_err();
    assert!(matches!(error, Error::FewColours { found: 1 }), "{error}");
}
