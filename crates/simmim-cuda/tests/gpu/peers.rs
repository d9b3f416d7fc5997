//! Two GPUs that sum with each other, by a fake of NCCL: each has a thread here, where in a training it has a process.

use crate::fake::{Driver, Sanitizer, within_a};
use simmim_cuda::CudaDevice;
use simmim_device::{Buffer, Device, DeviceFailure, Element, Precision, Seat};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

/// Runs `check` on each of two GPUs, with what they join by.
fn with_two(test: &str, check: impl Fn(usize, &CudaDevice, &[u8]) + Sync) {
    let driver = Driver {
        settings: &[("FAKE_CUDA_DEVICES", "2")],
        ..Driver::fake(Sanitizer::None)
    };
    within_a(&format!("peers::{test}"), driver, || {
        let open = |number| CudaDevice::open(number, Precision::F32).unwrap();
        let devices = [0, 1].map(open);
        let meeting = devices[0].peers().unwrap().meeting();
        thread::scope(|scope| {
            for (rank, device) in devices.iter().enumerate() {
                let (meeting, check) = (&meeting, &check);
                scope.spawn(move || check(rank, device, meeting));
            }
        });
    });
}

/// Takes the place of a rank; nothing may come for so long.
fn join(rank: usize, device: &CudaDevice, meeting: &[u8], patience: Duration) {
    device.peers().unwrap().join(Seat {
        rank,
        world: 2,
        meeting,
        patience,
    });
}

/// Runs `check` on each of two GPUs that have joined; nothing may come for so long.
fn on_two(test: &str, patience: Duration, check: impl Fn(usize, &CudaDevice) + Sync) {
    with_two(test, |rank, device, meeting| {
        join(rank, device, meeting, patience);
        check(rank, device);
    });
}

#[test]
fn sums_are_those_of_both_and_are_waited_for_by_the_device() {
    let name = "sums_are_those_of_both_and_are_waited_for_by_the_device";
    on_two(name, Duration::from_mins(1), |rank, device| {
        // More than one piece of the fake's, and an odd number.
        for (travels, n) in [
            (Element::F32, 40_001),
            (Element::Bf16, 3),
            (Element::Bf16, 40_001),
        ] {
            let value = |rank: usize, i: usize| (rank + 1) as f32 * ((i % 100) as f32 + 0.001);
            let own: Vec<f32> = (0..n).map(|i| value(rank, i)).collect();
            let (first, second) = (device.upload(&own), device.upload(&[rank as f32]));
            let sums = device.peers().unwrap().sum(&[&first, &second], travels);
            let sums = sums.take();
            // Asked for after the sums were taken, and before anybody has waited.
            let mut more = device.allocate(1, Element::F32);
            device.copy(&sums[1], &mut more);
            assert_eq!(device.download(&more), [1.0]);
            let found = device.download(&sums[0]);
            let round = |x: f32| match travels {
                Element::Bf16 => rounded(device, x),
                _ => x,
            };
            for i in [0, 1, 2, n / 2, n - 1] {
                let expected = round(round(value(0, i)) + round(value(1, i)));
                assert_eq!(found[i], expected, "{travels:?}, {i} of {n}");
            }
            // What was summed is as it was.
            assert_eq!(device.download(&first), own);
        }
    });
}

fn rounded(device: &CudaDevice, x: f32) -> f32 {
    let mut narrow: Buffer = device.allocate(1, Element::Bf16);
    device.copy(&device.upload(&[x]), &mut narrow);
    device.download(&narrow)[0]
}

#[test]
fn a_gpu_that_waits_for_one_that_brings_nothing_gives_up_in_time() {
    let name = "a_gpu_that_waits_for_one_that_brings_nothing_gives_up_in_time";
    on_two(name, Duration::from_secs(1), |rank, device| {
        if rank == 1 {
            return;
        }
        let begun = Instant::now();
        let failed = DeviceFailure::caught(|| {
            let values = device.upload(&[1.0]);
            let sums = device.peers().unwrap().sum(&[&values], Element::F32).take();
            device.download(&sums[0])
        });
        let failure = failed.expect_err("the other has brought nothing");
        assert!(failure.to_string().contains("waited for 1 s"), "{failure}");
        assert!(failure.hint().is_some_and(|hint| hint.contains("--resume")));
        assert!(begun.elapsed() < Duration::from_secs(30));
    });
}

#[test]
fn a_gpu_that_waits_for_one_that_does_not_join_gives_up_in_time() {
    let name = "a_gpu_that_waits_for_one_that_does_not_join_gives_up_in_time";
    let has_given_up = Barrier::new(2);
    with_two(name, |rank, device, meeting| {
        if rank == 1 {
            has_given_up.wait();
            // Now the call that was left behind comes to its end as well.
            return join(rank, device, meeting, Duration::from_mins(1));
        }
        let begun = Instant::now();
        let joined = DeviceFailure::caught(|| join(rank, device, meeting, Duration::from_secs(1)));
        let took = begun.elapsed();
        has_given_up.wait();
        let failure = joined.expect_err("the other has not come");
        assert!(failure.to_string().contains("waited for 1 s"), "{failure}");
        assert!(failure.hint().is_some_and(|hint| hint.contains("--resume")));
        assert!(took < Duration::from_secs(30), "{took:?}");
    });
}
