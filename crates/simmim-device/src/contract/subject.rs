//! The device under test, values to give it, and the comparison of what it gives.

use crate::buffer::{Buffer, Element};
use crate::device::Device;
use crate::precision::Precision;

/// Of the largest value of a result, for what is computed in f32: sums of a hundred terms round by a hundred times ε/2 = 6e-8
/// at most, and a softmax or a norm doubles that a few times.
pub(super) const F32: f64 = 3e-5;
/// Of the largest value of a result, for chains of products whose operands are rounded to bf16: 8 bits, so each is off by 2⁻⁹
/// = 0.002 at most, and an attention's backward has four such products after each other.
pub(super) const BF16: f64 = 2e-2;
/// Of a value: what rounding it to bf16 takes or adds at most.
const HALF_STEP: f64 = 1.0 / 256.0;
/// Half a step of a difference in f64: the error of the difference is its square, and that of its rounding 1e-16 over it.
const STEP: f64 = 1e-5;

/// A device, and random draws for one round of checks.
pub(super) struct Subject<'d> {
    pub(super) device: &'d dyn Device,
    pub(super) precision: Precision,
    state: u64,
}

impl<'d> Subject<'d> {
    pub(super) fn new(device: &'d dyn Device, precision: Precision, seed: u64) -> Self {
        Self {
            device,
            precision,
            state: seed,
        }
    }

    /// What a chain of products may be off by.
    pub(super) fn tolerance(&self) -> f64 {
        match self.precision {
            Precision::F32 => F32,
            Precision::Bf16 => BF16,
        }
    }

    /// Source: S. Vigna, `splitmix64`.
    fn next(&mut self) -> u64 {
        // Not `simmim-random`: a crate that devices are written against depends on none.
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A size from 1 to `max`.
    pub(super) fn size(&mut self, max: usize) -> usize {
        1 + self.below(max)
    }

    pub(super) fn below(&mut self, n: usize) -> usize {
        // The small numbers come a little more often, which no check minds.
        (self.next() % n as u64) as usize
    }

    pub(super) fn chance(&mut self) -> bool {
        self.next() & 1 == 1
    }

    /// Values within ±`size` that f32 holds exactly.
    pub(super) fn values(&mut self, n: usize, size: f32) -> Vec<f64> {
        // As many bits as f32 has, so that device and definition begin with the same numbers.
        let unit = |bits: u64| (bits >> 40) as f32 / 8_388_608.0 - 1.0;
        (0..n)
            .map(|_| f64::from(size * unit(self.next())))
            .collect()
    }

    /// Zeros and ones.
    pub(super) fn flags(&mut self, n: usize) -> Vec<f64> {
        (0..n).map(|_| f64::from(u8::from(self.chance()))).collect()
    }

    pub(super) fn numbers(&mut self, n: usize, below: usize) -> Vec<u32> {
        (0..n).map(|_| self.below(below) as u32).collect()
    }

    /// 0..n in a random order.
    pub(super) fn order(&mut self, n: usize) -> Vec<u32> {
        let mut order: Vec<u32> = (0..n as u32).collect();
        for i in (1..n).rev() {
            order.swap(i, self.below(i + 1));
        }
        order
    }

    pub(super) fn up(&self, values: &[f64]) -> Buffer {
        let values: Vec<f32> = values.iter().map(|value| *value as f32).collect();
        self.device.upload(&values)
    }

    /// A buffer of what a residual branch may be kept in, either element, and what `values` then are in it.
    pub(super) fn up_in_branch(&mut self, values: &mut [f64]) -> Buffer {
        let wide = self.up(values);
        let element = self.element();
        if element == Element::F32 {
            return wide;
        }
        let nearest = rounded(values);
        values.copy_from_slice(&nearest);
        let mut buffer = self.device.allocate(values.len(), element);
        self.device.copy(&wide, &mut buffer);
        buffer
    }

    /// What a value of a branch is kept in: where the device keeps it in f32, that; else either, so that all pairs come up.
    fn element(&mut self) -> Element {
        if self.chance() {
            Element::F32
        } else {
            self.device.branch_element()
        }
    }

    /// A buffer for a result of a branch, which holds no numbers yet.
    pub(super) fn out_in_branch(&mut self, len: usize) -> Buffer {
        let element = self.element();
        self.out_of(element, len)
    }

    /// A buffer for a result, which holds no numbers yet.
    pub(super) fn out(&self, len: usize) -> Buffer {
        self.out_of(Element::F32, len)
    }

    fn out_of(&self, element: Element, len: usize) -> Buffer {
        let mut buffer = self.device.allocate(len, element);
        // A sum with NaN stays NaN: who adds where it should write is found as well.
        self.device.fill(&mut buffer, f32::NAN);
        buffer
    }

    pub(super) fn down(&self, buffer: &Buffer) -> Vec<f64> {
        let values = self.device.download(buffer);
        values.into_iter().map(f64::from).collect()
    }

    /// What `run` writes to a buffer of `len` values.
    pub(super) fn result(&self, len: usize, run: impl FnOnce(&mut Buffer)) -> Vec<f64> {
        let mut out = self.out(len);
        run(&mut out);
        self.down(&out)
    }

    /// Panics unless the values of a buffer are near those of the definition; what is kept in bf16 was rounded once more.
    pub(super) fn compare_buffer(
        &self,
        what: &str,
        found: &Buffer,
        expected: &[f64],
        tolerance: f64,
    ) {
        let rounding = match found.element() {
            Element::Bf16 => HALF_STEP,
            _ => 0.0,
        };
        let what = format!("{what} in {:?}", found.element());
        compare(&what, &self.down(found), expected, tolerance + rounding);
    }
}

/// Panics unless each value is near that of the definition: within `tolerance` times the largest of them.
pub(super) fn compare(what: &str, found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{what}: number of values");
    let largest = expected.iter().fold(0.0_f64, |max, x| max.max(x.abs()));
    for (idx, (found, expected)) in found.iter().zip(expected).enumerate() {
        let error = (found - expected).abs();
        // A result of zeros must be zeros.
        // Asked so that NaN fails, which is neither near nor far.
        assert!(
            error <= tolerance * largest,
            "{what}: value {idx} is {found}, by definition {expected}, the largest is {largest}"
        );
    }
}

/// The gradient of Σ dy · f(x) with respect to x, by differences.
pub(super) fn gradient(x: &[f64], dy: &[f64], f: impl Fn(&[f64]) -> Vec<f64>) -> Vec<f64> {
    let mut x = x.to_vec();
    let weighed = |x: &[f64]| f(x).iter().zip(dy).map(|(y, dy)| y * dy).sum::<f64>();
    (0..x.len())
        .map(|i| {
            let before = x[i];
            x[i] = before + STEP;
            let above = weighed(&x);
            x[i] = before - STEP;
            let below = weighed(&x);
            x[i] = before;
            (above - below) / (2.0 * STEP)
        })
        .collect()
}

/// The nearest bf16, to even where two are as near.
pub(super) fn rounded(values: &[f64]) -> Vec<f64> {
    let round = |value: &f64| {
        let bits = (*value as f32).to_bits();
        // Half of what is cut off, or just less where the last bit that stays is even: halves go to even.
        let up = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
        f64::from(f32::from_bits(up & 0xffff_0000))
    };
    values.iter().map(round).collect()
}
