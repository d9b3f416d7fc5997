//! What a model makes once and uses in every step.

use std::sync::{Arc, Mutex, PoisonError};

use simmim_autograd::Device;

/// Something that is made for a device and a size, and made anew only when either is another.
#[derive(Debug)]
pub(crate) struct Kept<T>(Mutex<Option<Made<T>>>);

#[derive(Debug)]
struct Made<T> {
    device: Arc<dyn Device>,
    size: usize,
    value: T,
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<T: Clone> Kept<T> {
    /// What was made for `device` and `size` before, else what `make` makes now.
    pub(crate) fn get(&self, device: &Arc<dyn Device>, size: usize, make: impl FnOnce() -> T) -> T {
        // A panic while it was held leaves what was made before, or nothing: both are usable.
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*kept {
            Some(made) if Arc::ptr_eq(&made.device, device) && made.size == size => {
                made.value.clone()
            }
            _ => {
                let (device, value) = (Arc::clone(device), make());
                *kept = Some(Made {
                    device,
                    size,
                    value: value.clone(),
                });
                value
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use simmim_cpu::CpuDevice;

    #[test]
    fn a_thing_is_made_anew_for_another_device_or_size_only() {
        let devices = [CpuDevice::shared(), CpuDevice::shared()];
        let kept = Kept::default();
        let mut n_made = 0;
        for (device, size) in [(0, 4), (0, 4), (0, 5), (1, 5), (1, 5), (0, 4)] {
            let value = kept.get(&devices[device], size, || {
                n_made += 1;
                (device, size)
            });
            assert_eq!(value, (device, size));
        }
        assert_eq!(n_made, 4);
    }
}
