//! Batches made ahead of the consumer, on threads, in order and in bounded memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use crate::Error;
use crate::batch::Batch;
use crate::plan::{BatchPlan, Job};
use crate::resize::Scratch;

/// Batches for each worker that may be ready or under way at a time.
const N_AHEAD_PER_WORKER: usize = 2;

/// The most workers: more than the processors of the machines that train, and few enough that a
/// number far out of place costs neither the process's threads nor the memory of their batches.
const MAX_WORKERS: usize = 256;

/// Which batches of a plan are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// Training batches from a step on, each step's micro-batches one after the other, without an
    /// end.
    Train {
        /// The first step.
        first_step: u64,
    },
    /// The held-out batches once. Process `rank` of `world` gets every `world`-th batch from the
    /// `rank`-th on.
    HeldOut,
    /// The batches of all images once, shared out in the same way.
    All,
}

/// Which batches of a pass over given images are made: every `every`-th from the `first`-th on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// The first one, counted from 0.
    pub first: u64,
    /// 1 for all of them.
    pub every: u64,
}

impl Pass {
    /// The `n`-th batch of the pass; `None` behind its end.
    fn job(self, plan: &BatchPlan, turn: Turn, n: u64) -> Option<Job> {
        let settings = plan.settings();
        let shared = n * turn.every + turn.first;
        match self {
            Self::Train { first_step } => Some(Job::Train {
                step: first_step + n / settings.n_micro as u64,
                micro_idx: (n % settings.n_micro as u64) as usize,
            }),
            Self::HeldOut => (shared < plan.n_held_out_batches()).then_some(Job::HeldOut(shared)),
            Self::All => (shared < plan.n_all_batches()).then_some(Job::All(shared)),
        }
    }
}

/// An iterator over the batches of a pass, made ahead by worker threads.
///
/// The batches are those of the plan, in its order, whatever the number of workers. After an
/// error the iterator ends. Dropping it stops the workers, each behind the batch it is making.
///
/// At most two batches for each worker are held at a time; give a batch that is done with to
/// [`Self::recycle`] to have its memory used again.
#[derive(Debug)]
pub struct Loader {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    last_wait_secs: f64,
}

#[derive(Debug)]
struct Shared {
    plan: Arc<BatchPlan>,
    pass: Pass,
    turn: Turn,
    state: Mutex<State>,
    /// Told when a batch becomes ready.
    ready: Condvar,
    /// Told when there is room for another batch, or when to stop.
    room: Condvar,
    n_ahead: u64,
}

#[derive(Debug, Default)]
struct State {
    /// The next batch that a worker will take up.
    next_taken: u64,
    /// The next batch that the consumer will get.
    next_given: u64,
    finished: BTreeMap<u64, Result<Batch, Error>>,
    spare: Vec<Batch>,
    stopped: bool,
}

impl Loader {
    /// Starts `n_workers` threads on a pass: at least one, and at most 256 however many are asked for.
    /// The batches do not depend on it.
    ///
    /// # Errors
    /// [`Error::TooFewImages`] for a training pass over less than one batch, and
    /// [`Error::Thread`].
    pub fn start(plan: Arc<BatchPlan>, pass: Pass, n_workers: usize) -> Result<Self, Error> {
        let turn = Turn {
            first: plan.settings().rank as u64,
            every: plan.settings().world as u64,
        };
        Self::start_in_turn(plan, pass, turn, n_workers)
    }

    /// As [`Self::start`], with some of the batches of a pass over given images: whole ones of a plan of one process, where
    /// several share the work. A training pass takes no turns.
    ///
    /// # Errors
    /// As there.
    pub fn start_in_turn(
        plan: Arc<BatchPlan>,
        pass: Pass,
        turn: Turn,
        n_workers: usize,
    ) -> Result<Self, Error> {
        // Before a thread is started, as the caller can still do something about it.
        if matches!(pass, Pass::Train { .. }) {
            plan.steps_per_epoch()?;
        }
        let n_workers = n_workers.clamp(1, MAX_WORKERS);
        let shared = Arc::new(Shared::new(plan, pass, turn, n_workers));
        // Built up in place, so that a thread that cannot be started stops those before it.
        let mut loader = Self {
            shared,
            workers: Vec::with_capacity(n_workers),
            last_wait_secs: 0.0,
        };
        for worker_idx in 0..n_workers {
            let shared = Arc::clone(&loader.shared);
            let worker = std::thread::Builder::new()
                .name(format!("loader-{worker_idx}"))
                .spawn(move || shared.work())
                .map_err(|source| Error::Thread { source })?;
            loader.workers.push(worker);
        }
        Ok(loader)
    }

    /// The plan that the batches come from.
    pub fn plan(&self) -> &Arc<BatchPlan> {
        &self.shared.plan
    }

    /// Gives a batch back, so that the next one is made in its memory.
    pub fn recycle(&self, batch: Batch) {
        let mut state = self.shared.lock();
        if (state.spare.len() as u64) < self.shared.n_ahead {
            state.spare.push(batch);
        }
    }

    /// How long the last call of `next` waited for its batch, in seconds. If this is a notable part
    /// of a step's time, the step waits for data.
    pub fn last_wait_secs(&self) -> f64 {
        self.last_wait_secs
    }
}

