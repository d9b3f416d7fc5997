//! A process as one rank of a training.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use simmim_collective::{
    Collective, Error as RankError, Launched, Member, Neighbours, Wire, add_f64s, f64s_to_bytes,
};

use crate::error::Error;
use crate::launch::Launch;
use crate::link::{Call, Kind, Link};
use crate::meetings::{Everything, First, Kept, Meeting, Sum, SumOf64Bits};
use crate::rendezvous;
use crate::trouble::{Trouble, What};

/// Values that are summed at a time, at most: as much memory is taken for a sum.
const PIECE_VALUES: usize = 4 << 20;
/// How long the others are waited for until somebody says otherwise.
const TIMEOUT: Duration = Duration::from_mins(10);

/// This process as a rank of a training, which reaches the others over TCP, through rank 0.
#[derive(Debug)]
pub struct TcpRank {
    rank: usize,
    world: usize,
    local_rank: Option<usize>,
    neighbours: Neighbours,
    timeout_secs: AtomicU64,
    /// Held during a call: one thread calls at a time.
    star: Mutex<Star>,
}

/// The connections of a rank.
#[derive(Debug)]
struct Star {
    ends: Ends,
    /// Why no call comes to its end any more.
    trouble: Option<Trouble>,
}

#[derive(Debug)]
enum Ends {
    /// Of rank 0: to all others, in their order.
    Centre(Vec<Link>),
    /// To rank 0.
    Ray(Link),
}

impl TcpRank {
    /// Joins the other processes of a launch, which are waited for during ten minutes.
    ///
    /// # Errors
    /// [`Error::Port`], [`Error::Absent`] on rank 0; [`Error::Unreachable`], [`Error::Refused`], [`Error::Stranger`] on the others;
    /// [`Error::Ranks`].
    pub fn join(launch: &Launch) -> Result<Self, Error> {
        Self::join_within(launch, TIMEOUT)
    }

    /// As [`TcpRank::join`], where the others are waited for that long.
    ///
    /// # Errors
    /// As [`TcpRank::join`].
    pub fn join_within(launch: &Launch, patience: Duration) -> Result<Self, Error> {
        let ends = if launch.rank == 0 {
            let listener = rendezvous::listen(launch)?;
            Ends::Centre(rendezvous::wait_for_all(launch, &listener, patience)?)
        } else {
            Ends::Ray(rendezvous::reach(launch, patience)?)
        };
        let trouble = None;
        let mut rank = Self {
            rank: launch.rank,
            world: launch.world,
            local_rank: launch.local_rank,
            neighbours: Neighbours::default(),
            // Another rank is still waited for by rank 0 when this one has come.
            timeout_secs: AtomicU64::new(patience.as_secs().max(1)),
            star: Mutex::new(Star { ends, trouble }),
        };
        rank.neighbours = Neighbours::found(&rank)?;
        rank.set_timeout(TIMEOUT.as_secs());
        Ok(rank)
    }

    fn lock(&self) -> MutexGuard<'_, Star> {
        // What a panic leaves are connections on which the next call fails.
        self.star.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call that is waited for as long as a rank may be silent.
    fn call(&self, kind: Kind) -> Call {
        let secs = self.timeout_secs.load(Ordering::Relaxed);
        Call {
            kind,
            brought: None,
            result: None,
            patience: Some(Duration::from_secs(secs)),
        }
    }

    /// What comes of what all ranks bring.
    fn come_together(
        &self,
        call: &Call,
        own: &[u8],
        meeting: &mut dyn Meeting,
    ) -> Result<Vec<u8>, RankError> {
        let mut star = self.lock();
        star.come_together(call, own, meeting)
            .map_err(|trouble| trouble.error(&self.neighbours))
    }

    fn sum(&self, piece: &mut [f32], wire: Wire) -> Result<(), RankError> {
        let n_bytes = piece.len() * wire.n_bytes();
        let mut own = vec![0; n_bytes];
        wire.write(piece, &mut own);
        let sums = vec![0.0; if self.rank == 0 { piece.len() } else { 0 }];
        let call = Call {
            brought: Some(n_bytes),
            result: Some(n_bytes),
            ..self.call(Kind::Sum)
        };
        let bytes = self.come_together(&call, &own, &mut Sum { wire, sums })?;
        wire.read(&bytes, piece, |value, sum| *value = sum);
        Ok(())
    }

    fn wait(&self, patience: Option<Duration>) -> Result<(), RankError> {
        let call = Call {
            brought: Some(0),
            result: Some(0),
            patience,
            ..self.call(Kind::Barrier)
        };
        self.come_together(&call, &[], &mut First::default())?;
        Ok(())
    }
}

impl Star {
    fn come_together(
        &mut self,
        call: &Call,
        own: &[u8],
        meeting: &mut dyn Meeting,
    ) -> Result<Vec<u8>, Trouble> {
        if let Some(trouble) = &self.trouble {
            return Err(trouble.clone());
        }
        let come = match &self.ends {
            Ends::Centre(links) => at_centre(links, call, own, meeting),
            Ends::Ray(link) => at_end(link, call, own),
        };
        come.inspect_err(|trouble| self.end(trouble))
    }

