//! A pickle to a graph of values. Nothing is built but numbers, texts, containers and descriptions of tensors.
//!
//! Python's own description of the operations is `Lib/pickletools.py`. `torch.save` writes protocol 2, or 3 to 5 if told to.

mod call;
mod classes;
mod input;
mod machine;
mod tensor;

pub(crate) use classes::{Fields, fields};
pub(crate) use input::Input;
pub(crate) use machine::read;
