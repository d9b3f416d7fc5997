//! Ranks that are threads of this process, and reach each other over sockets.

#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use simmim_collective::{Collective, Error as RankError, Launched, ThreadRank, Wire};
use simmim_tcp::{Error, Launch, TcpRank};

/// How long ranks are waited for that come, on a machine that does other things.
const LONG: Duration = Duration::from_mins(1);
/// How long ranks are waited for that do not come.
const SHORT: Duration = Duration::from_millis(300);

/// A port at which nobody listens.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn launch(port: u16, rank: usize, world: usize) -> Launch {
    Launch {
        world,
        rank,
        local_rank: None,
        address: "127.0.0.1".to_owned(),
        port,
        is_by_torchrun: false,
    }
}

/// What `work` returns on each of `world` ranks.
fn run<T: Send>(world: usize, work: impl Fn(TcpRank) -> T + Sync) -> Vec<T> {
    let (port, work) = (free_port(), &work);
    let start = |rank| {
        let launch = launch(port, rank, world);
        move || work(TcpRank::join_within(&launch, LONG).unwrap())
    };
    thread::scope(|scope| {
        // The last first: whoever comes before rank 0 waits for it.
        let threads = (0..world).rev().map(|rank| scope.spawn(start(rank)));
        let threads: Vec<_> = threads.collect();
        let mut found: Vec<T> = threads.into_iter().map(|one| one.join().unwrap()).collect();
        found.reverse();
        found
    })
}

/// Values of a rank, whose sum depends on the order.
fn values(rank: usize, n: usize) -> Vec<f32> {
    let value = |idx: usize| ((idx * 7919 + rank * 104_729) % 10_007) as f32 * 1e-3 - 5.0;
    (0..n).map(value).collect()
}

fn sums(rank: &dyn Collective, n: usize, wire: Wire) -> Vec<u32> {
    let mut values = values(rank.rank(), n);
    rank.all_reduce(&mut values, wire).unwrap();
    values.into_iter().map(f32::to_bits).collect()
}

#[test]
fn sums_have_the_bits_of_ranks_that_are_threads() {
    for world in [2, 3, 5] {
        for wire in [Wire::F32, Wire::Bf16] {
            let expected = ThreadRank::run(world, |rank| sums(rank, 1001, wire));
            assert_eq!(run(world, |rank| sums(&rank, 1001, wire)), expected);
        }
    }
    // More than travel at a time.
    let n = (4 << 20) + 3;
    let expected = ThreadRank::run(2, |rank| sums(rank, n, Wire::F32));
    assert!(run(2, |rank| sums(&rank, n, Wire::F32)) == expected);
}

#[test]
fn every_call_gives_what_it_gives_between_threads() {
    let calls = |rank: &dyn Collective| {
        let own = rank.rank();
        let mut losses = [own as f64 + 0.1, 1e300];
        rank.all_reduce_f64(&mut losses).unwrap();
        let mut none: [f64; 0] = [];
        rank.all_reduce_f64(&mut none).unwrap();
        rank.all_reduce(&mut [], Wire::Bf16).unwrap();
        let bytes = vec![own as u8; 3 * own];
        let all = rank.all_gather(&bytes).unwrap();
        let on_first = rank.gather(&bytes).unwrap();
        rank.barrier().unwrap();
        let mut told = vec![own as u8 + 7; 100_000 * (1 - own.min(1))];
        rank.broadcast(&mut told).unwrap();
        (losses.map(f64::to_bits), all, on_first, told)
    };
    let expected = ThreadRank::run(3, |rank| calls(rank));
    let found = run(3, |rank| {
        let found = calls(&rank);
        assert_eq!(rank.farewell("done", None).unwrap(), ["done"; 3]);
        rank.finish().unwrap();
        found
    });
    assert_eq!(found, expected);
}

#[test]
fn ranks_know_their_machine() {
    run(2, |rank| {
        assert_eq!(rank.place_on_machine(), rank.rank());
        assert_eq!(rank.n_on_these_cores(), 2);
        assert_eq!(rank.describe()[0], "2 ranks on 1 machine, by TCP");
        assert!(rank.member(1).host.is_some());
        rank.barrier().unwrap();
    });
}

#[test]
fn a_rank_that_has_ended_is_named_on_all_others() {
    for gone in 0..3 {
        let found = run(3, |rank| {
            if rank.rank() == gone {
                return None;
            }
            let first = rank.barrier().unwrap_err();
            // Nothing comes to its end from now on, and the reason stays.
            assert_eq!(rank.all_gather(b"").unwrap_err(), first);
            Some(first)
        });
        for error in found.into_iter().flatten() {
            match error {
                RankError::Left { who } => assert_eq!(who.rank, gone),
                other => panic!("{other}"),
            }
        }
    }
}

#[test]
fn a_rank_that_is_silent_is_named_on_all_others() {
    let found = run(3, |rank| {
        rank.set_timeout(if rank.rank() == 0 { 1 } else { 30 });
        if rank.rank() == 1 {
            // It lives, and says nothing.
            thread::sleep(Duration::from_secs(3));
            return None;
        }
        Some(rank.barrier().unwrap_err().to_string())
    });
    for error in found.into_iter().flatten() {
        assert!(error.starts_with("rank 0 on "), "{error}");
        assert!(
            error.contains("has waited for 1 s for rank 1 on "),
            "{error}"
        );
    }
}

