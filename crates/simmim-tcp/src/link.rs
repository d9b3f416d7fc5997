//! A connection between rank 0 and another rank, and what travels on it: a header of 16 bytes, which says of what call the bytes
//! behind it are and how many there are, and these.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use crate::trouble::{MOST_WORDS, Trouble, What};

/// How often a rank that waits looks up.
const TICK: Duration = Duration::from_millis(100);
/// Bytes of a message, at most: far more than any call brings.
const MOST_BYTES: u64 = 1 << 36;
/// Memory that is taken at a time for what somebody says will come.
const STEP: usize = 4 << 20;
/// How long others are told of trouble, and listened to afterwards.
const LAST_WORDS: Duration = Duration::from_secs(1);
const HEADER_BYTES: usize = 16;

/// What a message is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum Kind {
    Sum = 1,
    SumOf64Bits = 2,
    Broadcast = 3,
    AllGather = 4,
    Gather = 5,
    Barrier = 6,
    /// Rank 0 cannot go on.
    Trouble = 255,
}

/// A call of all ranks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    pub(crate) kind: Kind,
    /// Bytes that each rank brings, where that is known.
    pub(crate) brought: Option<usize>,
    /// Bytes that come of it, where that is known.
    pub(crate) result: Option<usize>,
    /// How long a rank may be silent.
    pub(crate) patience: Option<Duration>,
}

/// A connection to another rank.
#[derive(Debug)]
pub(crate) struct Link {
    stream: TcpStream,
    own: usize,
    other: usize,
}

