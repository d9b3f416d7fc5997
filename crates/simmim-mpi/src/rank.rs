//! A process as one rank of a training.

use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use simmim_collective::{
    Collective, Error as RankError, Launched, Member, Neighbours, Wire, add_f64s, f64s_to_bytes,
};

use crate::calls::{self, Done, Mpi, Pending};
use crate::error::Error;
use crate::launch::Launch;
use crate::search;

/// Values of a piece of a sum that each rank adds up, at most. While one piece is added up the next one travels, so pieces are small; each
/// costs a message to every rank, so not smaller.
const PART_VALUES: usize = 64 << 10;
/// Values of a piece, at most: what MPI counts in stays far below its largest number.
const PIECE_VALUES: usize = 16 << 20;
/// Bytes that are broadcast at a time, at most.
const PIECE_BYTES: usize = 256 << 20;
/// How long the others are waited for until somebody says otherwise.
const TIMEOUT_SECS: u64 = 600;
/// How long a call is asked for without a pause: data that is on its way arrives within it.
const BUSY: Duration = Duration::from_millis(1);
/// The pause between two questions after that.
const PAUSE: Duration = Duration::from_micros(50);
/// The pause between two questions whether all have come to the end.
const PAUSE_AT_END: Duration = Duration::from_millis(5);
/// How long MPI may take to end all ranks before this process ends without it.
const ABORT: Duration = Duration::from_secs(3);

/// This process as a rank of a training, which reaches the others by MPI.
///
/// Sums are this crate's own: every rank adds up its part of the values, in the order of the ranks. So the same ranks get
/// the same bits from every library.
#[derive(Debug)]
pub struct MpiRank {
    mpi: Mpi,
    rank: usize,
    world: usize,
    neighbours: Neighbours,
    timeout_secs: AtomicU64,
    /// Of calls that are done, for the next ones. Held during a call: one thread calls at a time.
    memory: Mutex<Vec<Done>>,
}

impl MpiRank {
    /// Joins the other processes of a launch.
    ///
    /// # Errors
    /// [`Error::NoLibrary`], [`Error::Unusable`]; [`Error::OtherWorld`] where the library finds other
    /// ranks than the launcher has started; [`Error::Ranks`].
    pub fn join(launch: Launch) -> Result<Self, Error> {
        let Launch {
            launcher, world, ..
        } = launch;
        let mpi = search::load(launch)?;
        let unusable = |reason| Error::Unusable {
            library: mpi.version().to_owned(),
            reason,
        };
        mpi.init().map_err(unusable)?;
        let found = mpi.world().map_err(unusable)?;
        if found != world {
            return Err(Error::OtherWorld {
                launcher,
                world,
                library: mpi.version().to_owned(),
                found,
            });
        }
        let mut rank = Self {
            rank: mpi.rank().map_err(unusable)?,
            world,
            mpi,
            neighbours: Neighbours::default(),
            timeout_secs: AtomicU64::new(TIMEOUT_SECS),
            memory: Mutex::default(),
        };
        rank.neighbours = Neighbours::found(&rank)?;
        Ok(rank)
    }

    fn lost(&self, reason: String) -> RankError {
        let own = self.member(self.rank);
        RankError::Lost { own, reason }
    }

