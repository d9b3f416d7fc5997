//! What can go wrong with a GPU, and what a user can do about it.

use cudarc::cublaslt::result::CublasError;
use cudarc::driver::result::DriverError;
use simmim_device::DeviceFailure;

/// Why there is no device, or why it cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No library of the driver.
    #[error("no NVIDIA driver: libcuda.so.1 is not on this machine")]
    NoDriver,
    /// A driver that does not know what is called.
    #[error(
        "the NVIDIA driver is too old: it is for CUDA {found_major}.{found_minor}, and 12.0 or newer is needed"
    )]
    OldDriver {
        /// Of the version of CUDA that the driver is for.
        found_major: i32,
        /// Of the same.
        found_minor: i32,
    },
    /// A driver without a device.
    #[error("the NVIDIA driver finds no GPU")]
    NoDevice,
    /// Another number than those of the devices.
    #[error("there is no GPU {asked}: the driver finds {found}, and counts from 0")]
    NoSuchDevice {
        /// The number that was asked for.
        asked: usize,
        /// How many there are.
        found: usize,
    },
    /// A chip without bf16.
    #[error(
        "{name} is too old: it is of compute capability {major}.{minor}, and 8.0 or newer is needed"
    )]
    OldChip {
        /// The device's name.
        name: String,
        /// Its compute capability.
        major: i32,
        /// Of the same.
        minor: i32,
    },
    /// No library of matrix products.
    #[error("no cuBLASLt: libcublasLt.so is not on this machine")]
    NoProducts,
    /// A chip that no kernel was compiled for, and no compiler.
    #[error(
        "{name} is of compute capability {major}.{minor}, which this program holds no machine code for, and there is no NVRTC to compile it"
    )]
    NoCompiler {
        /// The device's name.
        name: String,
        /// Its compute capability.
        major: i32,
        /// Of the same.
        minor: i32,
    },
    /// NVRTC refused the kernels.
    #[error("NVRTC cannot compile the kernels for {chip}: {log}")]
    Compile {
        /// The chip.
        chip: String,
        /// What it said.
        log: String,
    },
    /// Machine code that cannot be unpacked.
    #[error("the machine code for {chip} in this program is damaged")]
    Damaged {
        /// The chip.
        chip: &'static str,
    },
    /// Too little memory.
    #[error(
        "the GPU is out of memory: {asked} bytes were asked for beside the {in_use} that this program uses; {free} of {total} are free"
    )]
    OutOfMemory {
        /// Bytes of the allocation.
        asked: usize,
        /// Bytes that this program's tensors take.
        in_use: usize,
        /// Bytes that no program uses.
        free: usize,
        /// Bytes of the device.
        total: usize,
    },
    /// A head that no tile of attention has room for.
    #[error(
        "attention with heads of {head_dim} values needs {asked} bytes of shared memory, of which the GPU has {found}"
    )]
    WideHead {
        /// Values of a head.
        head_dim: usize,
        /// Bytes for the smallest tiles.
        asked: usize,
        /// Bytes of the device.
        found: usize,
    },
    /// No library of sums.
    #[error("no NCCL: libnccl.so.2 is not on this machine")]
    NoNccl,
    /// NCCL refused a call, or has lost another process.
    #[error("NCCL refused {what}: {reason}")]
    Peers {
        /// What was asked for.
        what: &'static str,
        /// What it says.
        reason: String,
    },
    /// The GPUs of other processes bring nothing.
    #[error(
        "the GPU has waited for {secs} s for those of the other processes, and nothing has come"
    )]
    Silent {
        /// For how long.
        secs: u64,
    },
    /// The driver refused a call.
    #[error("the NVIDIA driver refused {what}: {text}")]
    Driver {
        /// What was asked for.
        what: &'static str,
        /// What the driver calls the error.
        text: String,
    },
    /// cuBLASLt refused a call.
    #[error("cuBLASLt refused {what}: {status:?}")]
    Products {
        /// What was asked for.
        what: &'static str,
        /// Its answer.
        status: CublasError,
    },
}

impl Error {
    /// What a user can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoDriver => Some(
                "install NVIDIA's driver (in a container, start it with the GPU), or set train.device = \"cpu\"",
            ),
            Self::OldDriver { .. } => {
                Some("install a driver of version 525 or newer, or set train.device = \"cpu\"")
            }
            Self::NoDevice => Some(
                "look at nvidia-smi and at CUDA_VISIBLE_DEVICES, or set train.device = \"cpu\"",
            ),
            Self::NoSuchDevice { .. } => Some("nvidia-smi lists them; \"cuda\" is the first"),
            Self::OldChip { .. } => Some("set train.device = \"cpu\""),
            Self::NoProducts => Some(
                "install it (pip install nvidia-cublas-cu12, or CUDA) and name its folder in LD_LIBRARY_PATH, or set train.device = \"cpu\"",
            ),
            Self::NoCompiler { .. } => Some(
                "install NVRTC (pip install nvidia-cuda-nvrtc-cu12, or CUDA) and name its folder in LD_LIBRARY_PATH",
            ),
            Self::OutOfMemory { .. } => Some(
                "a larger train.accumulation, train.checkpointing = true or a smaller train.batch_size need less; other programs on the GPU take some too",
            ),
            Self::NoNccl => Some(
                "install it (pip install nvidia-nccl-cu12) and name its folder in LD_LIBRARY_PATH",
            ),
            Self::Peers { .. } => Some(
                "NCCL_DEBUG=INFO says more; each process needs a GPU of its own; go on from the last checkpoint with --resume",
            ),
            Self::Silent { .. } => Some(
                "another process may have ended: its output says why; go on from the last checkpoint with --resume",
            ),
            Self::WideHead { .. } => Some("a model of more heads has narrower ones"),
            Self::Compile { .. } | Self::Damaged { .. } | Self::Products { .. } => None,
            Self::Driver { .. } => {
                Some("nvidia-smi and the system's log (dmesg) may say more of the GPU's state")
            }
        }
    }

    /// Leaves the operation that met it.
    pub(crate) fn raise(self) -> ! {
        let hint = self.hint().map(str::to_owned);
        DeviceFailure::new(self, hint).raise()
    }
}

/// What a call to the driver came to.
pub(crate) trait Asked<T> {
    /// An error that says what was asked for.
    fn asked(self, what: &'static str) -> Result<T, Error>;
}

impl<T> Asked<T> for Result<T, DriverError> {
    fn asked(self, what: &'static str) -> Result<T, Error> {
        self.map_err(|error| {
            let known = error
                .error_string()
                .map(|text| text.to_string_lossy().into_owned());
            let text = known.unwrap_or_else(|_| format!("{:?}", error.0));
            Error::Driver { what, text }
        })
    }
}

impl<T> Asked<T> for Result<T, CublasError> {
    fn asked(self, what: &'static str) -> Result<T, Error> {
        self.map_err(|status| Error::Products { what, status })
    }
}

/// The value, or the failure of the device.
pub(crate) trait OrRaise<T> {
    fn or_raise(self) -> T;
}

impl<T> OrRaise<T> for Result<T, Error> {
    fn or_raise(self) -> T {
        self.unwrap_or_else(|error| error.raise())
    }
}
