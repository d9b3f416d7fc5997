//! Which device a run asks for.

/// A device by its name, as a configuration gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// `auto`: the fastest one that this machine has.
    #[default]
    Auto,
    /// `cpu`: the cores.
    Cpu,
}
