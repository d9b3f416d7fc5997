//! What is found of GPUs, without opening any.

/// What this machine has of GPUs.
#[derive(Debug, Clone, Default)]
pub struct Gpus {
    /// Those that a driver finds.
    pub devices: Vec<Gpu>,
    /// Why there is none.
    pub why_none: Option<String>,
    /// The libraries that a run on a GPU needs.
    pub libraries: Vec<Library>,
}

/// A GPU.
#[derive(Debug, Clone)]
pub struct Gpu {
    /// As its maker calls it.
    pub name: String,
    /// Its compute capability, as in `9.0`.
    pub capability: String,
    /// Bytes of its memory.
    pub memory_bytes: u64,
    /// Why it cannot be used.
    pub refusal: Option<String>,
}

/// A library that is looked up when a GPU is asked for.
#[derive(Debug, Clone)]
pub struct Library {
    /// What it is called.
    pub name: &'static str,
    /// Whether it is on this machine.
    pub is_there: bool,
    /// Its version, if it says one.
    pub version: Option<String>,
}
