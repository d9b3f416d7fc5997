//! A sweep whose runs several processes share: each does whole runs, and rank 0 stores what comes of them.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;
use simmim_collective::{Alone, Beside, Collective, Fact, agree, require_same};
use simmim_train::{Observer, StopFlag, level_of};

use super::folder::Folder;
use super::meeting::{Desk, Done};
use super::{Kind, Opened, Point, Sweep, Task};
use crate::error::Error;

/// Refuses ranks that would not do the same runs on the same images.
pub(super) fn require_alike<T: Task>(
    task: &T,
    points: &[Point],
    ranks: &dyn Collective,
) -> Result<(), Error> {
    let Some(first) = points.first().filter(|_| !ranks.is_alone()) else {
        return Ok(());
    };
    let images = agree(ranks, task.images(first))?;
    let mut runs = DefaultHasher::new();
    for point in points {
        (&point.name, point.config.to_toml()).hash(&mut runs);
    }
    let level = level_of(&first.config);
    let facts = [
        Fact::version(),
        Fact::fingerprint("runs", runs.finish()),
        Fact::fingerprint("images", images),
        Fact::new("instructions", level),
    ];
    Ok(require_same(ranks, &facts)?)
}

/// The folder that rank 0 has opened, on every rank, with what is done in it.
pub(super) fn open<R: Serialize + DeserializeOwned>(
    own: Option<Opened<R>>,
    out: &Path,
    kind: &Kind,
    ranks: &dyn Collective,
) -> Result<Opened<R>, Error> {
    let mut told = match &own {
        Some(opened) => serde_json::to_vec(&opened.results).expect("results are plain JSON"),
        None => Vec::new(),
    };
    ranks.broadcast(&mut told)?;
    let opened = match own {
        Some(opened) => Ok(opened),
        None => Folder::seen(out, kind, ranks).map(|folder| Opened {
            folder,
            results: serde_json::from_slice(&told).expect("results that rank 0 has written"),
        }),
    };
    agree(ranks, opened)
}

/// A run of its own on the cores of several ranks.
pub(super) fn beside(ranks: &dyn Collective) -> Arc<dyn Collective> {
    match ranks.n_on_these_cores() {
        1 => Arc::new(Alone),
        n_on_these_cores => Arc::new(Beside { n_on_these_cores }),
    }
}

impl<T: Task> Sweep<'_, T> {
    /// Does the runs that are left, each on one rank, and returns when all are done or one rank has stopped or failed.
    pub(super) fn run_on_ranks(
        &mut self,
        observer: &mut dyn Observer,
        stop: &StopFlag,
    ) -> Result<(), Error> {
        let shared = self.share(observer, stop);
        // Nobody is there to agree with.
        if matches!(&shared, Err(Error::Ranks(error)) if error.are_gone()) {
            return shared;
        }
        let ranks = Arc::clone(&self.ranks);
        let own = match shared {
            // What earlier results lack now.
            Ok(()) if ranks.is_first() => self.run_here(observer, stop),
            other => other,
        };
        agree(&*ranks, own)
    }

    fn share(&mut self, observer: &mut dyn Observer, stop: &StopFlag) -> Result<(), Error> {
        let left = (0..self.points.len()).filter(|idx| self.results[*idx].is_none());
        let (left, desk) = (left.collect(), Desk::default());
        let results = Mutex::new(std::mem::take(&mut self.results));
        let this = &*self;
        let mut fault = None;
        let mut store = |done| {
            this.store(done, &results).map_err(|error| {
                let reason = error.to_string();
                fault.get_or_insert(error);
                reason
            })
        };
        let own = std::thread::scope(|scope| {
            scope.spawn(|| desk.meet(&*this.ranks, left, stop, &mut store));
            this.work(&desk, observer, stop)
        });
        self.results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
        own.and(fault.map_or(Ok(()), Err))
    }

    /// Does runs until there is none left for this rank. An error of its own is told to the others, which stop.
    fn work(&self, desk: &Desk, observer: &mut dyn Observer, stop: &StopFlag) -> Result<(), Error> {
        let mut own = Ok(());
        while let Some(idx) = desk.next()? {
            match self.run_one(idx, observer, stop) {
                Ok(Some(result)) => desk.tell(Done {
                    idx,
                    result: serde_json::to_value(result).expect("numbers and text are plain JSON"),
                }),
                Ok(None) => {}
                Err(error) => {
                    desk.fail(error.to_string());
                    own = Err(error);
                }
            }
        }
        own
    }

    fn run_one(
        &self,
        idx: usize,
        observer: &mut dyn Observer,
        stop: &StopFlag,
    ) -> Result<Option<T::Result>, Error> {
        let Some(mut result) = self.train(idx, observer, stop)? else {
            return Ok(None);
        };
        let point = &self.points[idx];
        let run = self.folder.run(&point.name);
        self.task.complete(point, &run, &mut result)?;
        Ok(Some(result))
    }

    /// Takes what a rank has done; on rank 0 it is written at once, as it cost a whole training.
    fn store(&self, done: Done, results: &Mutex<Vec<Option<T::Result>>>) -> Result<(), Error> {
        let Done { idx, result } = done;
        let point = &self.points[idx];
        let result: T::Result = serde_json::from_value(result).expect("what a rank has written");
        if self.ranks.is_first() {
            self.task.require_usable(point, &result)?;
            self.folder.write_result(&point.name, &result)?;
        }
        let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
        results[idx] = Some(result);
        if !self.ranks.is_first() {
            return Ok(());
        }
        self.write_tables_of(&results)
    }
}
