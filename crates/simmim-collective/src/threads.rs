//! Ranks that are threads of one process.

use std::any::Any;
use std::ops::AddAssign;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::collective::Collective;
use crate::error::Error;
use crate::member::Member;
use crate::wire::Wire;

/// A rank that is a thread of this process. When it is dropped, whoever waits for it gets [`Error::Left`].
#[derive(Debug)]
pub struct ThreadRank {
    rank: usize,
    meeting: Arc<Meeting>,
}

/// What one rank brings to a meeting.
type Brought = Box<dyn Any + Send + Sync>;

/// Where ranks meet: each brings something, and when the last has come all take what all have brought.
#[derive(Debug, Default)]
struct Meeting {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    brought: Vec<Option<Brought>>,
    /// What the last meeting brought together. Nobody can come to the next but one before all have taken it.
    together: Arc<Vec<Brought>>,
    n_meetings: u64,
    left: Option<usize>,
}

impl ThreadRank {
    /// The ranks of a training of `world` threads.
    pub fn ranks(world: usize) -> Vec<Self> {
        let meeting = Arc::new(Meeting::default());
        meeting.lock().brought.resize_with(world, || None);
        let rank = |rank| Self {
            rank,
            meeting: Arc::clone(&meeting),
        };
        (0..world).map(rank).collect()
    }

    /// What `work` returns on each of `world` ranks, each a thread.
    ///
    /// # Panics
    /// When the work panics.
    pub fn run<T: Send>(world: usize, work: impl Fn(&Self) -> T + Sync) -> Vec<T> {
        let work = &work;
        std::thread::scope(|scope| {
            let start = |rank: Self| scope.spawn(move || work(&rank));
            let threads: Vec<_> = Self::ranks(world).into_iter().map(start).collect();
            let end = |thread: std::thread::ScopedJoinHandle<'_, T>| {
                thread
                    .join()
                    // With its own message, which a failed join would hide.
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            threads.into_iter().map(end).collect()
        })
    }

    /// What each rank brings, in the order of the ranks.
    fn meet<T: Clone + Send + Sync + 'static>(&self, own: T) -> Result<Vec<T>, Error> {
        let together = self.meeting.join(self.rank, Box::new(own))?;
        let of_rank = |brought: &Brought| {
            let value: Option<&T> = brought.downcast_ref();
            value.expect("ranks call the same operations").clone()
        };
        Ok(together.iter().map(of_rank).collect())
    }

    /// Sums in the order of the ranks, so that the bits do not depend on who comes first.
    fn sum<T>(&self, values: &mut [T]) -> Result<(), Error>
    where
        T: AddAssign + Copy + Send + Sync + 'static,
    {
        let mut all = self.meet(values.to_vec())?.into_iter();
        let first = all.next().expect("a rank brings something itself");
        assert_eq!(first.len(), values.len(), "ranks sum as many values");
        // From the first, not from zeros, which would turn −0 into 0: the sum of one rank is what it was.
        values.copy_from_slice(&first);
        for of_rank in all {
            assert_eq!(of_rank.len(), values.len(), "ranks sum as many values");
            for (sum, value) in values.iter_mut().zip(of_rank) {
                *sum += value;
            }
        }
        Ok(())
    }
}

impl Drop for ThreadRank {
    fn drop(&mut self) {
        let mut state = self.meeting.lock();
        // The first to leave stays named: who leaves later may leave because of it.
        state.left.get_or_insert(self.rank);
        drop(state);
        self.meeting.changed.notify_all();
    }
}

