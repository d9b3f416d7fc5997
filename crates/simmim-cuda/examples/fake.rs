//! Builds the fake driver and cuBLASLt and prints the folder to name in `LD_LIBRARY_PATH`, for a program that has no GPU.

#![allow(
    dead_code,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "the module is that of the tests; the folder is what a script reads"
)]

#[path = "../tests/gpu/fake.rs"]
mod fake;

fn main() {
    println!("{}", fake::libraries(fake::Sanitizer::None).display());
}
