//! What is said where something is missing, too old or too small.

use crate::contract::open;
use crate::fake::{Driver, Sanitizer, within_a};
use simmim_cuda::{CudaDevice, Error, Libraries, devices, libraries, usable};
use simmim_device::{DeviceFailure, Element, Precision};

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
