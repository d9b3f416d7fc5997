//! What a device of any kind can do at most, from outside.

use simmim_device::{Device, Element, Linear, LinearDims, Peaks};
use std::time::Instant;

/// The side of the matrices, which keeps any device busy.
const SIDE: usize = 4096;
/// Runs that are measured, of which the fastest counts.
const RUNS: usize = 5;

/// The rates of a large product, and of a sum over arrays that no cache holds.
pub(crate) fn measured(device: &dyn Device) -> Peaks {
    let (n, element) = (SIDE * SIDE, device.branch_element());
    let [x, w] = [element, Element::F32].map(|element| {
        let mut buffer = device.allocate(n, element);
        device.fill(&mut buffer, 1.0);
        buffer
    });
    let (mut y, mut sum) = (
        device.allocate(n, element),
        device.allocate(n, Element::F32),
    );
    device.fill(&mut sum, 0.0);
    let dims = LinearDims {
        rows: SIDE,
        inputs: SIDE,
        outputs: SIDE,
    };
    let layer = Linear {
        w: &w,
        bias: None,
        dims,
    };
    let product_secs = fastest(device, || device.linear(&x, layer, &mut y));
    let sum_secs = fastest(device, || device.add_assign(&mut sum, &w));
    Peaks {
        gflops: 2.0 * (SIDE as f64).powi(3) / product_secs / 1e9,
        // Two arrays are read and one is written.
        gbs: (3 * n * size_of::<f32>()) as f64 / sum_secs / 1e9,
    }
}

fn fastest(device: &dyn Device, mut run: impl FnMut()) -> f64 {
    let mut timed = || {
        device.synchronise();
        let begun = Instant::now();
        run();
        device.synchronise();
        begun.elapsed().as_secs_f64()
    };
    // The first one chooses an algorithm.
    timed();
    (0..RUNS).map(|_| timed()).fold(f64::INFINITY, f64::min)
}