impl Meeting {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change under the lock is whole, so a poisoned one guards a sound state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn join(&self, rank: usize, own: Brought) -> Result<Arc<Vec<Brought>>, Error> {
        let mut state = self.lock();
        let n_meetings = state.n_meetings;
        state.brought[rank] = Some(own);
        if state.brought.iter().all(Option::is_some) {
            let together = state.brought.iter_mut().filter_map(Option::take).collect();
            state.together = Arc::new(together);
            state.n_meetings += 1;
            self.changed.notify_all();
        }
        // By number: a rank that wakes late still finds what its own meeting brought together, because the next one
        // cannot end without it.
        while state.n_meetings == n_meetings {
            // Asked only while somebody is missing: a meeting that has come together counts, whoever left since.
            if let Some(rank) = state.left {
                let who = Member { rank, host: None };
                return Err(Error::Left { who });
            }
            let waited = self.changed.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
        Ok(Arc::clone(&state.together))
    }
}

impl Collective for ThreadRank {
    fn rank(&self) -> usize {
        self.rank
    }

    fn world(&self) -> usize {
        self.meeting.lock().brought.len()
    }

    fn all_reduce(&self, values: &mut [f32], wire: Wire) -> Result<(), Error> {
        wire.round(values);
        self.sum(values)?;
        wire.round(values);
        Ok(())
    }

    fn all_reduce_f64(&self, values: &mut [f64]) -> Result<(), Error> {
        self.sum(values)
    }

    fn broadcast(&self, bytes: &mut Vec<u8>) -> Result<(), Error> {
        let own = if self.is_first() {
            std::mem::take(bytes)
        } else {
            Vec::new()
        };
        let mut all = self.meet(own)?;
        *bytes = all.swap_remove(0);
        Ok(())
    }

    fn all_gather(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
        self.meet(bytes.to_vec())
    }

    fn barrier(&self) -> Result<(), Error> {
        self.meet(()).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_sum_broadcast_and_gather() {
        for world in 1..=4 {
            let found = ThreadRank::run(world, |rank| {
                let own = rank.rank();
                let mut sums = [own as f32, 1.0];
                let mut counts = [own as f64];
                let mut bytes = vec![own as u8; own + 2];
                for _ in 0..50 {
                    sums = [own as f32, 1.0];
                    rank.all_reduce(&mut sums, Wire::F32).unwrap();
                }
                rank.all_reduce_f64(&mut counts).unwrap();
                rank.barrier().unwrap();
                let gathered = rank.all_gather(&bytes).unwrap();
                let own_only = rank.gather(&bytes).unwrap();
                let is_first = rank.is_first();
                assert_eq!(own_only, if is_first { gathered.clone() } else { vec![] });
                rank.broadcast(&mut bytes).unwrap();
                (sums, counts, gathered, bytes)
            });
            let total = (0..world).sum::<usize>();
            let gathered: Vec<Vec<u8>> = (0..world).map(|own| vec![own as u8; own + 2]).collect();
            for rank in found {
                assert_eq!(rank.0, [total as f32, world as f32]);
                assert_eq!(rank.1, [total as f64]);
                assert_eq!(rank.2, gathered);
                assert_eq!(rank.3, [0, 0]);
            }
        }
    }

    #[test]
    fn sums_are_in_the_order_of_the_ranks_whoever_comes_first() {
        // In f32, (1e8 + 1) − 1e8 is 0 and (1e8 − 1e8) + 1 is 1.
        let values = [1e8_f32, 1.0, -1e8];
        for last in 0..3 {
            let found = ThreadRank::run(3, |rank| {
                if rank.rank() == last {
                    std::thread::sleep(std::time::Duration::from_millis(20));
                }
                let mut sum = [values[rank.rank()]];
                rank.all_reduce(&mut sum, Wire::F32).unwrap();
                sum[0]
            });
            assert_eq!(found, [0.0; 3]);
        }
    }

    #[test]
    fn whoever_waits_for_a_rank_that_has_ended_is_told() {
        let found = ThreadRank::run(3, |rank| match rank.rank() {
            2 => Ok(()),
            _ => rank.barrier(),
        });
        let who = Member {
            rank: 2,
            host: None,
        };
        let left = Err(Error::Left { who });
        assert_eq!(found[2], Ok(()));
        // A rank that gives up has ended as well.
        assert!(found[..2].contains(&left), "{found:?}");
        assert!(found[..2].iter().all(Result::is_err), "{found:?}");
    }
}
