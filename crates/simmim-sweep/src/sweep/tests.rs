//! Sweeps of runs that take no time, killed where it matters.

use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::{Deserialize, Serialize};
use simmim_collective::ThreadRank;
use simmim_config::{Difference, RawConfig};
use simmim_picture::Picture;
use simmim_train::run_folder::CONFIG;

use super::*;

/// Points that write their configuration and are done.
struct Toy {
    points: Vec<Point>,
    /// The names of the points that were run, each with how.
    ran: Mutex<Vec<(String, Mode)>>,
    /// The run that is killed after it has begun.
    killed_run: Option<usize>,
    /// How many times the tables are written before that is where the process is killed.
    n_tables: AtomicUsize,
    /// The unit that results are wanted in.
    unit: &'static str,
    /// The fingerprint of its images.
    images: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct ToyResult {
    lr: f64,
    unit: String,
}

/// Stands for a kill: what comes after it does not happen.
fn kill() -> Error {
    Error::NothingHeldOut
}

impl Toy {
    fn new(lrs: &[f64]) -> Self {
        let point = |lr: &f64| {
            let mut config = RawConfig::default();
            config.train.base_lr = *lr;
            let name = format!("lr={lr}");
            Point { name, config }
        };
        Self {
            points: lrs.iter().map(point).collect(),
            ran: Mutex::default(),
            killed_run: None,
            n_tables: AtomicUsize::new(usize::MAX),
            unit: "px",
            images: 7,
        }
    }

    fn ran(&self) -> Vec<String> {
        let ran = self.ran.lock().unwrap();
        ran.iter().map(|(name, _)| name.clone()).collect()
    }

    fn sweep(&self, out: &Path) -> Result<Summary<ToyResult>, Error> {
        self.sweep_on(out, Arc::new(Alone))
    }

    fn sweep_on(
        &self,
        out: &Path,
        ranks: Arc<dyn Collective>,
    ) -> Result<Summary<ToyResult>, Error> {
        let sweep = Sweep::open(self, out, "test", self.points.clone(), &ranks)?;
        sweep.run(&mut (), &StopFlag::new())
    }
}

impl Task for Toy {
    type Result = ToyResult;

    const KIND: Kind = Kind {
        name: "toy",
        stem: "toy",
        mark: "toy.csv",
    };

    fn contradiction(&self, point: &Point, found: Difference) -> Error {
        let [before, now] = found.lines();
        Error::Contradicts {
            point: point.name.clone(),
            key: found.key.path(),
            before,
            now,
        }
    }

    fn images(&self, _point: &Point) -> Result<u64, Error> {
        Ok(self.images)
    }

    fn length(&self, point: &Point) -> Result<Length, Error> {
        Ok(Length {
            n_steps: point.config.train.epochs as u64,
            step_cost: 1.0,
        })
    }

    fn foresee(&self, _job: &Job, _observer: &mut dyn Observer) -> Result<(), Error> {
        Ok(())
    }

    fn run(
        &self,
        point: &Point,
        job: &Job,
        _observer: &mut dyn Observer,
        stop: &StopFlag,
    ) -> Result<Option<ToyResult>, Error> {
        let number = {
            let mut ran = self.ran.lock().unwrap();
            ran.push((point.name.clone(), job.mode));
            ran.len() - 1
        };
        fs::create_dir_all(&job.out).unwrap();
        fs::write(job.out.join(CONFIG), job.config.to_toml()).unwrap();
        if self.killed_run == Some(number) {
            return Err(kill());
        }
        let result = ToyResult {
            lr: job.config.train.base_lr,
            unit: "px".to_owned(),
        };
        Ok((!stop.is_raised()).then_some(result))
    }

    fn complete(&self, _point: &Point, _run: &Path, result: &mut ToyResult) -> Result<bool, Error> {
        let is_other = result.unit != self.unit;
        self.unit.clone_into(&mut result.unit);
        Ok(is_other)
    }

    fn tables(&self, states: Vec<State<'_, ToyResult>>) -> Result<Tables, Error> {
        let left = self.n_tables.load(Ordering::Relaxed);
        let left = left.checked_sub(1).ok_or_else(kill)?;
        self.n_tables.store(left, Ordering::Relaxed);
        let line = |state: &State<'_, ToyResult>| match state {
            State::Done(result) => format!("{} {}\n", result.lr, result.unit),
            State::Begun { steps } => format!("begun {steps}\n"),
            State::Waiting => "waiting\n".to_owned(),
        };
        Ok(Tables {
            csv: states.iter().map(line).collect(),
            markdown: String::new(),
            plot: Picture {
                width: 1,
                height: 1,
                pixels: vec![0; 3],
            },
        })
    }
}

