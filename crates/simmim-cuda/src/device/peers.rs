//! GPUs of other processes, which sum with this one.

use super::gpu::CudaDevice;
use super::storage::{values, values_mut};
use crate::driver::{Driver, Grid};
use crate::error::{Error, OrRaise};
use crate::memory::Memory;
use crate::nccl::{self, Summed};
use simmim_device::{Buffer, Element, Peers, Seat, Sums};
use std::sync::Arc;

impl Peers for CudaDevice {
    fn meeting(&self) -> Vec<u8> {
        self.driver.bind().and_then(|()| nccl::meeting()).or_raise()
    }

    fn join(&self, seat: Seat<'_>) {
        self.driver.join(seat).or_raise();
    }

    fn sum(&self, buffers: &[&Buffer], travels: Element) -> Sums {
        match travels {
            Element::Bf16 => self.ask_rounded_sums(buffers),
            _ => self.ask_sums(buffers),
        }
        .or_raise()
    }
}

impl CudaDevice {
    fn ask_sums(&self, buffers: &[&Buffer]) -> Result<Sums, Error> {
        let mut sums: Vec<Buffer> = buffers.iter().map(|it| self.floats(it.len())).collect();
        let both = buffers.iter().zip(&mut sums);
        let all: Vec<Summed> = both
            .map(|(from, to)| Summed {
                from: values(from),
                to: values_mut(to),
                len: from.len(),
            })
            .collect();
        let there = self.driver.sum(&all, Element::F32)?;
        let driver = Arc::clone(&self.driver);
        Ok(Sums::new(move || {
            there.hold(driver.stream).or_raise();
            sums
        }))
    }

    /// The same of values that are rounded before and after.
    fn ask_rounded_sums(&self, buffers: &[&Buffer]) -> Result<Sums, Error> {
        let rounded: Vec<Rounded> = buffers
            .iter()
            .map(|from| {
                let copy = self.scratch(from.len() * Element::Bf16.bytes());
                self.round(values(from), copy.address, from.len());
                let sum = self.floats(from.len());
                Rounded { copy, sum }
            })
            .collect();
        let in_place = |it: &Rounded| Summed {
            from: it.copy.address,
            to: it.copy.address,
            len: it.sum.len(),
        };
        let all: Vec<Summed> = rounded.iter().map(in_place).collect();
        let there = self.driver.sum(&all, Element::Bf16)?;
        let driver = Arc::clone(&self.driver);
        Ok(Sums::new(move || {
            there.hold(driver.stream).or_raise();
            let widened = rounded.into_iter().map(|it| it.widened(&driver).or_raise());
            widened.collect()
        }))
    }
}

/// What travels for a buffer, and what its sum goes to.
struct Rounded {
    copy: Memory,
    sum: Buffer,
}

impl Rounded {
    fn widened(mut self, driver: &Driver) -> Result<Buffer, Error> {
        let n = self.sum.len();
        let arguments = [self.copy.address, values_mut(&mut self.sum), n as u64];
        driver.launch("convert_bf", Grid::quads(n), &arguments)?;
        Ok(self.sum)
    }
}
