//! Memory that each thread keeps from call to call: once it is large enough, kernels ask the system for none.

use crate::aligned::Aligned;
use crate::lanes::LANES;
use std::cell::Cell;

thread_local! {
    static OF_TASKS: Cell<Aligned> = Cell::default();
    /// Apart from the other, because a thread that adds up parts takes on tasks meanwhile.
    static OF_SUMS: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

/// Calls `f` with buffers of these lengths, each from a cache line on, whose values are not defined.
pub(crate) fn with_scratch<const N: usize>(lens: [usize; N], f: impl FnOnce([&mut [f32]; N])) {
    // Taken out while in use: a nested task of the pool finds an empty one.
    let mut scratch = OF_TASKS.take();
    let len = lens.iter().map(|len| len.next_multiple_of(LANES)).sum();
    if scratch.len() < len {
        scratch = Aligned::zeros(len);
    }
    let mut rest = &mut scratch[..len];
    f(lens.map(|len| {
        let part = std::mem::take(&mut rest);
        let (part, others) = part.split_at_mut(len.next_multiple_of(LANES));
        rest = others;
        &mut part[..len]
    }));
    OF_TASKS.set(scratch);
}

/// Calls `f` with a buffer for results of parts that are to be added up, whose values are not defined.
pub(crate) fn with_sums(len: usize, f: impl FnOnce(&mut [f32])) {
    let mut scratch = OF_SUMS.take();
    if scratch.len() < len {
        scratch.resize(len, 0.0);
    }
    f(&mut scratch[..len]);
    OF_SUMS.set(scratch);
}

/// Calls `f` with a buffer of zeros.
pub(crate) fn with_zeros(len: usize, f: impl FnOnce(&mut [f32])) {
    with_sums(len, |sums| {
        sums.fill(0.0);
        f(sums);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_of_the_lengths_asked_for_and_zeros_are_zeros_again() {
        with_scratch([3, 0, 2], |[a, b, c]| {
            a.fill(1.0);
            c.fill(2.0);
            with_scratch([1], |[inner]| inner.fill(5.0));
            assert_eq!((&*a, &*b, &*c), (&[1.0; 3][..], &[][..], &[2.0; 2][..]));
        });
        with_zeros(4, |values| values.fill(7.0));
        with_zeros(3, |values| assert_eq!(values, [0.0; 3]));
    }
}
