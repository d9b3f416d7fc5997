//! What is said where something is missing, too old or too small.

use crate::contract::open;
use crate::fake::{Driver, Sanitizer, within_a};
use simmim_cuda::{CudaDevice, Error, Libraries, devices, libraries, usable};
use simmim_device::{AttentionPattern, Device, DeviceFailure, Element, Heads, Precision};
use std::ffi::OsString;

/// The errors of looking for the first device and of opening it, which are the same.
fn refused() -> Error {
    let looked = usable(0).expect_err("it cannot be used");
    let opened = CudaDevice::open(0, Precision::F32).expect_err("it cannot be used");
    assert_eq!(looked.to_string(), opened.to_string());
    assert!(looked.hint().is_some(), "{looked}");
    opened
}

/// Looks for a device where the fake is told to be another one.
fn with(test: &str, setting: (&str, &str), check: impl FnOnce(Error)) {
    let driver = Driver {
        settings: &[setting],
        ..Driver::fake(Sanitizer::None)
    };
    within_a(&format!("missing::{test}"), driver, || check(refused()));
}

#[test]
fn a_driver_without_devices_is_told() {
    let name = "a_driver_without_devices_is_told";
    with(name, ("FAKE_CUDA_DEVICES", "0"), |error| {
        assert!(matches!(error, Error::NoDevice), "{error}");
        assert!(matches!(devices(), Err(Error::NoDevice)));
    });
}

#[test]
fn a_driver_that_is_too_old_is_told() {
    let name = "a_driver_that_is_too_old_is_told";
    with(name, ("FAKE_CUDA_VERSION", "11080"), |error| {
        let (found_major, found_minor) = (11, 8);
        let expected = Error::OldDriver {
            found_major,
            found_minor,
        };
        assert_eq!(error.to_string(), expected.to_string());
    });
}

#[test]
fn a_chip_that_is_too_old_is_told() {
    let name = "a_chip_that_is_too_old_is_told";
    with(name, ("FAKE_CUDA_CHIP", "75"), |error| {
        assert!(
            matches!(
                error,
                Error::OldChip {
                    major: 7,
                    minor: 5,
                    ..
                }
            ),
            "{error}"
        );
    });
}

#[test]
fn a_number_that_no_device_has_is_told() {
    let driver = Driver {
        settings: &[("FAKE_CUDA_DEVICES", "2")],
        ..Driver::fake(Sanitizer::None)
    };
    within_a(
        "missing::a_number_that_no_device_has_is_told",
        driver,
        || {
            assert_eq!(devices().expect("there are two").len(), 2);
            CudaDevice::open(1, Precision::F32).expect("the second one");
            let error = CudaDevice::open(2, Precision::F32).expect_err("there is no third");
            assert!(
                matches!(error, Error::NoSuchDevice { asked: 2, found: 2 }),
                "{error}"
            );
        },
    );
}

#[test]
fn a_missing_library_of_products_is_told() {
    let driver = Driver {
        only: "libcuda.so",
        ..Driver::fake(Sanitizer::None)
    };
    within_a(
        "missing::a_missing_library_of_products_is_told",
        driver,
        || {
            // Where CUDA itself is installed it is found there.
            match usable(0) {
                Err(_) => assert!(matches!(refused(), Error::NoProducts)),
                Ok(_) => {
                    println!("skipped: a_missing_library_of_products_is_told: this machine has it");
                }
            }
        },
    );
}

/// Opens a GPU of a family that this program holds no machine code for.
fn of_another_family(
    test: &str,
    compiler: Option<OsString>,
    check: impl FnOnce(Result<CudaDevice, Error>),
) {
    let driver = Driver {
        settings: &[("FAKE_CUDA_CHIP", "120")],
        besides: compiler,
        ..Driver::fake(Sanitizer::None)
    };
    within_a(&format!("missing::{test}"), driver, || {
        check(CudaDevice::open(0, Precision::F32));
    });
}

#[test]
fn a_chip_without_machine_code_needs_a_compiler() {
    let name = "a_chip_without_machine_code_needs_a_compiler";
    of_another_family(name, None, |opened| match opened {
        Err(error) => {
            assert!(
                matches!(
                    error,
                    Error::NoCompiler {
                        major: 12,
                        minor: 0,
                        ..
                    }
                ),
                "{error}"
            );
            assert!(
                error
                    .hint()
                    .is_some_and(|hint| hint.contains("nvidia-cuda-nvrtc"))
            );
        }
        Ok(_) => println!("skipped: {name}: this machine has one"),
    });
}

