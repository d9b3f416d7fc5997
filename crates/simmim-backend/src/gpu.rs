//! GPUs, in a program with or without them.

#[cfg(feature = "cuda")]
pub(crate) use with::{level, open};
#[cfg(feature = "cuda")]
pub use with::{passed_over, resolve};
#[cfg(not(feature = "cuda"))]
pub(crate) use without::{level, open};
#[cfg(not(feature = "cuda"))]
pub use without::{passed_over, resolve};

#[cfg(feature = "cuda")]
mod with {
    use crate::error::Error;
    use simmim_cuda::{CudaDevice, Error as CudaError, Found};
    use simmim_device::{Device, DeviceChoice, Precision};
    use std::sync::{Arc, OnceLock};

    /// The first GPU, or why it cannot be used. It is looked for once: no GPU comes while a program runs.
    fn first() -> &'static Result<Found, CudaError> {
        static FIRST: OnceLock<Result<Found, CudaError>> = OnceLock::new();
        FIRST.get_or_init(|| simmim_cuda::usable(0))
    }

    /// The device that a name stands for: `auto` is the first GPU that can be used, else the cores.
    pub fn resolve(choice: DeviceChoice) -> DeviceChoice {
        match choice {
            DeviceChoice::Auto if first().is_ok() => DeviceChoice::Cuda { number: 0 },
            DeviceChoice::Auto => DeviceChoice::Cpu,
            named => named,
        }
    }

    /// Why `auto` is the cores on a machine that has a GPU.
    pub fn passed_over() -> Option<String> {
        match first() {
            Ok(_) | Err(CudaError::NoDriver | CudaError::NoDevice) => None,
            Err(error) => Some(match error.hint() {
                Some(hint) => format!("the GPU is not used: {error}; {hint}"),
                None => format!("the GPU is not used: {error}"),
            }),
        }
    }

    pub(crate) fn open(number: usize, precision: Precision) -> Result<Arc<dyn Device>, Error> {
        match CudaDevice::open(number, precision) {
            Ok(device) => Ok(Arc::new(device)),
            Err(source) => {
                let choice = DeviceChoice::Cuda { number };
                Err(Error::Cuda { choice, source })
            }
        }
    }

    pub(crate) fn level(number: usize) -> String {
        match simmim_cuda::usable(number) {
            Ok(Found { capability, .. }) => format!("sm_{}{}", capability.0, capability.1),
            Err(_) => "none".to_owned(),
        }
    }
}

#[cfg(not(feature = "cuda"))]
mod without {
    use crate::error::Error;
    use simmim_device::{Device, DeviceChoice, Precision};
    use std::sync::Arc;

    /// The device that a name stands for: `auto` is the cores.
    pub fn resolve(choice: DeviceChoice) -> DeviceChoice {
        match choice {
            DeviceChoice::Auto => DeviceChoice::Cpu,
            named => named,
        }
    }

    /// Why `auto` is the cores on a machine that has a GPU.
    pub fn passed_over() -> Option<String> {
        None
    }

    pub(crate) fn open(number: usize, _: Precision) -> Result<Arc<dyn Device>, Error> {
        let choice = DeviceChoice::Cuda { number };
        Err(Error::NotBuilt { choice })
    }

    pub(crate) fn level(_: usize) -> String {
        "none".to_owned()
    }
}
