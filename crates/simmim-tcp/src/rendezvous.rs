//! How the ranks find each other: rank 0 listens, the others come.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::thread;
use std::time::{Duration, Instant};

use simmim_collective::{Error as RankError, Member};

use crate::error::Error;
use crate::hello::{Answer, BYTES, Hello, Verdict};
use crate::launch::Launch;
use crate::link::{Link, is_closed, is_wait};

/// How long rank 0 pauses when nobody comes.
const PAUSE: Duration = Duration::from_millis(5);
/// How long another rank pauses before it tries again.
const AGAIN: Duration = Duration::from_millis(100);
/// How long whoever has come may take to say who it is, and rank 0 to answer.
const WORDS: Duration = Duration::from_secs(10);
/// Connections of strangers that are kept open at a time, beside those of ranks.
const MOST_STRANGERS: usize = 64;
/// Strangers that are named.
const MOST_NAMED: usize = 4;

/// Listens where the launch says.
///
/// # Errors
/// [`Error::Port`].
pub(crate) fn listen(launch: &Launch) -> Result<TcpListener, Error> {
    let port = launch.port;
    let everywhere = || {
        TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).or_else(|error| match error.kind() {
            // A machine without IPv6 says something else.
            ErrorKind::AddrInUse => Err(error),
            _ => TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)),
        })
    };
    let given = launch.address.parse::<IpAddr>();
    let listener = match given {
        // An address that this machine has not stands for it elsewhere: another one translates it.
        Ok(address) => TcpListener::bind((address, port)).or_else(|error| match error.kind() {
            ErrorKind::AddrNotAvailable => everywhere(),
            _ => Err(error),
        }),
        Err(_) if launch.address == "localhost" => TcpListener::bind(("localhost", port)),
        // A machine's own name often leads itself to an address that no other machine reaches.
        Err(_) => everywhere(),
    };
    listener
        .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
        .map_err(|error| Error::Port {
            n_others: launch.world - 1,
            at: launch.at(),
            reason: error.to_string(),
        })
}

/// Waits until all other ranks have come, for as long as that.
///
/// # Errors
/// [`Error::Absent`]; [`Error::Ranks`] where one has come and ended.
pub(crate) fn wait_for_all(
    launch: &Launch,
    listener: &TcpListener,
    patience: Duration,
) -> Result<Vec<Link>, Error> {
    let begun = Instant::now();
    let mut reception = Reception::new(launch);
    loop {
        let has_come = reception.let_in(listener);
        reception.look();
        reception.require_present()?;
        if reception.ranks.iter().all(Option::is_some) {
            return reception.links();
        }
        if begun.elapsed() > patience {
            return Err(reception.absent(begun.elapsed(), launch.at()));
        }
        if !has_come {
            thread::sleep(PAUSE);
        }
    }
}

/// Whoever has come to rank 0.
struct Reception {
    own: Hello,
    /// Ranks from 1 on.
    ranks: Vec<Option<TcpStream>>,
    guests: Vec<Guest>,
    /// Those that were turned away last, in words.
    refused: Vec<String>,
}

/// Somebody who has not said yet who it is.
struct Guest {
    stream: TcpStream,
    from: SocketAddr,
    hello: [u8; BYTES],
    n_read: usize,
    begun: Instant,
}

/// What is known of a guest.
enum Known {
    Nothing,
    Hello(Hello),
    Stranger,
}

impl Reception {
    fn new(launch: &Launch) -> Self {
        Self {
            own: own_hello(launch),
            ranks: (1..launch.world).map(|_| None).collect(),
            guests: Vec::new(),
            refused: Vec::new(),
        }
    }

    /// Takes one more guest, if there is one.
    fn let_in(&mut self, listener: &TcpListener) -> bool {
        let Ok((stream, from)) = listener.accept() else {
            return false;
        };
        if self.guests.len() >= self.ranks.len() + MOST_STRANGERS {
            // The oldest has been silent for longest.
            let oldest = self.guests.remove(0);
            self.refuse(oldest.from, "it says nothing");
        }
        if stream.set_nonblocking(true).is_ok() {
            self.guests.push(Guest {
                stream,
                from,
                hello: [0; BYTES],
                n_read: 0,
                begun: Instant::now(),
            });
        }
        true
    }

    /// Hears what guests say.
    fn look(&mut self) {
        for mut guest in std::mem::take(&mut self.guests) {
            match guest.listen() {
                Known::Nothing if guest.begun.elapsed() < WORDS => self.guests.push(guest),
                Known::Nothing => self.refuse(guest.from, "it says nothing"),
                Known::Stranger => self.refuse(guest.from, "it is no rank"),
                Known::Hello(hello) => self.judge(guest, &hello),
            }
        }
    }

    fn judge(&mut self, guest: Guest, hello: &Hello) {
        let place = (hello.rank as usize).wrapping_sub(1);
        let is_free = self.ranks.get(place).is_some_and(Option::is_none);
        let verdict = match hello.judge(&self.own) {
            Verdict::Welcome if !is_free => Verdict::NoPlace,
            verdict => verdict,
        };
        let answer = Answer::new(&self.own, verdict).to_bytes();
        // So few bytes always fit into what the system keeps for a connection.
        let is_told = (&guest.stream).write_all(&answer).is_ok();
        if verdict == Verdict::Welcome && is_told {
            self.ranks[place] = Some(guest.stream);
        } else {
            self.refuse(guest.from, &hello.describe());
        }
    }

