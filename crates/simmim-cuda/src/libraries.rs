//! Which of NVIDIA's libraries are on a machine.

use libloading::Library as Loaded;
use std::ffi::c_int;

/// Names of the library of sums over several GPUs.
pub(crate) const NCCL: [&str; 2] = ["libnccl.so.2", "libnccl.so"];

/// A library that is on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Library {
    /// Its version, if it says one.
    pub version: Option<String>,
}

/// NVIDIA's libraries; none in the place of one that is not there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Libraries {
    /// The driver's: the version is that of CUDA which it is for.
    pub driver: Option<Library>,
    /// Matrix products.
    pub cublaslt: Option<Library>,
    /// Sums over several GPUs.
    pub nccl: Option<Library>,
}

/// Looks for the libraries. No device is opened.
pub fn libraries() -> Libraries {
    Libraries {
        driver: find(&["libcuda.so.1", "libcuda.so"], |library| {
            asked(library, b"cuDriverGetVersion").map(of_cuda)
        }),
        cublaslt: find(
            &["libcublasLt.so", "libcublasLt.so.13", "libcublasLt.so.12"],
            |library| returned(library, b"cublasLtGetVersion").map(of_cublas),
        ),
        nccl: find(&NCCL, |library| {
            asked(library, b"ncclGetVersion").map(of_nccl)
        }),
    }
}

/// The first library of these names that can be loaded.
fn find(names: &[&str], version: impl Fn(&Loaded) -> Option<String>) -> Option<Library> {
    // SAFETY: loading runs nothing but the library's own start.
    let mut loaded = names
        .iter()
        .filter_map(|name| unsafe { Loaded::new(*name) }.ok());
    let loaded = loaded.next()?;
    let version = version(&loaded);
    // Others may have it open, and threads of a driver may still run in it.
    std::mem::forget(loaded);
    Some(Library { version })
}

/// What a function writes that is given a place for a number and returns 0.
fn asked(library: &Loaded, name: &[u8]) -> Option<usize> {
    let mut version: c_int = 0;
    // SAFETY: `cuDriverGetVersion` and `ncclGetVersion` have this type.
    let done = unsafe {
        let function = library.get::<unsafe extern "C" fn(*mut c_int) -> c_int>(name);
        function.ok()?(&raw mut version)
    };
    usize::try_from(version).ok().filter(|_| done == 0)
}

/// What a function returns.
fn returned(library: &Loaded, name: &[u8]) -> Option<usize> {
    // SAFETY: `cublasLtGetVersion` has this type.
    unsafe {
        let function = library.get::<unsafe extern "C" fn() -> usize>(name);
        Some(function.ok()?())
    }
}

/// Source: CUDA Driver API, `cuDriverGetVersion`: 1000 · major + 10 · minor.
fn of_cuda(version: usize) -> String {
    format!("{}.{}", version / 1000, version % 1000 / 10)
}

/// Source: cuBLAS, `cublas_api.h`: 10000 · major + 100 · minor + patch.
fn of_cublas(version: usize) -> String {
    format!(
        "{}.{}.{}",
        version / 10_000,
        version / 100 % 100,
        version % 100
    )
}

/// Source: NCCL, `nccl.h`, `NCCL_VERSION`: 1000 · major + 100 · minor + patch up to 2.8, and 10000 · major after.
fn of_nccl(version: usize) -> String {
    if version < 10_000 {
        format!(
            "{}.{}.{}",
            version / 1000,
            version / 100 % 10,
            version % 100
        )
    } else {
        of_cublas(version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_their_libraries_count() {
        assert_eq!(
            (of_cuda(12_080), of_cublas(120_803)),
            ("12.8".to_owned(), "12.8.3".to_owned())
        );
        assert_eq!([2_708, 22_703].map(of_nccl), ["2.7.8", "2.27.3"]);
    }
}
