//! What can happen to bytes.

use simmim::random::{Draws, Purpose, Stream};

/// The draws of the damage number `idx` of some files.
pub(crate) fn draws(files: u64, idx: u64) -> Draws {
    Stream::new(files, Purpose::Survey).at(0, idx)
}

/// Damages some bytes, once or a few times.
pub(crate) fn damaged(whole: &[u8], draws: &mut Draws) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    // Half of the damage goes to the first bytes, where the structure is.
    let reach = if draws.below(2) == 0 { 96 } else { usize::MAX };
    for _ in 0..=draws.below(3) {
        once(&mut bytes, reach, draws);
    }
    bytes
}

fn once(bytes: &mut Vec<u8>, reach: usize, draws: &mut Draws) {
    let n = bytes.len().min(reach);
    if n == 0 {
        return;
    }
    let at = draws.below(n);
    let n_bytes = (1 + draws.below(8)).min(bytes.len() - at);
    match draws.below(8) {
        0..=2 => bytes[at] ^= 1 << draws.below(8),
        // Numbers that readers add to, multiply and subtract from.
        3 => bytes[at..at + n_bytes].fill(0xff),
        4 => bytes[at..at + n_bytes].fill([0, 1, 0x7f, 0x80][draws.below(4)]),
        5 => bytes.truncate(at),
        6 => drop(bytes.drain(at..at + n_bytes)),
        _ => {
            let piece = bytes[at..at + n_bytes].to_vec();
            let to = draws.below(bytes.len());
            bytes.splice(to..to, piece);
        }
    }
}