fn table(out: &Path) -> String {
    fs::read_to_string(out.join("toy.csv")).unwrap()
}

/// What sweeps of several ranks come to, one a rank.
fn on_ranks(toys: &[Toy], out: &Path) -> Vec<Result<Summary<ToyResult>, Error>> {
    let ranks = ThreadRank::ranks(toys.len()).into_iter().zip(toys);
    std::thread::scope(|scope| {
        let threads: Vec<_> = ranks
            .map(|(rank, toy)| scope.spawn(move || toy.sweep_on(out, Arc::new(rank))))
            .collect();
        threads.into_iter().map(|it| it.join().unwrap()).collect()
    })
}

#[test]
fn ranks_share_the_runs_and_leave_what_one_process_leaves() {
    let folder = tempfile::tempdir().unwrap();
    let [one, several] = ["one", "several"].map(|name| folder.path().join(name));
    let lrs = [0.1, 0.2, 0.3, 0.4, 0.5];
    Toy::new(&lrs).sweep(&one).unwrap();
    // One of them is there already, measured in another unit.
    let mut first = Toy::new(&lrs[..1]);
    first.unit = "cells";
    first.sweep(&several).unwrap();
    let toys = [Toy::new(&lrs), Toy::new(&lrs), Toy::new(&lrs)];
    for summary in on_ranks(&toys, &several) {
        assert!(summary.unwrap().is_finished());
    }
    let mut ran: Vec<String> = toys.iter().flat_map(Toy::ran).collect();
    ran.sort();
    assert_eq!(ran, ["lr=0.2", "lr=0.3", "lr=0.4", "lr=0.5"]);
    assert_eq!(table(&several), table(&one));
    for name in ["lr=0.1.json", "lr=0.5.json", "lr=0.5.toml"] {
        let read = |out: &Path| fs::read_to_string(out.join("points").join(name)).unwrap();
        assert_eq!(read(&several), read(&one));
    }
}

#[test]
fn a_run_that_fails_on_a_rank_ends_all_and_what_is_done_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let mut toys = [Toy::new(&[0.1, 0.2, 0.3]), Toy::new(&[0.1, 0.2, 0.3])];
    toys[1].killed_run = Some(0);
    let found = on_ranks(&toys, folder.path());
    let said: Vec<String> = found
        .into_iter()
        .map(|own| own.unwrap_err().to_string())
        .collect();
    assert_eq!(said[1], kill().to_string());
    assert_eq!(
        said[0],
        format!("rank 1 of the training has failed: {}", kill())
    );
    assert!(table(folder.path()).starts_with("0.1 px\nbegun 0\n"));
    // A full disk on rank 0 is everybody's, too.
    let toys = [Toy::new(&[0.1, 0.2, 0.3]), Toy::new(&[0.1, 0.2, 0.3])];
    toys[0].n_tables.store(0, Ordering::Relaxed);
    assert!(on_ranks(&toys, folder.path()).iter().all(Result::is_err));
}

#[test]
fn ranks_of_other_images_or_without_the_folder_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut toys = [Toy::new(&[0.1]), Toy::new(&[0.1])];
    toys[1].images = 8;
    let found = on_ranks(&toys, &folder.path().join("out"));
    let said = found[0].as_ref().unwrap_err().to_string();
    assert!(said.contains("rank 1") && said.contains("images"), "{said}");
    assert!(!folder.path().join("out").exists());
    let seen = Folder::seen(folder.path(), &Toy::KIND, &Alone).unwrap_err();
    assert!(seen.to_string().ends_with("is not there for rank 0"));
}

#[test]
fn a_sweep_killed_between_a_result_and_the_table_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let mut killed = Toy::new(&[0.1, 0.2]);
    killed.n_tables = AtomicUsize::new(1);
    killed.sweep(&out).unwrap_err();
    assert_eq!(killed.ran(), ["lr=0.1"]);
    assert_eq!(table(&out), "waiting\nwaiting\n");
    let next = Toy::new(&[0.1, 0.2]);
    assert!(next.sweep(&out).unwrap().is_finished());
    assert_eq!(next.ran(), ["lr=0.2"]);
    assert_eq!(table(&out), "0.1 px\n0.2 px\n");
    // So does one that was killed after its last result.
    let mut killed = Toy::new(&[0.1, 0.2, 0.3]);
    killed.n_tables = AtomicUsize::new(1);
    killed.sweep(&out).unwrap_err();
    let next = Toy::new(&[0.1, 0.2, 0.3]);
    next.sweep(&out).unwrap();
    assert!(next.ran().is_empty());
    assert_eq!(table(&out), "0.1 px\n0.2 px\n0.3 px\n");
}

