//! Chance that can be had again.

use std::time::{SystemTime, UNIX_EPOCH};

use simmim::random::{Purpose, Stream};

/// The environment variable with the seed of a test that failed.
const VARIABLE: &str = "SIMMIM_TEST_SEED";

/// Numbers that differ from run to run of a test. The seed is printed, which shows when the test fails, and the variable
/// `SIMMIM_TEST_SEED` gives the same numbers again. (What a killed process had done by then is up to the machine.)
pub(crate) struct Chance {
    seed: u64,
    n_drawn: u64,
}

impl Chance {
    pub(crate) fn new() -> Self {
        let seed = match std::env::var(VARIABLE) {
            Ok(text) => text.parse().unwrap(),
            Err(_) => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap()
                .as_micros() as u64,
        };
        eprintln!("to kill at the same moments: {VARIABLE}={seed}");
        Self { seed, n_drawn: 0 }
    }

    /// The next number from 0 to 1.
    pub(crate) fn draw(&mut self) -> f64 {
        let mut draws = Stream::new(self.seed, Purpose::Survey).at(0, self.n_drawn);
        self.n_drawn += 1;
        draws.unit()
    }
}
