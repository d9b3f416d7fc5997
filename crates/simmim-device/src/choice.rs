//! Which device a run asks for.

use std::fmt;

/// A device by its name, as a configuration gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// `auto`: the fastest one that this machine has.
    #[default]
    Auto,
    /// `cpu`: the cores.
    Cpu,
    /// `cuda`, `cuda:1`: a GPU of NVIDIA's.
    Cuda {
        /// Its number, as the driver counts them from 0.
        number: usize,
    },
}

impl DeviceChoice {
    /// The device of a name.
    pub fn of_name(name: &str) -> Option<Self> {
        match name {
            "auto" => Some(Self::Auto),
            "cpu" => Some(Self::Cpu),
            "cuda" => Some(Self::Cuda { number: 0 }),
            _ => {
                let digits = name.strip_prefix("cuda:")?;
                let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
                let number = digits.parse().ok().filter(|_| is_number)?;
                Some(Self::Cuda { number })
            }
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.pad("auto"),
            Self::Cpu => f.pad("cpu"),
            Self::Cuda { number: 0 } => f.pad("cuda"),
            Self::Cuda { number } => f.pad(&format!("cuda:{number}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_that_of_one_device() {
        for name in ["auto", "cpu", "cuda", "cuda:1", "cuda:12"] {
            let choice = DeviceChoice::of_name(name).expect("a name");
            assert_eq!(choice.to_string(), name);
        }
        assert_eq!(
            DeviceChoice::of_name("cuda:0"),
            Some(DeviceChoice::Cuda { number: 0 })
        );
        for name in [
            "",
            "gpu",
            "cuda:",
            "cuda:-1",
            "cuda:+1",
            "cuda1",
            "CUDA",
            "cuda:99999999999999999999",
        ] {
            assert_eq!(DeviceChoice::of_name(name), None, "{name}");
        }
    }
}