    fn refuse(&mut self, from: SocketAddr, who: &str) {
        if self.refused.len() == MOST_NAMED {
            self.refused.remove(0);
        }
        self.refused.push(format!("{} ({who})", from.ip()));
    }

    /// Refuses to wait on where a rank has ended that had come.
    fn require_present(&self) -> Result<(), Error> {
        for (place, stream) in self.ranks.iter().enumerate() {
            if stream.as_ref().is_some_and(is_closed) {
                let who = Member {
                    rank: place + 1,
                    host: None,
                };
                return Err(RankError::Left { who }.into());
            }
        }
        Ok(())
    }

    fn links(self) -> Result<Vec<Link>, Error> {
        let ranks = self.ranks.into_iter().flatten().enumerate();
        let link = |(place, stream)| Link::new(stream, 0, place + 1);
        let links: io::Result<Vec<Link>> = ranks.map(link).collect();
        links.map_err(|error| lost(0, &error))
    }

    fn absent(&self, waited: Duration, at: String) -> Error {
        let missing = self.ranks.iter().enumerate();
        let missing: Vec<String> = missing
            .filter(|(_, stream)| stream.is_none())
            .map(|(place, _)| (place + 1).to_string())
            .collect();
        let n_more = missing.len().saturating_sub(2 * MOST_NAMED);
        let named = missing[..missing.len() - n_more].join(", ");
        Error::Absent {
            secs: waited.as_secs(),
            at,
            ranks: match n_more {
                0 => format!("ranks {named}"),
                n_more => format!("ranks {named} and {n_more} more"),
            },
            refused: if self.refused.is_empty() {
                String::new()
            } else {
                format!("; turned away: {}", self.refused.join(", "))
            },
        }
    }
}

impl Guest {
    fn listen(&mut self) -> Known {
        match self.stream.read(&mut self.hello[self.n_read..]) {
            Ok(0) => return Known::Stranger,
            Ok(more) => self.n_read += more,
            Err(error) if is_wait(&error) => return Known::Nothing,
            Err(_) => return Known::Stranger,
        }
        if !Hello::may_begin(&self.hello[..self.n_read]) {
            return Known::Stranger;
        }
        if self.n_read < BYTES {
            return Known::Nothing;
        }
        Hello::read(&self.hello).map_or(Known::Stranger, Known::Hello)
    }
}

/// Comes to rank 0, which may not be there yet, for as long as that.
///
/// # Errors
/// [`Error::Unreachable`], [`Error::Refused`], [`Error::Stranger`].
pub(crate) fn reach(launch: &Launch, patience: Duration) -> Result<Link, Error> {
    let begun = Instant::now();
    loop {
        let reason = match try_once(launch) {
            Ok(stream) => {
                let link = Link::new(stream, launch.rank, 0);
                return link.map_err(|error| lost(launch.rank, &error));
            }
            Err(Failed::ForGood(error)) => return Err(error),
            Err(Failed::ForNow(reason)) => reason,
        };
        if begun.elapsed() > patience {
            return Err(Error::Unreachable {
                rank: launch.rank,
                secs: begun.elapsed().as_secs(),
                at: launch.at(),
                reason,
            });
        }
        thread::sleep(AGAIN);
    }
}

/// Why rank 0 was not reached.
enum Failed {
    /// It may be there later.
    ForNow(String),
    ForGood(Error),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::ForNow(error.to_string())
    }
}

fn try_once(launch: &Launch) -> Result<TcpStream, Failed> {
    let mut last = Failed::ForNow("its name leads to no address".to_owned());
    for address in (launch.address.as_str(), launch.port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, WORDS) {
            // Where nobody listens, a port of this machine can be met by itself.
            Ok(stream) if stream.local_addr()? == stream.peer_addr()? => {}
            Ok(stream) => return greet(stream, launch),
            Err(error) => last = error.into(),
        }
    }
    Err(last)
}

/// Says who comes, and hears whether it is taken.
fn greet(mut stream: TcpStream, launch: &Launch) -> Result<TcpStream, Failed> {
    stream.set_read_timeout(Some(WORDS))?;
    stream.set_write_timeout(Some(WORDS))?;
    stream.write_all(&own_hello(launch).to_bytes())?;
    let mut answer = [0; BYTES];
    stream.read_exact(&mut answer)?;
    let (rank, at) = (launch.rank, launch.at());
    let Some(answer) = Answer::read(&answer) else {
        return Err(Failed::ForGood(Error::Stranger { rank, at }));
    };
    if answer.verdict == Verdict::Welcome {
        return Ok(stream);
    }
    let reason = answer.reason();
    Err(Failed::ForGood(Error::Refused { rank, at, reason }))
}

fn own_hello(launch: &Launch) -> Hello {
    // More ranks than that have no place in any environment.
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Hello::new(number(launch.world), number(launch.rank))
}

/// A connection that the system does not let be used.
fn lost(rank: usize, error: &io::Error) -> Error {
    let own = Member { rank, host: None };
    let reason = error.to_string();
    RankError::Lost { own, reason }.into()
}
