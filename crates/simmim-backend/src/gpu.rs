//! GPUs, in a program with or without them.

#[cfg(feature = "cuda")]
pub use with::{gpus, passed_over, resolve};
#[cfg(feature = "cuda")]
pub(crate) use with::{level, memory_bytes, open};
#[cfg(not(feature = "cuda"))]
pub use without::{gpus, passed_over, resolve};
#[cfg(not(feature = "cuda"))]
pub(crate) use without::{level, memory_bytes, open};

#[cfg(feature = "cuda")]
mod with {
    use crate::error::Error;
    use crate::found::{Gpu, Gpus, Library};
    use simmim_cuda::{CudaDevice, Error as CudaError, Found, Library as CudaLibrary};
    use simmim_device::{Device, DeviceChoice, Rounding};
    use std::sync::{Arc, OnceLock};

    /// The first GPU, or why it cannot be used. It is looked for once: no GPU comes while a program runs.
    fn first() -> &'static Result<Found, CudaError> {
        static FIRST: OnceLock<Result<Found, CudaError>> = OnceLock::new();
        FIRST.get_or_init(|| simmim_cuda::usable(0))
    }

    /// The device that a name stands for: `auto` is the cores, as long as nothing of a GPU's has been tried on a real one.
    pub fn resolve(choice: DeviceChoice) -> DeviceChoice {
        match choice {
            DeviceChoice::Auto => DeviceChoice::Cpu,
            named => named,
        }
    }

    /// Why `auto` is the cores on a machine that has a GPU.
    pub fn passed_over(choice: DeviceChoice) -> Option<String> {
        if choice != DeviceChoice::Auto {
            return None;
        }
        let why = match first() {
            Ok(_) => "it has to be asked for by train.device = \"cuda\", as this version was tried on a fake one only".to_owned(),
            Err(CudaError::NoDriver | CudaError::NoDevice) => return None,
            Err(error) => match error.hint() {
                Some(hint) => format!("{error}; {hint}"),
                None => error.to_string(),
            },
        };
        Some(format!("the GPU is not used: {why}"))
    }

    /// The GPUs of this machine, and the libraries for them. None is opened.
    pub fn gpus() -> Gpus {
        let found = simmim_cuda::devices();
        let why_none = found.as_ref().err().map(CudaError::to_string);
        let devices = found.unwrap_or_default().into_iter().enumerate();
        let devices = devices.map(|(number, found)| Gpu {
            name: found.name,
            capability: format!("{}.{}", found.capability.0, found.capability.1),
            memory_bytes: found.memory_bytes as u64,
            refusal: simmim_cuda::usable(number)
                .err()
                .map(|error| error.to_string()),
        });
        let library = |name, found: Option<CudaLibrary>| Library {
            name,
            is_there: found.is_some(),
            version: found.and_then(|library| library.version),
        };
        let libraries = simmim_cuda::libraries();
        Gpus {
            devices: devices.collect(),
            why_none,
            libraries: vec![
                library("driver", libraries.driver),
                library("cuBLASLt", libraries.cublaslt),
                library("NCCL", libraries.nccl),
            ],
        }
    }

    pub(crate) fn open(number: usize, rounding: Rounding) -> Result<Arc<dyn Device>, Error> {
        match CudaDevice::open(number, rounding) {
            Ok(device) => Ok(Arc::new(device)),
            Err(source) => {
                let choice = DeviceChoice::Cuda { number };
                Err(Error::Cuda { choice, source })
            }
        }
    }

    pub(crate) fn memory_bytes(number: usize) -> Option<u64> {
        let found = simmim_cuda::usable(number).ok()?;
        Some(found.memory_bytes as u64)
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
    use crate::found::Gpus;
    use simmim_device::{Device, DeviceChoice, Rounding};
    use std::sync::Arc;

    /// The device that a name stands for: `auto` is the cores.
    pub fn resolve(choice: DeviceChoice) -> DeviceChoice {
        match choice {
            DeviceChoice::Auto => DeviceChoice::Cpu,
            named => named,
        }
    }

    /// Why `auto` is the cores on a machine that has a GPU.
    pub fn passed_over(_: DeviceChoice) -> Option<String> {
        None
    }

    /// No GPU: nothing here could use one.
    pub fn gpus() -> Gpus {
        Gpus {
            why_none: Some("this program was built without CUDA".to_owned()),
            ..Gpus::default()
        }
    }

    pub(crate) fn open(number: usize, _: Rounding) -> Result<Arc<dyn Device>, Error> {
        let choice = DeviceChoice::Cuda { number };
        Err(Error::NotBuilt { choice })
    }

    pub(crate) fn memory_bytes(_: usize) -> Option<u64> {
        None
    }

    pub(crate) fn level(_: usize) -> String {
        "none".to_owned()
    }
}
