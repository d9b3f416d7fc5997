//! A run that is stopped, or finds the disk full, at each of its writes, renames and syncs in turn.

use std::sync::{Mutex, PoisonError};
use std::{fs, thread};

use crate::resume::are_equal;
use crate::sandbox::Sandbox;
use crate::strace::{self, Call, Fault, Struck};

/// A run of two epochs with validations, best weights, checkpoints and pictures.
const RUN: &str = "pretrain --config tiny.toml --data photos";

/// Every way in which a program changes a disk. Which of its kin is called is up to the system's library.
const CALLS: [&str; 14] = [
    "write",
    "writev",
    "pwrite64",
    "fsync",
    "fdatasync",
    "rename",
    "renameat",
    "renameat2",
    "link",
    "linkat",
    "unlink",
    "unlinkat",
    "mkdir",
    "ftruncate",
];

/// The calls of a run one after the other, for several threads.
#[derive(Default)]
struct Turns {
    /// The next one: by its place in [`CALLS`], and its number from 0.
    next: Mutex<(usize, usize)>,
}

impl Turns {
    fn take(&self, fault: Fault) -> Option<Call> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let name = CALLS.get(next.0)?;
        next.1 += 1;
        Some(Call {
            name,
            number: next.1,
            fault,
        })
    }

    /// There are no more of that name.
    fn end(&self, name: &str) {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        if CALLS.get(next.0) == Some(&name) {
            *next = (next.0 + 1, 0);
        }
    }
}

/// A run for each call, in which that call fails, on all cores. `hold` looks at what came of it.
fn at_every_call(sandbox: &Sandbox, fault: Fault, hold: impl Fn(Call, &Struck) + Sync) -> usize {
    let (turns, n_struck) = (Turns::default(), Mutex::new(0));
    let work = || {
        while let Some(call) = turns.take(fault) {
            let out = format!("{}-{}", call.name, call.number);
            let struck = strace::strike(sandbox, call, &format!("{RUN} --out {out}"));
            if struck.path.is_none() {
                struck.ran.ok();
                turns.end(call.name);
                continue;
            }
            hold(call, &struck);
            sandbox
                .simmim(&format!("{RUN} --out {out} --auto-resume"))
                .ok();
            are_equal(&sandbox.path("whole"), &sandbox.path(&out));
            fs::remove_dir_all(sandbox.path(&out)).unwrap();
            *n_struck.lock().unwrap() += 1;
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    n_struck.into_inner().unwrap()
}

#[test]
fn a_run_that_is_killed_at_any_write_rename_or_sync_ends_as_one_that_was_not() {
    if !strace::is_here("a kill at every write, rename and sync") {
        return;
    }
    let sandbox = Sandbox::with_photos(8);
    sandbox.simmim(&format!("{RUN} --out whole")).ok();
    let n = at_every_call(&sandbox, Fault::Kill, |_, _| {});
    eprintln!("killed at {n} calls");
    assert!(n > 60, "only {n} calls were met");
}

#[test]
fn a_disk_that_is_full_at_any_write_loses_nothing_and_is_named() {
    if !strace::is_here("a full disk at every write, rename and sync") {
        return;
    }
    let sandbox = Sandbox::with_photos(8);
    sandbox.simmim(&format!("{RUN} --out whole")).ok();
    let root = fs::canonicalize(sandbox.path("")).unwrap();
    let n = at_every_call(&sandbox, Fault::NoSpace, |call, struck| {
        let path = struck.path.as_ref().unwrap();
        // A rename is traced by its paths as they were given, a write by the whole one.
        let inside = path.strip_prefix(&root).unwrap_or(path);
        if struck.ran.code == Some(0) {
            // What the run says, and the second name of a checkpoint: that is copied where it cannot be linked.
            let may_fail = struck.is_muted || inside.ends_with("log.txt");
            let is_link = ["link", "linkat", "rename"].contains(&call.name);
            assert!(may_fail || is_link, "{call:?}: {struck:?}");
        } else if !struck.is_muted {
            let folder = inside.components().next().unwrap().as_os_str();
            let folder = folder.to_str().unwrap();
            let said = &struck.ran.stderr;
            assert_eq!(struck.ran.code, Some(1), "{struck:?}");
            assert!(said.contains(folder), "no {folder} in {said}");
            assert!(said.contains("No space left on device"), "{said}");
            assert!(said.contains("hint: ") && said.contains("full"), "{said}");
        }
    });
    eprintln!("a full disk at {n} calls");
    assert!(n > 60, "only {n} calls were met");
}