impl Link {
    /// One that has been made, from rank `own` to rank `other`.
    pub(crate) fn new(stream: TcpStream, own: usize, other: usize) -> io::Result<Self> {
        stream.set_nonblocking(false)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TICK))?;
        stream.set_write_timeout(Some(TICK))?;
        Ok(Self { stream, own, other })
    }

    pub(crate) fn other(&self) -> usize {
        self.other
    }

    /// Sends what is of that kind.
    pub(crate) fn send(
        &self,
        kind: Kind,
        bytes: &[u8],
        patience: Option<Duration>,
    ) -> Result<(), Trouble> {
        /// Bytes that travel with the header, so that a small message is one packet.
        const TOGETHER: usize = 1 << 16;
        let (first, rest) = bytes.split_at(bytes.len().min(TOGETHER));
        let mut begin = Vec::with_capacity(HEADER_BYTES + first.len());
        begin.extend_from_slice(&(kind as u64).to_le_bytes());
        begin.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        begin.extend_from_slice(first);
        self.write(&begin, patience)?;
        self.write(rest, patience)
    }

    /// Receives what the other sends of that kind, `n_bytes` where that is known. Calls `idle` whenever nothing comes for a while.
    pub(crate) fn receive(
        &self,
        call: &Call,
        n_bytes: Option<usize>,
        idle: &dyn Fn() -> Result<(), Trouble>,
    ) -> Result<Vec<u8>, Trouble> {
        let mut header = [0; HEADER_BYTES];
        self.read(&mut header, call.patience, idle)?;
        let (kind, len) = numbers(header);
        if kind == Kind::Trouble as u64 && len <= most_of_trouble() {
            let told = self.read_all(len as usize, Some(LAST_WORDS), &|| Ok(()))?;
            let told = Trouble::read(&told);
            return Err(told.unwrap_or_else(|| self.trouble(What::Left)));
        }
        if kind != call.kind as u64 {
            return Err(self.astray(format!(
                "it sends a message of kind {kind}, where one of kind {} is expected",
                call.kind as u64
            )));
        }
        let is_right = n_bytes.map_or(len <= MOST_BYTES, |n_bytes| len == n_bytes as u64);
        if !is_right {
            let expected = n_bytes.map_or(format!("at most {MOST_BYTES}"), |n_bytes| {
                n_bytes.to_string()
            });
            return Err(self.astray(format!(
                "it sends {len} bytes, where {expected} are expected"
            )));
        }
        self.read_all(len as usize, call.patience, idle)
    }

    /// What the other has said before it closed the connection: why it cannot go on.
    pub(crate) fn last_words(&self) -> Option<Trouble> {
        let nobody = Call {
            kind: Kind::Trouble,
            brought: None,
            result: None,
            patience: Some(LAST_WORDS),
        };
        let come = self.receive(&nobody, None, &|| Ok(()));
        // What this rank notices itself meanwhile is no word of the other's.
        come.err().filter(|told| told.noticed_by != self.own)
    }

    /// Tells the other of trouble. Whether it hears it is not known.
    pub(crate) fn tell(&self, trouble: &Trouble) {
        let _ = self.send(Kind::Trouble, &trouble.to_bytes(), Some(LAST_WORDS));
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Takes what still comes until the other has closed the connection, or for a while: a connection that is closed with bytes that nobody
    /// has read loses those that are on their way to the other.
    pub(crate) fn drain(&self, until: Instant) {
        let mut bytes = vec![0; 1 << 16];
        while Instant::now() < until {
            match (&self.stream).read(&mut bytes) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if is_wait(&error) => {}
                Err(_) => return,
            }
        }
    }

    /// How long others may take to be told of trouble.
    pub(crate) fn end_of_drain() -> Instant {
        Instant::now() + LAST_WORDS
    }

    /// Trouble where the other has closed the connection; nothing is read.
    pub(crate) fn require_open(&self) -> Result<(), Trouble> {
        if is_closed(&self.stream) {
            return Err(self.trouble(What::Left));
        }
        Ok(())
    }

    fn read_all(
        &self,
        len: usize,
        patience: Option<Duration>,
        idle: &dyn Fn() -> Result<(), Trouble>,
    ) -> Result<Vec<u8>, Trouble> {
        let mut bytes = Vec::new();
        while bytes.len() < len {
            let start = bytes.len();
            bytes.resize(len.min(start + STEP), 0);
            self.read(&mut bytes[start..], patience, idle)?;
        }
        Ok(bytes)
    }

    fn read(
        &self,
        bytes: &mut [u8],
        patience: Option<Duration>,
        idle: &dyn Fn() -> Result<(), Trouble>,
    ) -> Result<(), Trouble> {
        let mut n_read = 0;
        let mut last = Instant::now();
        while n_read < bytes.len() {
            match (&self.stream).read(&mut bytes[n_read..]) {
                Ok(0) => return Err(self.trouble(What::Left)),
                Ok(more) => (n_read, last) = (n_read + more, Instant::now()),
                Err(error) if is_wait(&error) => {
                    self.require_patience(last, patience)?;
                    idle()?;
                }
                Err(error) => return Err(self.of_system(&error)),
            }
        }
        Ok(())
    }

    fn write(&self, bytes: &[u8], patience: Option<Duration>) -> Result<(), Trouble> {
        let mut n_written = 0;
        let mut last = Instant::now();
        while n_written < bytes.len() {
            match (&self.stream).write(&bytes[n_written..]) {
                Ok(0) => return Err(self.trouble(What::Left)),
                Ok(more) => (n_written, last) = (n_written + more, Instant::now()),
                Err(error) if is_wait(&error) => self.require_patience(last, patience)?,
                Err(error) => return Err(self.of_system(&error)),
            }
        }
        Ok(())
    }

    fn require_patience(&self, last: Instant, patience: Option<Duration>) -> Result<(), Trouble> {
        let waited = last.elapsed();
        if patience.is_some_and(|patience| waited > patience) {
            let secs = waited.as_secs();
            return Err(self.trouble(What::Silent { secs }));
        }
        Ok(())
    }

    fn of_system(&self, error: &io::Error) -> Trouble {
        if is_gone(error) {
            return self.trouble(What::Left);
        }
        self.astray(error.to_string())
    }

    /// The other says what was not expected, or the connection has failed.
    pub(crate) fn astray(&self, reason: String) -> Trouble {
        self.trouble(What::Astray { reason })
    }

    fn trouble(&self, what: What) -> Trouble {
        Trouble {
            noticed_by: self.own,
            rank: self.other,
            what,
        }
    }
}

/// Bytes of trouble that is told, at most.
fn most_of_trouble() -> u64 {
    MOST_WORDS as u64 + 64
}

/// The kind and the length that a header gives.
fn numbers(header: [u8; HEADER_BYTES]) -> (u64, u64) {
    let numbers = header.as_chunks::<8>().0;
    (
        u64::from_le_bytes(numbers[0]),
        u64::from_le_bytes(numbers[1]),
    )
}

/// Whether whoever is at the other end has closed the connection, with nothing left to read.
pub(crate) fn is_closed(stream: &TcpStream) -> bool {
    if stream.set_nonblocking(true).is_err() {
        return true;
    }
    let looked = stream.peek(&mut [0]);
    let is_closed = match looked {
        Ok(n) => n == 0,
        Err(error) => !is_wait(&error),
    };
    is_closed | stream.set_nonblocking(false).is_err()
}

/// Whether nothing has come yet.
pub(crate) fn is_wait(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
    )
}

/// Whether the other has ended.
fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe
    )
}
