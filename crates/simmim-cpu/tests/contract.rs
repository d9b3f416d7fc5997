//! The processor gives what every device must give.

use simmim_cpu::CpuDevice;
use simmim_device::contract;
use std::sync::Arc;

#[test]
fn the_processor_keeps_the_contract_of_a_device() {
    contract::check(|precision| Arc::new(CpuDevice::with_precision(precision)));
}