impl Iterator for Loader {
    type Item = Result<Batch, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let called = Instant::now();
        let batch = self.shared.take();
        self.last_wait_secs = called.elapsed().as_secs_f64();
        batch
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        self.shared.lock().stopped = true;
        self.shared.room.notify_all();
        for worker in self.workers.drain(..) {
            // A worker's panic was already handed over as the error of its batch.
            let _ = worker.join();
        }
    }
}

impl Shared {
    fn new(plan: Arc<BatchPlan>, pass: Pass, turn: Turn, n_workers: usize) -> Self {
        Self {
            plan,
            pass,
            turn,
            state: Mutex::default(),
            ready: Condvar::new(),
            room: Condvar::new(),
            n_ahead: (n_workers * N_AHEAD_PER_WORKER) as u64,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code that can panic runs under the lock, so its state is whole even if poisoned.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The life of a worker.
    fn work(&self) {
        let mut scratch = Scratch::new();
        while let Some((n, job, spare)) = self.claim() {
            let mut hand_over = HandOver {
                shared: self,
                n,
                made: None,
            };
            hand_over.made = Some(self.plan.make(job, &mut scratch, spare));
        }
    }

    /// Waits for room and takes up the next batch; `None` when there is no more to do.
    fn claim(&self) -> Option<(u64, Job, Batch)> {
        let mut state = self.lock();
        while !state.stopped && state.next_taken >= state.next_given + self.n_ahead {
            let waited = self.room.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
        if state.stopped {
            return None;
        }
        // Taken up in order, so that the batch waited for is always one of the oldest under way.
        let n = state.next_taken;
        let job = self.pass.job(&self.plan, self.turn, n)?;
        state.next_taken += 1;
        let spare = state.spare.pop().unwrap_or_default();
        Some((n, job, spare))
    }

    /// Waits for the next batch and hands it out; `None` behind the end and after an error.
    fn take(&self) -> Option<Result<Batch, Error>> {
        let mut state = self.lock();
        let n = state.next_given;
        if state.stopped || self.pass.job(&self.plan, self.turn, n).is_none() {
            return None;
        }
        let batch = loop {
            if let Some(batch) = state.finished.remove(&n) {
                break batch;
            }
            let waited = self.ready.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        };
        // Given, even if it is an error: the place in the window is free.
        state.next_given += 1;
        state.stopped = batch.is_err();
        // Workers that wake up need the lock.
        drop(state);
        self.room.notify_all();
        Some(batch)
    }
}

/// Hands a batch over when dropped, even by a panic: the consumer must not wait for ever.
struct HandOver<'a> {
    shared: &'a Shared,
    n: u64,
    made: Option<Result<Batch, Error>>,
}

impl Drop for HandOver<'_> {
    fn drop(&mut self) {
        let panicked = Err(Error::WorkerPanicked { batch_idx: self.n });
        let made = self.made.take().unwrap_or(panicked);
        self.shared.lock().finished.insert(self.n, made);
        self.shared.ready.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        BatchSettings, CropSettings, DataSet, DecodeSettings, Normalisation, Reporter, Split,
        Transform, Views,
    };

    /// A plan over one image, which is damaged.
    fn plan() -> (tempfile::TempDir, Arc<BatchPlan>) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.png"), b"no image").unwrap();
        let data = DataSet::open(folder.path().to_str().unwrap()).unwrap();
        let crop = CropSettings::default();
        let views = Views {
            transform: Transform::new(crop, [8, 8], Normalisation::imagenet()).unwrap(),
            masks: None,
            decoding: DecodeSettings::default(),
        };
        let settings = BatchSettings {
            seed: 0,
            batch_size: 1,
            n_micro: 1,
            rank: 0,
            world: 1,
        };
        let reporter = Arc::new(Reporter::new(1));
        let plan = BatchPlan::new(Arc::new(data), views, Split::all(1), settings, reporter);
        (folder, Arc::new(plan.unwrap()))
    }

    #[test]
    fn the_number_of_workers_is_brought_into_its_bounds() {
        let (_folder, plan) = plan();
        for (asked, started) in [(0, 1), (3, 3), (usize::MAX, MAX_WORKERS)] {
            let loader = Loader::start(Arc::clone(&plan), Pass::All, asked).unwrap();
            assert_eq!(loader.workers.len(), started, "{asked} workers asked for");
            assert_eq!(loader.shared.n_ahead, (started * N_AHEAD_PER_WORKER) as u64);
            assert_eq!(loader.count(), 1, "one batch, which holds no image");
        }
    }

    #[test]
    fn a_worker_that_panics_gives_an_error_instead_of_a_consumer_that_waits() {
        let (_folder, plan) = plan();
        let all = Turn { first: 0, every: 1 };
        let shared = Shared::new(plan, Pass::All, all, 1);
        std::thread::scope(|scope| {
            let worker = scope.spawn(|| {
                let _hand_over = HandOver {
                    shared: &shared,
                    n: 0,
                    made: None,
                };
                panic!("as a decoder might");
            });
            let given = shared.take().unwrap();
            assert!(matches!(given, Err(Error::WorkerPanicked { batch_idx: 0 })));
            assert!(worker.join().is_err() && shared.take().is_none());
        });
    }
}