#[test]
fn a_wait_without_patience_ends_and_one_with_more_does_not() {
    let found = run(2, |rank| {
        if rank.rank() == 1 {
            thread::sleep(Duration::from_secs(1));
        }
        rank.set_timeout(0);
        rank.meet(None)
    });
    assert_eq!(found, [Ok(()), Ok(())]);
}

#[test]
fn ranks_that_do_not_do_the_same_are_told_so() {
    let found = run(2, |rank| {
        let mut values = vec![0.0; 1 + rank.rank()];
        rank.all_reduce(&mut values, Wire::F32)
            .unwrap_err()
            .to_string()
    });
    assert!(
        found[0].contains("it sends 8 bytes, where 4 are expected"),
        "{found:?}"
    );
    assert!(found[1].contains("it sends 8 bytes"), "{found:?}");
    let found = run(2, |rank| match rank.rank() {
        0 => rank.barrier().unwrap_err().to_string(),
        _ => rank.gather(b"x").unwrap_err().to_string(),
    });
    assert!(found[0].contains("a message of kind 5"), "{found:?}");
}

/// Says this to whoever listens at a port, as soon as somebody does.
fn say(port: u16, words: &[u8]) -> TcpStream {
    let begun = Instant::now();
    loop {
        if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) {
            stream.write_all(words).unwrap();
            return stream;
        }
        assert!(begun.elapsed() < LONG);
        thread::sleep(Duration::from_millis(5));
    }
}

/// The first words of a rank, with a version in 16 bytes.
fn hello(version: &str, world: u32, rank: u32) -> Vec<u8> {
    let mut bytes = b"simmim1>".to_vec();
    bytes.extend(version.bytes());
    bytes.resize(24, 0);
    bytes.extend(world.to_le_bytes());
    bytes.extend(rank.to_le_bytes());
    bytes
}

const VERSION: &str = env!("CARGO_PKG_VERSION");

#[test]
fn strangers_are_turned_away_and_the_ranks_come_together() {
    let port = free_port();
    let first = thread::spawn(move || {
        let rank = TcpRank::join_within(&launch(port, 0, 2), LONG).unwrap();
        rank.barrier().unwrap();
    });
    let silent = say(port, b"");
    let half = say(port, b"simm");
    for words in [
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        hello("0.0.0", 2, 1),
        hello(VERSION, 3, 1),
        hello(VERSION, 2, 0),
        hello(VERSION, 2, 2),
        hello(VERSION, 2, u32::MAX),
    ] {
        let mut stream = say(port, &words);
        let mut answer = Vec::new();
        // Closed, by a reset where not all was read; nobody waits.
        let _ = stream.read_to_end(&mut answer);
        assert!(
            answer.is_empty() || answer[28..] != [0; 4],
            "{words:?} is let in"
        );
    }
    let rank = TcpRank::join_within(&launch(port, 1, 2), LONG).unwrap();
    rank.barrier().unwrap();
    first.join().unwrap();
    drop((silent, half));
}

#[test]
fn a_rank_that_is_not_taken_says_why() {
    for (world, rank, why) in [
        (4, 1, "rank 0 is one of 3 ranks"),
        (3, 1, "that rank has come already"),
    ] {
        let port = free_port();
        let first = thread::spawn(move || {
            TcpRank::join_within(&launch(port, 0, 3), Duration::from_secs(2))
        });
        let taken = (world == 3).then(|| {
            let mut stream = say(port, &hello(VERSION, 3, 1));
            stream.read_exact(&mut [0; 32]).unwrap();
            stream
        });
        let error = TcpRank::join_within(&launch(port, rank, world), LONG).unwrap_err();
        assert!(matches!(error, Error::Refused { .. }), "{error}");
        assert!(error.to_string().contains(why), "{error}");
        // One that has come and goes is missed at once.
        let is_taken = taken.is_some();
        drop(taken);
        let error = first.join().unwrap().unwrap_err().to_string();
        let says = if is_taken {
            "rank 1 of the training has ended"
        } else {
            "ranks 1, 2 have not come; turned away: 127.0.0.1 (rank 1 of 4"
        };
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn a_port_that_is_taken_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let error = TcpRank::join_within(&launch(port, 0, 3), LONG).unwrap_err();
    let says = format!("rank 0 cannot listen for the other 2 ranks at 127.0.0.1:{port}");
    assert!(error.to_string().starts_with(&says), "{error}");
    assert!(error.hint().unwrap().contains("SIMMIM_PORT"), "{error}");
}

#[test]
fn ranks_that_never_come_are_named() {
    let port = free_port();
    let error = TcpRank::join_within(&launch(port, 0, 3), SHORT).unwrap_err();
    assert!(
        error.to_string().contains("ranks 1, 2 have not come"),
        "{error}"
    );
    let error = TcpRank::join_within(&launch(port, 2, 3), SHORT).unwrap_err();
    let says = format!("rank 2 has not reached rank 0 at 127.0.0.1:{port}");
    assert!(error.to_string().starts_with(&says), "{error}");
}

#[test]
fn something_else_at_the_port_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let other = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.read_exact(&mut [0; 32]).unwrap();
        stream.write_all(&[b'x'; 32]).unwrap();
    });
    let error = TcpRank::join_within(&launch(port, 1, 2), LONG).unwrap_err();
    assert!(matches!(error, Error::Stranger { .. }), "{error}");
    other.join().unwrap();
}
