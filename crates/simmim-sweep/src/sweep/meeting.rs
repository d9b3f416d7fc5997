//! Ranks that do a run each: they meet now and then, tell what they have done, and are given what is left.
//!
//! Every rank holds the meetings on a thread of its own while it trains, and deals out the runs by the same rule, so nobody has to
//! be asked.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use simmim_collective::{Collective, Error as RankError};
use simmim_train::StopFlag;

/// Between two meetings.
const PAUSE: Duration = Duration::from_millis(200);

/// A run that is done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Done {
    /// Which point.
    pub(super) idx: usize,
    pub(super) result: Value,
}

/// What a rank tells at a meeting.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Told {
    is_idle: bool,
    done: Option<Done>,
    stops: bool,
    /// Why it cannot go on.
    failed: Option<String>,
}

/// What the thread that trains and the one that meets the others hand to each other.
#[derive(Debug, Default)]
pub(super) struct Desk {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// To be told at the next meeting.
    told: Told,
    given: Option<Given>,
}

/// What a rank is given that has asked for a run.
#[derive(Debug)]
enum Given {
    Point(usize),
    End(Result<(), RankError>),
}

impl Desk {
    /// Waits for the next run that this rank is to do; none when nothing is left for it.
    ///
    /// # Errors
    /// Where another rank has failed, or is gone.
    pub(super) fn next(&self) -> Result<Option<usize>, RankError> {
        let mut state = self.lock();
        state.told.is_idle = true;
        loop {
            match state.given.take() {
                Some(Given::Point(idx)) => return Ok(Some(idx)),
                Some(Given::End(how)) => return how.map(|()| None),
                None => {
                    let waited = self.changed.wait(state);
                    state = waited.unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }

    /// Tells the others of a run that is done.
    pub(super) fn tell(&self, done: Done) {
        self.lock().told.done = Some(done);
    }

    /// Tells the others that this rank cannot go on. It still waits for the end, which comes when the others have stopped.
    pub(super) fn fail(&self, reason: String) {
        self.lock().told.failed.get_or_insert(reason);
    }

    /// Meets the others until nothing is left to do. `store` gets what any rank has done, and says what kept it from storing that.
    pub(super) fn meet(
        &self,
        ranks: &dyn Collective,
        mut left: VecDeque<usize>,
        stop: &StopFlag,
        store: &mut dyn FnMut(Done) -> Result<(), String>,
    ) {
        loop {
            let all = match self.exchange(ranks, stop) {
                Ok(all) => all,
                Err(error) => {
                    // Nobody is left to train with, or for.
                    stop.raise();
                    return self.give(Given::End(Err(error)));
                }
            };
            if all.iter().any(|told| told.stops || told.failed.is_some()) {
                stop.raise();
                left.clear();
            }
            if left.is_empty() && all.iter().all(|told| told.is_idle) {
                let end = end_of(&all, ranks);
                store_all(all, store, self);
                return self.give(Given::End(end));
            }
            let idle = all.iter().enumerate().filter(|(_, told)| told.is_idle);
            for (rank, _) in idle {
                if let Some(idx) = left.pop_front()
                    && rank == ranks.rank()
                {
                    self.give(Given::Point(idx));
                }
            }
            store_all(all, store, self);
            std::thread::sleep(PAUSE);
        }
    }

    fn exchange(&self, ranks: &dyn Collective, stop: &StopFlag) -> Result<Vec<Told>, RankError> {
        let mut state = self.lock();
        let own = Told {
            // What it was given a moment ago it has not taken up yet.
            is_idle: state.told.is_idle && state.given.is_none(),
            done: state.told.done.take(),
            stops: stop.is_raised(),
            failed: state.told.failed.clone(),
        };
        drop(state);
        let own = serde_json::to_vec(&own).expect("text and numbers are plain JSON");
        let all = ranks.all_gather(&own)?;
        let read = |bytes: &Vec<u8>| serde_json::from_slice(bytes);
        let all: Result<_, _> = all.iter().map(read).collect();
        Ok(all.expect("what the same program has written as JSON"))
    }

    fn give(&self, given: Given) {
        let mut state = self.lock();
        state.told.is_idle = false;
        state.given = Some(given);
        drop(state);
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change under the lock is whole, so a poisoned one guards a sound state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn store_all(all: Vec<Told>, store: &mut dyn FnMut(Done) -> Result<(), String>, desk: &Desk) {
    for done in all.into_iter().filter_map(|told| told.done) {
        if let Err(reason) = store(done) {
            desk.fail(reason);
        }
    }
}

/// An error where a rank has failed: on the others, as it knows its own.
fn end_of(all: &[Told], ranks: &dyn Collective) -> Result<(), RankError> {
    let mut others = all.iter().enumerate();
    let failed = others.find_map(|(rank, told)| Some((rank, told.failed.clone()?)));
    match failed {
        Some((rank, reason)) if rank != ranks.rank() => Err(RankError::Failed {
            who: ranks.member(rank),
            reason,
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use simmim_collective::ThreadRank;

    /// What a rank has seen of a sweep in which `work` does the runs.
    #[derive(Debug)]
    struct Seen {
        own: Vec<usize>,
        stored: Vec<usize>,
        end: Result<(), RankError>,
    }

    fn sweep(
        n_ranks: usize,
        n_points: usize,
        work: impl Fn(usize, usize, &StopFlag) -> Result<(), String> + Sync,
    ) -> Vec<Seen> {
        ThreadRank::run(n_ranks, |ranks| {
            let (desk, stop) = (Desk::default(), StopFlag::new());
            let (mut own, mut stored) = (Vec::new(), Vec::new());
            let mut store = |done: Done| {
                stored.push(done.idx);
                Ok(())
            };
            let mut done = |idx| {
                own.push(idx);
                let result = Value::Null;
                let done = work(ranks.rank(), idx, &stop);
                done.map_or_else(
                    |reason| desk.fail(reason),
                    |()| desk.tell(Done { idx, result }),
                );
            };
            let end = std::thread::scope(|scope| {
                scope.spawn(|| desk.meet(ranks, (0..n_points).collect(), &stop, &mut store));
                loop {
                    match desk.next() {
                        Ok(Some(idx)) => done(idx),
                        Ok(None) => break Ok(()),
                        Err(error) => break Err(error),
                    }
                }
            });
            Seen { own, stored, end }
        })
    }

    #[test]
    fn each_run_is_done_once_and_everybody_hears_of_it() {
        let seen = sweep(3, 7, |_, _, _| Ok(()));
        let mut all: Vec<usize> = seen.iter().flat_map(|seen| seen.own.clone()).collect();
        all.sort_unstable();
        assert!(all.into_iter().eq(0..7), "{seen:?}");
        for seen in seen {
            let mut stored = seen.stored;
            stored.sort_unstable();
            assert!(stored.into_iter().eq(0..7));
            assert_eq!(seen.end, Ok(()));
        }
    }

    #[test]
    fn a_rank_that_fails_stops_the_others_and_is_named() {
        let seen = sweep(2, 50, |rank, _, stop| {
            if rank == 1 {
                return Err("no disk".to_owned());
            }
            // A long training, which looks at the flag between its steps.
            while !stop.is_raised() {
                std::thread::sleep(Duration::from_millis(1));
            }
            Ok(())
        });
        assert_eq!(seen[1].end, Ok(()));
        let said = seen[0].end.clone().unwrap_err().to_string();
        assert_eq!(said, "rank 1 of the training has failed: no disk");
        assert_eq!((seen[0].own.len(), seen[1].own.len()), (1, 1));
    }

    #[test]
    fn a_stop_of_one_rank_stops_all() {
        let seen = sweep(3, 50, |rank, _, stop| {
            if rank == 2 {
                stop.raise();
            }
            while !stop.is_raised() {
                std::thread::sleep(Duration::from_millis(1));
            }
            Ok(())
        });
        for seen in seen {
            assert_eq!((seen.own.len(), seen.end), (1, Ok(())));
        }
    }
}