    fn silent(&self, waited: Duration) -> RankError {
        /// Ranks that are named.
        const MOST_NAMED: usize = 8;
        let others = (0..self.world).filter(|rank| *rank != self.rank);
        let named: Vec<String> = others
            .take(MOST_NAMED)
            .map(|rank| self.member(rank).to_string())
            .collect();
        let more = match self.world - 1 - named.len() {
            0 => String::new(),
            n => format!(" and {n} more"),
        };
        RankError::Silent {
            own: self.member(self.rank),
            secs: waited.as_secs(),
            others: format!("{}{more}", named.join(", ")),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Done>> {
        // What a panic leaves is memory of any content.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_done(&self, pending: &mut Pending) -> Result<bool, RankError> {
        self.mpi
            .is_done(pending)
            .map_err(|reason| self.lost(reason))
    }

    /// Waits for a call, and gives back its memory.
    fn wait(&self, begun: Result<Pending, String>) -> Result<Done, RankError> {
        let timeout = Duration::from_secs(self.timeout_secs.load(Ordering::Relaxed));
        self.wait_for(begun, Some(timeout), |waited| {
            if waited < BUSY {
                thread::yield_now();
            } else {
                thread::sleep(PAUSE);
            }
        })
    }

    /// The same, for so long or without an end, with pauses that may depend on the time waited.
    ///
    /// Asked again and again rather than by a call that blocks: such a one has no end where a rank is gone, and keeps a core busy that
    /// computes meanwhile.
    fn wait_for(
        &self,
        begun: Result<Pending, String>,
        patience: Option<Duration>,
        pause: impl Fn(Duration),
    ) -> Result<Done, RankError> {
        let mut pending = begun.map_err(|reason| self.lost(reason))?;
        let begun = Instant::now();
        while !self.is_done(&mut pending)? {
            let waited = begun.elapsed();
            if patience.is_some_and(|patience| waited > patience) {
                return Err(self.silent(waited));
            }
            pause(waited);
        }
        Ok(pending.memory())
    }

    /// Begins to bring each rank its part of a piece.
    fn hand_out(&self, piece: &[f32], wire: Wire, mut memory: Done) -> Result<Pending, String> {
        let part_bytes = piece.len().div_ceil(self.world) * wire.n_bytes();
        memory.sent.resize(self.world * part_bytes, 0);
        wire.write(piece, &mut memory.sent);
        self.mpi.all_to_all(memory, self.world)
    }

    /// Adds up the part that all ranks have brought, and begins to hand it to all.
    fn add_up(&self, wire: Wire, mut memory: Done) -> Result<Pending, String> {
        let part_bytes = memory.received.len() / self.world;
        let mut sums = vec![0.0; part_bytes / wire.n_bytes()];
        for (rank, of_rank) in memory.received.chunks_exact(part_bytes).enumerate() {
            wire.add(rank, of_rank, &mut sums);
        }
        memory.sent.truncate(part_bytes);
        wire.write(&sums, &mut memory.sent);
        self.mpi.all_gather(memory, self.world)
    }

    /// What each rank brings, as many bytes each, in the order of the ranks.
    fn gather_everywhere(&self, own: &[u8]) -> Result<Vec<Vec<u8>>, RankError> {
        self.parts(own, |memory| self.mpi.all_gather(memory, self.world))
    }

    /// The same on rank 0; nothing elsewhere.
    fn gather_on_first(&self, own: &[u8]) -> Result<Vec<Vec<u8>>, RankError> {
        let n_received = if self.is_first() { self.world } else { 0 };
        self.parts(own, |memory| self.mpi.gather(memory, n_received))
    }

    /// Sends `own` by a call that brings parts of that size.
    fn parts(
        &self,
        own: &[u8],
        begin: impl FnOnce(Done) -> Result<Pending, String>,
    ) -> Result<Vec<Vec<u8>>, RankError> {
        let memory = self.call(own, begin)?;
        let parts = memory.received.chunks_exact(own.len());
        let parts = parts.map(<[u8]>::to_vec).collect();
        self.lock().push(memory);
        Ok(parts)
    }

    /// The memory of a call that has sent these bytes, which the caller puts back.
    fn call(
        &self,
        sent: &[u8],
        begin: impl FnOnce(Done) -> Result<Pending, String>,
    ) -> Result<Done, RankError> {
        let mut free = self.lock();
        let mut memory = free.pop().unwrap_or_default();
        memory.sent.clear();
        memory.sent.extend_from_slice(sent);
        self.wait(begin(memory))
    }

    /// What the ranks bring, which may differ in length, by a call that takes as many bytes of each.
    fn of_all(
        &self,
        bytes: &[u8],
        gather: impl FnOnce(&[u8]) -> Result<Vec<Vec<u8>>, RankError>,
    ) -> Result<Vec<Vec<u8>>, RankError> {
        let lengths = self.lengths(bytes.len())?;
        // All bring as much as the longest, which is cut off again.
        let longest = lengths.iter().copied().max().unwrap_or_default();
        if longest == 0 {
            return Ok(vec![Vec::new(); self.world]);
        }
        let mut own = bytes.to_vec();
        own.resize(longest, 0);
        let mut all = gather(&own)?;
        for (of_rank, len) in all.iter_mut().zip(lengths) {
            of_rank.truncate(len);
        }
        Ok(all)
    }

    /// The number of bytes that each rank has.
    fn lengths(&self, own: usize) -> Result<Vec<usize>, RankError> {
        let all = self.gather_everywhere(&(own as u64).to_le_bytes())?;
        let number = |bytes: Vec<u8>| u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
        Ok(all
            .into_iter()
            .map(|bytes| number(bytes) as usize)
            .collect())
    }
}

impl Collective for MpiRank {
    fn rank(&self) -> usize {
        self.rank
    }

    fn world(&self) -> usize {
        self.world
    }

    fn all_reduce(&self, values: &mut [f32], wire: Wire) -> Result<(), RankError> {
        let piece_values = (self.world * PART_VALUES).min(PIECE_VALUES);
        let mut pieces = values.chunks_mut(piece_values);
        let mut free = self.lock();
        // All ranks begin the same calls in the same order, of which up to three are under way: one piece is handed out while the one
        // before is added up and the one before that comes back.
        let (mut handed_out, mut added_up) = (None, None);
        loop {
            let next = pieces.next().map(|piece| {
                let begun = self.hand_out(piece, wire, free.pop().unwrap_or_default());
                (piece, begun)
            });
            let next = match mem::replace(&mut handed_out, next) {
                None => None,
                Some((piece, begun)) => Some((piece, self.add_up(wire, self.wait(begun)?))),
            };
            if let Some((piece, begun)) = mem::replace(&mut added_up, next) {
                let memory = self.wait(begun)?;
                wire.read(&memory.received, piece, |value, sum| *value = sum);
                free.push(memory);
            }
            if handed_out.is_none() && added_up.is_none() {
                return Ok(());
            }
        }
    }

    fn all_reduce_f64(&self, values: &mut [f64]) -> Result<(), RankError> {
        if values.is_empty() {
            return Ok(());
        }
        let all = self.gather_everywhere(&f64s_to_bytes(values))?;
        for (rank, of_rank) in all.iter().enumerate() {
            add_f64s(rank, of_rank, values);
        }
        Ok(())
    }

    fn broadcast(&self, bytes: &mut Vec<u8>) -> Result<(), RankError> {
        let len = self.lengths(bytes.len())?[0];
        bytes.resize(len, 0);
        for piece in bytes.chunks_mut(PIECE_BYTES) {
            let memory = self.call(piece, |memory| self.mpi.broadcast(memory))?;
            piece.copy_from_slice(&memory.sent);
            self.lock().push(memory);
        }
        Ok(())
    }

    fn all_gather(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>, RankError> {
        self.of_all(bytes, |own| self.gather_everywhere(own))
    }

    fn gather(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>, RankError> {
        let all = self.of_all(bytes, |own| self.gather_on_first(own))?;
        Ok(if self.is_first() { all } else { Vec::new() })
    }

    fn barrier(&self) -> Result<(), RankError> {
        let _one_at_a_time = self.lock();
        self.wait(self.mpi.barrier()).map(|_memory| ())
    }

    fn member(&self, rank: usize) -> Member {
        self.neighbours.member(rank)
    }

    fn n_on_these_cores(&self) -> usize {
        self.neighbours.n_on_these_cores()
    }
}

impl Launched for MpiRank {
    fn place_on_machine(&self) -> usize {
        self.neighbours.place(self.rank)
    }

    fn describe(&self) -> Vec<String> {
        self.neighbours.describe(self.mpi.version())
    }

    fn set_timeout(&self, secs: u64) {
        self.timeout_secs.store(secs, Ordering::Relaxed);
    }

    fn meet(&self, patience: Option<Duration>) -> Result<(), RankError> {
        let _one_at_a_time = self.lock();
        let pause = |_| thread::sleep(PAUSE_AT_END);
        self.wait_for(self.mpi.barrier(), patience, pause)
            .map(|_memory| ())
    }

    fn finish(&self) -> Result<(), RankError> {
        self.mpi.finalize().map_err(|reason| self.lost(reason))
    }

    fn abort(self: Arc<Self>, code: u8) -> ! {
        // On a thread of its own: it may wait for a rank that is gone.
        thread::spawn(move || self.mpi.abort(i32::from(code)));
        thread::sleep(ABORT);
        calls::end_process(i32::from(code))
    }
}
