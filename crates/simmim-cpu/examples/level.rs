//! Prints the level of instructions that the kernels run at here, as `SIMMIM_CPU` calls it.
//!
//! Where that asks for a level that the processor lacks, another one is printed: `.ci/run` tells by it what it cannot test.

#![allow(clippy::print_stdout, reason = "it is there to print")]

fn main() {
    println!("{}", format!("{:?}", simmim_cpu::level()).to_lowercase());
}
