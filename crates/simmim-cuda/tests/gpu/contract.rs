//! The GPU gives what every device must give: here on the fake driver, with `SIMMIM_TEST_GPU=1` on this machine's own.

use crate::fake::{self, Driver, Sanitizer};
use simmim_cuda::CudaDevice;
use simmim_device::{Device, Precision, contract};
use std::sync::Arc;

pub(crate) fn open(precision: Precision) -> Arc<dyn Device> {
    Arc::new(CudaDevice::open(0, precision).expect("there is a device"))
}

#[test]
fn a_gpu_keeps_the_contract_of_a_device() {
    let name = "contract::a_gpu_keeps_the_contract_of_a_device";
    fake::within(name, Sanitizer::None, || contract::check(open));
}

#[test]
fn a_gpu_keeps_the_contract_where_uploads_come_as_early_as_they_can() {
    let name = "contract::a_gpu_keeps_the_contract_where_uploads_come_as_early_as_they_can";
    let driver = Driver {
        settings: &[("FAKE_CUDA_EARLY", "1")],
        ..Driver::fake(Sanitizer::None)
    };
    fake::within_a(name, driver, || contract::check_shapes(2, open));
}

#[test]
fn no_kernel_reads_or_writes_beyond_its_memory() {
    let name = "contract::no_kernel_reads_or_writes_beyond_its_memory";
    fake::within(name, Sanitizer::Address, || contract::check(open));
}

#[test]
fn no_kernel_uses_memory_that_another_thread_writes_meanwhile() {
    let name = "contract::no_kernel_uses_memory_that_another_thread_writes_meanwhile";
    fake::within(name, Sanitizer::Thread, || contract::check_shapes(1, open));
}
