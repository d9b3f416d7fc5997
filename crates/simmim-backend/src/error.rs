//! Why there is no device.

use simmim_device::DeviceChoice;

/// Why there is no device of a name.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A GPU, and what is missing or wrong.
    #[cfg(feature = "cuda")]
    #[error("there is no device `{choice}`")]
    Cuda {
        /// The device that was asked for.
        choice: DeviceChoice,
        /// Why.
        source: simmim_cuda::Error,
    },
    /// A GPU, of a program that was built without them.
    #[error("there is no device `{choice}`: this program was built without CUDA")]
    NotBuilt {
        /// The device that was asked for.
        choice: DeviceChoice,
    },
}

impl Error {
    /// What a user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            #[cfg(feature = "cuda")]
            Self::Cuda { source, .. } => source.hint().map(str::to_owned),
            Self::NotBuilt { .. } => Some(
                "build it with the feature `cuda`, which is on by default, or set train.device = \"cpu\""
                    .to_owned(),
            ),
        }
    }
}
