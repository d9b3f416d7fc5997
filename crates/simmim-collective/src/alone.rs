//! A training of one process.

use crate::collective::Collective;
use crate::error::Error;
use crate::wire::Wire;

/// One rank without others: every sum is what it was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Alone;

/// One rank without others, which computes beside other processes on the same cores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beside {
    /// How many processes share the cores, this one among them.
    pub n_on_these_cores: usize,
}

/// What there is to say to others where there are none.
macro_rules! without_others {
    () => {
        fn rank(&self) -> usize {
            0
        }

        fn world(&self) -> usize {
            1
        }

        fn all_reduce(&self, _: &mut [f32], _: Wire) -> Result<(), Error> {
            Ok(())
        }

        fn all_reduce_f64(&self, _: &mut [f64]) -> Result<(), Error> {
            Ok(())
        }

        fn broadcast(&self, _: &mut Vec<u8>) -> Result<(), Error> {
            Ok(())
        }

        fn all_gather(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
            Ok(vec![bytes.to_vec()])
        }

        fn barrier(&self) -> Result<(), Error> {
            Ok(())
        }
    };
}

impl Collective for Alone {
    without_others!();
}

impl Collective for Beside {
    without_others!();

    fn n_on_these_cores(&self) -> usize {
        self.n_on_these_cores
    }
}