#[test]
fn a_chip_without_machine_code_has_the_kernels_compiled_when_it_is_met() {
    let name = "a_chip_without_machine_code_has_the_kernels_compiled_when_it_is_met";
    let Some(folder) = std::env::var_os("SIMMIM_TEST_NVRTC") else {
        println!(
            "skipped: {name}: SIMMIM_TEST_NVRTC names no folder with libnvrtc.so (pip install nvidia-cuda-nvrtc)"
        );
        return;
    };
    of_another_family(name, Some(folder), |opened| {
        // The fake takes machine code alone, and runs its own in place of it.
        let device = opened.expect("it was compiled");
        let values = device.upload(&[1.0, 2.0]);
        assert_eq!(device.download(&values), [1.0, 2.0]);
    });
}

#[test]
fn a_head_that_no_tile_has_room_for_is_told() {
    let name = "missing::a_head_that_no_tile_has_room_for_is_told";
    within_a(name, Driver::fake(Sanitizer::None), || {
        let device = open(Precision::F32);
        let (tokens, head_dim) = (2, 16_384);
        let dims = Heads {
            heads: 1,
            tokens,
            head_dim,
            scale: 1.0,
        };
        let pattern = AttentionPattern {
            dims,
            bias: None,
            windows: None,
        };
        let qkv = device.allocate(3 * tokens * head_dim, Element::F32);
        let mut out = device.allocate(tokens * head_dim, Element::F32);
        let failed = DeviceFailure::caught(|| device.attention(&qkv, pattern, &mut out));
        let failure = failed.expect_err("it does not fit");
        assert!(
            failure.to_string().contains("heads of 16384 values"),
            "{failure}"
        );
        assert!(
            failure
                .hint()
                .is_some_and(|hint| hint.contains("more heads"))
        );
        // Nothing was asked of the GPU, which goes on.
        assert_eq!(device.download(&device.upload(&[3.0])), [3.0]);
    });
}

#[test]
fn a_missing_driver_is_told() {
    match usable(0) {
        Err(error) => assert!(matches!(error, Error::NoDriver), "{error}"),
        Ok(found) => println!(
            "skipped: a_missing_driver_is_told: this machine has {}",
            found.name
        ),
    }
}

#[test]
fn too_little_memory_is_told_with_sizes_and_the_device_goes_on() {
    // Beside the workspace of products, which takes 32 MiB.
    let driver = Driver {
        settings: &[("FAKE_CUDA_MEMORY", "40000000")],
        ..Driver::fake(Sanitizer::None)
    };
    let name = "missing::too_little_memory_is_told_with_sizes_and_the_device_goes_on";
    within_a(name, driver, || {
        let device = open(Precision::F32);
        let small = device.upload(&[1.0, 2.0]);
        let failed = DeviceFailure::caught(|| device.allocate(2_000_000, Element::F32));
        let failure = failed.expect_err("it does not fit");
        let text = failure.to_string();
        assert!(
            text.contains("8000000 bytes") && text.contains("40000000"),
            "{text}"
        );
        assert!(failure.hint().is_some());
        // What waited to be handed out again is given back first.
        device.release(device.allocate(1_000_000, Element::F32));
        device.release(device.allocate(1_200_000, Element::F32));
        assert_eq!(device.download(&small), [1.0, 2.0]);
    });
}

#[test]
fn the_libraries_of_the_machine_are_told_with_their_versions() {
    let name = "missing::the_libraries_of_the_machine_are_told_with_their_versions";
    let settings: &[(&str, &str)] = &[("FAKE_CUDA_VERSION", "12080")];
    let driver = Driver {
        settings,
        ..Driver::fake(Sanitizer::None)
    };
    within_a(name, driver, || {
        let Libraries {
            driver,
            cublaslt,
            nccl,
        } = libraries();
        let version = |library: Option<simmim_cuda::Library>| library.and_then(|it| it.version);
        assert_eq!(version(driver).as_deref(), Some("12.8"));
        assert_eq!(version(cublaslt).as_deref(), Some("13.0.2"));
        assert!(version(nccl).is_some());
    });
}