#[test]
fn a_run_that_was_killed_goes_on_with_the_images_where_they_are_now() {
    let folder = tempfile::tempdir().unwrap();
    let mut killed = Toy::new(&[0.1]);
    killed.killed_run = Some(0);
    killed.sweep(folder.path()).unwrap_err();
    let mut next = Toy::new(&[0.1]);
    next.points[0].config.data.path = Some("moved".to_owned());
    next.sweep(folder.path()).unwrap();
    assert_eq!(
        *next.ran.lock().unwrap(),
        [("lr=0.1".to_owned(), Mode::Resume)]
    );
    let run = folder.path().join("runs/lr=0.1").join(CONFIG);
    let config = fs::read_to_string(run).unwrap();
    assert!(config.contains("path = \"moved\""), "{config}");
}

#[test]
fn the_result_of_a_run_whose_folder_was_removed_is_not_that_of_the_next() {
    let folder = tempfile::tempdir().unwrap();
    Toy::new(&[0.1]).sweep(folder.path()).unwrap();
    fs::remove_dir_all(folder.path().join("runs/lr=0.1")).unwrap();
    let mut killed = Toy::new(&[0.1]);
    killed.killed_run = Some(0);
    killed.sweep(folder.path()).unwrap_err();
    assert!(!folder.path().join("points/lr=0.1.json").exists());
    let next = Toy::new(&[0.1]);
    next.sweep(folder.path()).unwrap();
    assert_eq!(next.ran(), ["lr=0.1"]);
}

#[test]
fn a_stop_leaves_what_is_not_done_for_the_next_time() {
    /// Stops in the second point.
    struct InTheSecond(StopFlag);
    impl Observer for InTheSecond {
        fn see(&mut self, event: &Event<'_>) {
            if matches!(event, Event::Point { number: 2, .. }) {
                self.0.raise();
            }
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let toy = Toy::new(&[0.1, 0.2, 0.3]);
    let stop = StopFlag::new();
    let alone: Arc<dyn Collective> = Arc::new(Alone);
    let sweep = Sweep::open(&toy, folder.path(), "test", toy.points.clone(), &alone).unwrap();
    let summary = sweep.run(&mut InTheSecond(stop.clone()), &stop).unwrap();
    assert_eq!((summary.results.len(), summary.n_runs), (1, 3));
    assert!(!summary.is_finished());
    assert_eq!(table(folder.path()), "0.1 px\nbegun 0\nwaiting\n");
}

#[test]
fn what_is_missing_in_a_stored_result_is_measured_without_training() {
    let folder = tempfile::tempdir().unwrap();
    Toy::new(&[0.1]).sweep(folder.path()).unwrap();
    let mut other = Toy::new(&[0.1]);
    other.unit = "cells";
    other.sweep(folder.path()).unwrap();
    assert!(other.ran().is_empty());
    assert_eq!(table(folder.path()), "0.1 cells\n");
    let stored = fs::read_to_string(folder.path().join("points/lr=0.1.json")).unwrap();
    assert!(stored.contains("cells"), "{stored}");
}

#[test]
fn another_value_of_a_key_that_decides_is_refused_and_of_one_that_does_not_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    Toy::new(&[0.1]).sweep(folder.path()).unwrap();
    let mut other = Toy::new(&[0.1]);
    other.points[0].config.train.keep = 9;
    other.sweep(folder.path()).unwrap();
    other.points[0].config.train.weight_decay = 0.5;
    let error = other.sweep(folder.path()).unwrap_err().to_string();
    assert!(error.contains("`train.weight_decay = "), "{error}");
    assert!(other.ran().is_empty());
}

#[test]
fn a_folder_of_something_else_is_refused_and_one_that_was_killed_at_its_beginning_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let of = |name: &str| folder.path().join(name);
    fs::create_dir_all(of("begun/points")).unwrap();
    fs::create_dir_all(of("begun/runs")).unwrap();
    fs::write(of("begun/run.lock"), "").unwrap();
    fs::write(of("begun/.simmim-partial-aBcDeF"), "").unwrap();
    Toy::new(&[0.1]).sweep(&of("begun")).unwrap();
    assert!(!of("begun/.simmim-partial-aBcDeF").exists());
    fs::create_dir_all(of("other/points")).unwrap();
    fs::write(of("other/points/map.png"), "").unwrap();
    let error = Toy::new(&[0.1]).sweep(&of("other")).unwrap_err();
    assert!(error.to_string().ends_with("is not empty and holds no toy"));
    assert_eq!(fs::read_dir(of("other")).unwrap().count(), 1);
}