    /// Ends all calls to come. Rank 0 tells the others why.
    fn end(&mut self, trouble: &Trouble) {
        if self.trouble.is_some() {
            return;
        }
        self.trouble = Some(trouble.clone());
        let Ends::Centre(links) = &self.ends else {
            return;
        };
        let has_left = |link: &&Link| trouble.what == What::Left && link.other() == trouble.rank;
        let others = || links.iter().filter(|link| !has_left(link));
        others().for_each(|link| link.tell(trouble));
        let until = Link::end_of_drain();
        others().for_each(|link| link.drain(until));
    }
}

/// A call on rank 0.
fn at_centre(
    links: &[Link],
    call: &Call,
    own: &[u8],
    meeting: &mut dyn Meeting,
) -> Result<Vec<u8>, Trouble> {
    // One that ends while another one is waited for is noticed as well.
    let all_are_there = || links.iter().try_for_each(Link::require_open);
    meeting.take(0, own);
    for link in links {
        let bytes = link.receive(call, call.brought, &all_are_there)?;
        meeting.take(link.other(), &bytes);
    }
    let result = meeting.result();
    for link in links {
        link.send(call.kind, &result, call.patience)?;
    }
    Ok(result)
}

/// A call on another rank.
fn at_end(link: &Link, call: &Call, own: &[u8]) -> Result<Vec<u8>, Trouble> {
    link.send(call.kind, own, call.patience)
        // Rank 0 may have said why it has closed the connection.
        .map_err(|trouble| link.last_words().unwrap_or(trouble))?;
    link.receive(call, call.result, &|| Ok(()))
}

impl Collective for TcpRank {
    fn rank(&self) -> usize {
        self.rank
    }

    fn world(&self) -> usize {
        self.world
    }

    fn all_reduce(&self, values: &mut [f32], wire: Wire) -> Result<(), RankError> {
        let mut pieces = values.chunks_mut(PIECE_VALUES);
        pieces.try_for_each(|piece| self.sum(piece, wire))
    }

    fn all_reduce_f64(&self, values: &mut [f64]) -> Result<(), RankError> {
        let own = f64s_to_bytes(values);
        let call = Call {
            brought: Some(own.len()),
            result: Some(own.len()),
            ..self.call(Kind::SumOf64Bits)
        };
        let sums = vec![0.0; values.len()];
        let bytes = self.come_together(&call, &own, &mut SumOf64Bits { sums })?;
        // They are all there: as from a first rank.
        add_f64s(0, &bytes, values);
        Ok(())
    }

    fn broadcast(&self, bytes: &mut Vec<u8>) -> Result<(), RankError> {
        let own = if self.is_first() { &**bytes } else { &[] };
        let call = self.call(Kind::Broadcast);
        *bytes = self.come_together(&call, own, &mut First::default())?;
        Ok(())
    }

    fn all_gather(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>, RankError> {
        let call = self.call(Kind::AllGather);
        let all = self.come_together(&call, bytes, &mut Everything::default())?;
        Everything::parts(&all, self.world).ok_or_else(|| RankError::Lost {
            own: self.member(self.rank),
            reason: "what rank 0 sends of all ranks is not whole".to_owned(),
        })
    }

    fn gather(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>, RankError> {
        let call = Call {
            result: Some(0),
            ..self.call(Kind::Gather)
        };
        let mut kept = Kept::default();
        self.come_together(&call, bytes, &mut kept)?;
        Ok(kept.0)
    }

    fn barrier(&self) -> Result<(), RankError> {
        self.wait(self.call(Kind::Barrier).patience)
    }

    fn member(&self, rank: usize) -> Member {
        self.neighbours.member(rank)
    }

    fn n_on_these_cores(&self) -> usize {
        self.neighbours.n_on_these_cores()
    }
}

impl Launched for TcpRank {
    fn place_on_machine(&self) -> usize {
        let counted = || self.neighbours.place(self.rank);
        self.local_rank.unwrap_or_else(counted)
    }

    fn describe(&self) -> Vec<String> {
        self.neighbours.describe("TCP")
    }

    fn set_timeout(&self, secs: u64) {
        self.timeout_secs.store(secs, Ordering::Relaxed);
    }

    fn meet(&self, patience: Option<Duration>) -> Result<(), RankError> {
        self.wait(patience)
    }

    fn finish(&self) -> Result<(), RankError> {
        // The last call has ended for all: what is on its way arrives, and the system closes the connections.
        Ok(())
    }

    fn abort(self: Arc<Self>, code: u8) -> ! {
        // Whoever is in a call ends it by itself when this process is gone.
        if let Ok(mut star) = self.star.try_lock() {
            star.end(&Trouble {
                noticed_by: self.rank,
                rank: self.rank,
                what: What::Left,
            });
        }
        std::process::exit(i32::from(code))
    }
}
