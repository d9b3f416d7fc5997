//! Checks what ranks say to each other, and how fast sums are: `mpirun -n 2 target/release/examples/sums`.
//!
//! Everything is held against the same from ranks that are threads of one process.

#![allow(clippy::print_stdout, reason = "it is there to print")]

use std::time::Instant;

use simmim_collective::{Collective, Error, Launched, ThreadRank, Wire};
use simmim_mpi::{Launch, MpiRank};

/// Values of the sums that are timed: the gradients of a ViT-S.
const N_TIMED: usize = 22_000_000;
const N_ROUNDS: usize = 5;

/// What one rank gets to see.
#[derive(Debug, PartialEq)]
struct Seen {
    sums: Vec<Vec<u32>>,
    counts: Vec<u64>,
    gathered: Vec<Vec<u8>>,
    told: Vec<u8>,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let launch = Launch::found().ok_or("start it with mpirun, as several processes")?;
    let rank = MpiRank::join(launch)?;
    let expected = ThreadRank::run(launch.world, talk);
    let expected = expected.into_iter().nth(rank.rank()).expect("all ranks")?;
    assert_eq!(talk(&rank)?, expected, "rank {}", rank.rank());
    for wire in [Wire::F32, Wire::Bf16] {
        time(&rank, wire)?;
    }
    rank.farewell("", None)?;
    rank.finish()?;
    Ok(())
}

/// Every operation once or twice, on values that differ from rank to rank and are no whole number of parts.
fn talk<C: Collective>(ranks: &C) -> Result<Seen, Error> {
    let own = ranks.rank();
    let value = |idx: usize| ((idx * 7919 + own * 104_729) % 1009) as f32 / 97.0 - 5.0;
    let mut sums = Vec::new();
    for (len, wire) in [
        (1, Wire::F32),
        (1000, Wire::F32),
        (1001, Wire::Bf16),
        (0, Wire::F32),
        // Several pieces, of which the last is no whole one.
        (1_000_003, Wire::F32),
        (1_300_001, Wire::Bf16),
    ] {
        let mut values: Vec<f32> = (0..len).map(value).collect();
        ranks.all_reduce(&mut values, wire)?;
        sums.push(values.into_iter().map(f32::to_bits).collect());
    }
    let mut counts = [0.1 * own as f64, 1.0, -0.0];
    ranks.all_reduce_f64(&mut counts)?;
    ranks.barrier()?;
    let gathered = ranks.all_gather(&vec![own as u8; 3 * own])?;
    // Long enough for several messages of any library, and another length on each rank before.
    let mut told = vec![own as u8 + 1; 3_000_000 >> own];
    ranks.broadcast(&mut told)?;
    Ok(Seen {
        sums,
        counts: counts.map(f64::to_bits).to_vec(),
        gathered,
        told,
    })
}

fn time(ranks: &MpiRank, wire: Wire) -> Result<(), Error> {
    let mut values = vec![1.0; N_TIMED];
    let mut best = f64::INFINITY;
    for _ in 0..N_ROUNDS {
        values.fill(1.0);
        ranks.barrier()?;
        let begun = Instant::now();
        ranks.all_reduce(&mut values, wire)?;
        best = best.min(begun.elapsed().as_secs_f64());
    }
    assert!(values.iter().all(|value| *value == ranks.world() as f32));
    if ranks.is_first() {
        let said = ranks.describe();
        let rate = N_TIMED as f64 * 4e-9 / best;
        println!(
            "{}: {wire:?}, {:.0} ms, {rate:.2} GB of gradients a second",
            said[0],
            1e3 * best
        );
    }
    Ok(())
}
