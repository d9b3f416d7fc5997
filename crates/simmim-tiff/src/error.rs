//! What can be wrong with a TIFF.

/// Every failure of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file ends before what it announces.
    #[error("the TIFF data ends early")]
    CutShort,
    /// What no reader could make sense of.
    #[error("{reason}")]
    Broken {
        /// What is wrong.
        reason: String,
    },
    /// What a TIFF may hold and is not read here.
    #[error("TIFF with {found} is not read")]
    Unsupported {
        /// What it holds.
        found: String,
        /// A command that makes a file of it that is read.
        convert: &'static str,
    },
    /// There is no memory for the samples.
    #[error("there is no memory for {n_samples} samples")]
    Memory {
        /// How many samples.
        n_samples: usize,
    },
    /// What the decoder of a compression said.
    #[error(transparent)]
    Decoder(Box<dyn std::error::Error + Send + Sync>),
}
