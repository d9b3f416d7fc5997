//! A device that is timed does what it does without.

use simmim_cpu::CpuDevice;
use simmim_device::{Device, Element, Linear, LinearDims, ProfilingDevice};
use std::collections::BTreeMap;

#[test]
fn operations_are_counted_with_their_work_and_give_what_they_give_without() {
    let profiling = ProfilingDevice::new(CpuDevice::shared());
    let dims = LinearDims {
        rows: 5,
        inputs: 3,
        outputs: 2,
    };
    let x = profiling.upload(&[0.5; 15]);
    let w = profiling.upload(&[2.0; 6]);
    profiling.reset();
    let mut y = profiling.allocate(10, Element::F32);
    let layer = Linear {
        w: &w,
        bias: None,
        dims,
    };
    profiling.linear(&x, layer, &mut y);
    profiling.linear(&x, layer, &mut y);
    assert_eq!(profiling.download(&y), [3.0; 10]);
    let costs: BTreeMap<_, _> = profiling.costs().into_iter().collect();
    assert_eq!(costs.len(), 2, "{costs:?}");
    let linear = costs["linear"];
    assert_eq!((linear.calls, linear.operations), (2, 2.0 * 60.0));
    assert_eq!(linear.bytes, 2.0 * 4.0 * (15.0 + 6.0 + 10.0));
    assert!(linear.secs > 0.0 && costs["download"].calls == 1);
}
