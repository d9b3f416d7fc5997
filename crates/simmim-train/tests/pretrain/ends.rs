//! What a finished run leaves on the disk.

use std::fs;
use std::path::Path;

use simmim_train::{Event, Job, Observer, StopFlag, pretrain};

use crate::{Sandbox, StopAt, run, state};

/// The names of the numbered checkpoints, in order.
fn numbered(out: &Path) -> Vec<String> {
    let names = fs::read_dir(out.join("checkpoints")).unwrap();
    let mut names: Vec<String> = names
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("step-"))
        .collect();
    names.sort();
    names
}

#[derive(Default)]
struct Notes(Vec<String>);

impl Observer for Notes {
    fn see(&mut self, event: &Event<'_>) {
        if let Event::Note(text) = event {
            self.0.push((*text).to_owned());
        }
    }
}

#[test]
fn a_finished_run_keeps_as_many_checkpoints_as_are_asked_for() {
    let sandbox = Sandbox::new(24);
    // Four epochs of two steps, a checkpoint after each and where it is stopped, of which three are kept on the way.
    for (keep_at_end, kept) in [("1", &[8][..]), ("2", &[7, 8]), ("0", &[6, 7, 8])] {
        let key = format!("train.keep_at_end={keep_at_end}");
        let job = sandbox.job(keep_at_end, &["train.epochs=4", &key]);
        let stop = StopFlag::new();
        pretrain(&job, &mut StopAt(7, stop.clone()), &stop).unwrap();
        assert_eq!(numbered(&job.out).len(), 3, "not finished yet");
        run(&Job::resume(&job.out).unwrap());
        let expected = kept
            .iter()
            .map(|step| format!("step-{step:09}.safetensors"));
        assert_eq!(numbered(&job.out), expected.collect::<Vec<_>>());
    }
}

#[test]
fn a_finished_run_may_leave_the_optimisers_state_and_is_known_as_finished() {
    let sandbox = Sandbox::new(24);
    let whole = sandbox.job("whole", &["train.epochs=3"]);
    run(&whole);
    let job = sandbox.job("light", &["train.epochs=3", "train.state_at_end=false"]);
    let stop = StopFlag::new();
    pretrain(&job, &mut StopAt(4, stop.clone()), &stop).unwrap();
    // As long as it goes on, it needs all of it.
    assert!(
        state(&job.out)
            .keys()
            .any(|name| name.starts_with("optimizer."))
    );
    run(&Job::resume(&job.out).unwrap());
    let (mut expected, found) = (state(&whole.out), state(&job.out));
    expected.retain(|name, _| !name.starts_with("optimizer."));
    assert!(
        !found.is_empty() && found == expected,
        "the same weights, and nothing else"
    );
    assert_eq!(numbered(&job.out), ["step-000000006.safetensors"]);
    let bytes = |out: &Path| {
        fs::metadata(out.join("checkpoints/last.safetensors"))
            .unwrap()
            .len()
    };
    assert!(2 * bytes(&job.out) < bytes(&whole.out));
    let mut told = Notes::default();
    let again = pretrain(&Job::resume(&job.out).unwrap(), &mut told, &StopFlag::new()).unwrap();
    assert!(again.is_finished());
    assert!(
        told.0
            .iter()
            .any(|note| note.contains("the run is finished")),
        "{:?}",
        told.0
    );
    assert_eq!(state(&job.out), found);
}
