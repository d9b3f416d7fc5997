//! Work on many threads whose results come in order.

use std::ops::Range;
use std::sync::mpsc::sync_channel;
use std::thread;

/// Results that wait for their turn, of each thread.
const READY: usize = 3;

/// Makes a result of every number of a range on threads, and hands them to `consume` in the order of the numbers. A few are made
/// ahead, so memory is bounded; when `consume` returns early the threads stop.
pub(crate) fn in_order<T: Send, R>(
    numbers: Range<usize>,
    n_threads: usize,
    make: impl Fn(usize) -> T + Sync,
    consume: impl FnOnce(&mut dyn Iterator<Item = T>) -> R,
) -> R {
    let n_threads = n_threads.clamp(1, numbers.len().max(1));
    let make = &make;
    thread::scope(|scope| {
        let start = |lane: usize| {
            let (sender, receiver) = sync_channel(READY);
            let own = numbers.clone().skip(lane).step_by(n_threads);
            // Nobody receives when enough has been seen.
            scope.spawn(move || own.map(make).all(|made| sender.send(made).is_ok()));
            receiver
        };
        let lanes: Vec<_> = (0..n_threads).map(start).collect();
        let turns = numbers.clone().zip(lanes.iter().cycle());
        // A thread that panicked sends nothing; the scope panics in its turn.
        let mut results = turns.map_while(|(_, lane)| lane.recv().ok());
        consume(&mut results)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_for_any_number_of_threads() {
        for n_threads in [0, 1, 2, 3, 7, 100] {
            let squares = in_order(3..40, n_threads, |n| n * n, |all| all.collect::<Vec<_>>());
            assert_eq!(squares, (3..40).map(|n| n * n).collect::<Vec<_>>());
        }
        assert_eq!(in_order(5..5, 4, |n| n, |all| all.count()), 0);
    }

    #[test]
    fn threads_stop_when_enough_has_been_seen() {
        let first = in_order(0..usize::MAX, 3, |n| n, |all| all.take(10).sum::<usize>());
        assert_eq!(first, 45);
    }
}
