//! What is refused, what is removed, and who may write.

use std::fs;
use std::path::{Path, PathBuf};

use simmim_train::Error;
use simmim_train::run_folder::{Mode, RunFolder};
use tempfile::TempDir;

fn sandbox() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("runs/one");
    (folder, path)
}

/// Every file below a folder, relative to it, sorted.
fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut left = vec![folder.to_owned()];
    while let Some(next) = left.pop() {
        for entry in fs::read_dir(next).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                left.push(path);
            } else {
                found.push(
                    path.strip_prefix(folder)
                        .expect("below")
                        .to_string_lossy()
                        .into_owned(),
                );
            }
        }
    }
    found.sort();
    found
}

/// A finished run with two checkpoints and files that the user put beside them.
fn finished_run(path: &Path) {
    let run = RunFolder::create(path, Mode::New).expect("a new run");
    let made = [
        run.config(),
        run.metrics(),
        run.log(),
        run.checkpoint(5),
        run.checkpoint(10),
        run.reconstruction(10),
    ];
    let events = run.events().join("events.out.tfevents.1.simmim");
    let users = [
        run.checkpoints().join("best.safetensors"),
        run.path().join("notes.txt"),
    ];
    for file in made.iter().chain([&events]).chain(&users) {
        fs::write(file, "x").expect("written");
    }
}

#[test]
fn a_new_run_gets_its_folders() {
    let (_sandbox, path) = sandbox();
    let run = RunFolder::create(&path, Mode::New).unwrap();
    for folder in [run.events(), run.checkpoints(), run.reconstructions()] {
        assert!(folder.is_dir());
    }
    assert_eq!(files(&path), ["run.lock"]);
}

#[test]
fn a_new_run_refuses_a_folder_with_a_run_and_names_both_flags() {
    let (_sandbox, path) = sandbox();
    finished_run(&path);
    let error = RunFolder::create(&path, Mode::New).unwrap_err();
    assert!(error.to_string().contains("is not empty"));
    let hint = error.hint().unwrap();
    assert!(hint.contains("--resume") && hint.contains("--overwrite"));
}

#[test]
fn a_folder_that_holds_something_else_is_refused_in_every_mode_and_stays_as_it_is() {
    let (_sandbox, path) = sandbox();
    fs::create_dir_all(&path).unwrap();
    fs::write(path.join("holiday.jpg"), "x").unwrap();
    for mode in [Mode::New, Mode::Resume, Mode::Overwrite] {
        let error = RunFolder::create(&path, mode).unwrap_err();
        assert!(
            matches!(
                error,
                Error::FolderNotEmpty { is_run: false, .. } | Error::NotARun { .. }
            ),
            "{mode:?}"
        );
    }
    assert_eq!(files(&path), ["holiday.jpg"]);
}

#[test]
fn overwriting_removes_what_a_run_makes_and_nothing_else() {
    let (_sandbox, path) = sandbox();
    finished_run(&path);
    RunFolder::create(&path, Mode::Overwrite).unwrap();
    assert_eq!(files(&path), ["notes.txt", "run.lock"]);
}

#[test]
fn resuming_keeps_the_run_and_removes_files_that_were_not_finished() {
    let (_sandbox, path) = sandbox();
    finished_run(&path);
    let before = files(&path);
    fs::write(path.join("checkpoints/.simmim-partial-x1"), "half").unwrap();
    let run = RunFolder::create(&path, Mode::Resume).unwrap();
    assert_eq!(files(&path), before);
    let steps: Vec<u64> = run
        .list_checkpoints()
        .unwrap()
        .into_iter()
        .map(|(step, _)| step)
        .collect();
    assert_eq!(steps, [5, 10]);
}

#[test]
fn only_a_run_can_be_resumed() {
    let (_sandbox, path) = sandbox();
    assert!(matches!(
        RunFolder::create(&path, Mode::Resume),
        Err(Error::NotARun { .. })
    ));
    assert!(!path.exists());
}

#[test]
fn two_runs_cannot_share_a_folder_and_the_second_may_once_the_first_is_done() {
    let (_sandbox, path) = sandbox();
    let first = RunFolder::create(&path, Mode::New).unwrap();
    fs::write(first.config(), "").unwrap();
    assert!(matches!(
        RunFolder::create(&path, Mode::Resume),
        Err(Error::Locked { .. })
    ));
    assert!(matches!(
        RunFolder::create(&path, Mode::Overwrite),
        Err(Error::Locked { .. })
    ));
    drop(first);
    RunFolder::create(&path, Mode::Resume).unwrap();
}

#[test]
fn pruning_keeps_the_newest_checkpoints_and_the_users_own() {
    let (_sandbox, path) = sandbox();
    finished_run(&path);
    let run = RunFolder::create(&path, Mode::Resume).unwrap();
    run.prune_checkpoints(0).unwrap();
    assert_eq!(run.list_checkpoints().unwrap().len(), 2);
    run.prune_checkpoints(1).unwrap();
    assert_eq!(run.list_checkpoints().unwrap(), [(10, run.checkpoint(10))]);
    assert!(run.checkpoints().join("best.safetensors").exists());
}

#[test]
fn a_disk_without_room_is_an_error_that_gives_both_numbers() {
    let (_sandbox, path) = sandbox();
    let run = RunFolder::create(&path, Mode::New).unwrap();
    run.require_free_bytes(1).unwrap();
    if cfg!(unix) {
        let error = run.require_free_bytes(u64::MAX).unwrap_err();
        assert!(error.to_string().contains(&u64::MAX.to_string()));
    }
}

#[test]
fn a_place_that_cannot_be_written_is_an_error_before_the_run() {
    let (sandbox, _) = sandbox();
    let file = sandbox.path().join("file");
    fs::write(&file, "x").unwrap();
    assert!(RunFolder::create(&file.join("run"), Mode::New).is_err());
}

#[test]
fn what_a_run_leaves_that_was_killed_before_its_configuration_counts_as_empty() {
    let (_sandbox, path) = sandbox();
    drop(RunFolder::create(&path, Mode::New).unwrap());
    fs::write(path.join("log.txt"), "1.0 278 images\n").unwrap();
    fs::write(path.join(".simmim-partial-x1"), "half a configuration").unwrap();
    RunFolder::create(&path, Mode::New).unwrap();
}
