//! Attention on tensor cores gives what its plain twin gives, beyond a tile and a head's width too.

use crate::contract::open;
use crate::fake::{self, Sanitizer};
use simmim_cuda::CudaDevice;
use simmim_device::{
    AttentionPattern, Buffer, Device, Element, Heads, Linear, LinearDims, Precision, Rounding,
    SavedAttention, TokenWindows,
};

/// Of the largest value: an operand of a product is off by 2⁻⁹ = 0.002 of itself at most, and a backward pass has four products after
/// each other.
const TOLERANCE: f32 = 2e-2;

/// What attends to what.
#[derive(Debug, Clone, Copy)]
struct Case {
    heads: usize,
    tokens: usize,
    head_dim: usize,
    windows: usize,
    is_biased: bool,
    has_regions: bool,
}

/// One tile of 64 rows, as wide as the kernels for 64 values.
const PLAIN: Case = Case {
    heads: 1,
    tokens: 64,
    head_dim: 64,
    windows: 1,
    is_biased: false,
    has_regions: false,
};

/// A few tiles of 64 rows and less than one, heads of every width that there are kernels for, and of widths between.
const CASES: [Case; 6] = [
    Case {
        heads: 2,
        tokens: 49,
        head_dim: 32,
        windows: 3,
        is_biased: true,
        has_regions: true,
    },
    Case {
        head_dim: 20,
        windows: 2,
        has_regions: true,
        ..PLAIN
    },
    Case {
        heads: 3,
        tokens: 36,
        is_biased: true,
        ..PLAIN
    },
    Case {
        tokens: 197,
        is_biased: true,
        ..PLAIN
    },
    Case {
        heads: 2,
        tokens: 65,
        head_dim: 80,
        windows: 2,
        is_biased: true,
        has_regions: true,
    },
    Case {
        tokens: 130,
        head_dim: 128,
        ..PLAIN
    },
];

/// Values within ±`size`, another one for each seed and place.
fn values(n: usize, size: f32, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let mut draw = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        size * ((state >> 8) as f32 / 8_388_608.0 - 1.0)
    };
    (0..n).map(|_| draw()).collect()
}

/// The buffers of a case, which both twins are given.
struct Given<'a> {
    device: &'a dyn Device,
    case: Case,
    bias: Option<Buffer>,
    order: Buffer,
    regions: Buffer,
}

/// What attention gives, forward and backward.
struct Found {
    out: Vec<f32>,
    dqkv: Vec<f32>,
    dbias: Vec<f32>,
}

impl<'a> Given<'a> {
    fn new(device: &'a dyn Device, case: Case) -> Self {
        let n_places = case.windows * case.tokens;
        // No neighbours stay neighbours: 11 has no part in common with any number of places here.
        let order: Vec<u32> = (0..n_places).map(|i| (i * 11 % n_places) as u32).collect();
        let regions = (0..n_places).map(|i| u32::from(i % 5 > 2));
        let regions: Vec<u32> = regions.filter(|_| case.has_regions).collect();
        let bias = values(case.heads * case.tokens * case.tokens, 1.0, 3);
        Self {
            device,
            case,
            bias: case.is_biased.then(|| device.upload(&bias)),
            order: device.upload_index(&order),
            regions: device.upload_index(&regions),
        }
    }

    /// A buffer of this element with values that bf16 has.
    fn buffer(&self, values: &[f32], element: Element) -> Buffer {
        let wide = self.device.upload(values);
        let mut narrow = self.device.allocate(values.len(), Element::Bf16);
        self.device.copy(&wide, &mut narrow);
        if element == Element::Bf16 {
            return narrow;
        }
        let mut back = self.device.allocate(values.len(), Element::F32);
        self.device.copy(&narrow, &mut back);
        back
    }

    fn attend(&self, element: Element) -> Found {
        let Case {
            heads,
            tokens,
            head_dim,
            windows,
            ..
        } = self.case;
        let n = 2 * windows * tokens * heads * head_dim;
        let pattern = AttentionPattern {
            dims: Heads::new(heads, tokens, head_dim),
            bias: self.bias.as_ref(),
            windows: Some(TokenWindows {
                order: &self.order,
                regions: &self.regions,
            }),
        };
        let (qkv, dout) = (
            self.buffer(&values(3 * n, 1.5, 1), element),
            self.buffer(&values(n, 1.0, 2), element),
        );
        let mut out = self.device.allocate(n, element);
        let stats = self.device.attention(&qkv, pattern, &mut out);
        let saved = SavedAttention {
            qkv: &qkv,
            out: &out,
            stats: stats.as_ref(),
        };
        let mut dqkv = self.device.allocate(3 * n, element);
        let dbias = self
            .device
            .attention_backward(saved, pattern, &dout, &mut dqkv);
        let down = |buffer: &Buffer| {
            let mut wide = self.device.allocate(buffer.len(), Element::F32);
            self.device.copy(buffer, &mut wide);
            self.device.download(&wide)
        };
        Found {
            out: down(&out),
            dqkv: down(&dqkv),
            dbias: dbias.as_ref().map_or(Vec::new(), down),
        }
    }
}

fn assert_near(what: &str, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected
        .iter()
        .fold(0.0_f32, |most, value| most.max(value.abs()));
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        let error = (found - expected).abs();
        assert!(
            error <= TOLERANCE * largest,
            "{what}: value {i} is {found}, by the twin {expected}"
        );
    }
}

fn compare(cases: &[Case]) {
    let device = open(Precision::Bf16);
    for case in cases {
        let given = Given::new(&*device, *case);
        let (fast, plain) = (given.attend(Element::Bf16), given.attend(Element::F32));
        assert_near(&format!("{case:?}, out"), &fast.out, &plain.out);
        assert_near(&format!("{case:?}, dqkv"), &fast.dqkv, &plain.dqkv);
        assert_near(&format!("{case:?}, dbias"), &fast.dbias, &plain.dbias);
        let again = given.attend(Element::Bf16);
        assert!(
            again.dqkv == fast.dqkv && again.dbias == fast.dbias,
            "{case:?}: other bits in another run"
        );
    }
}

/// The product of 33 rows of 70 values with 50 of them.
fn product(rounding: Rounding) -> Vec<f32> {
    let dims = LinearDims {
        rows: 33,
        inputs: 70,
        outputs: 50,
    };
    let device = CudaDevice::open(0, rounding).expect("there is a device");
    let (x, w) = (
        device.upload(&values(33 * 70, 1.0, 4)),
        device.upload(&values(50 * 70, 1.0, 5)),
    );
    let mut y = device.allocate(33 * 50, Element::F32);
    let layer = Linear {
        w: &w,
        bias: None,
        dims,
    };
    device.linear(&x, layer, &mut y);
    device.download(&y)
}

#[test]
fn products_are_rounded_to_tf32_where_that_is_asked_for() {
    let name = "twins::products_are_rounded_to_tf32_where_that_is_asked_for";
    fake::within(name, Sanitizer::None, || {
        let with = |tf32| {
            product(Rounding {
                precision: Precision::F32,
                tf32,
            })
        };
        let (exact, rounded) = (with(false), with(true));
        let largest = exact
            .iter()
            .fold(0.0_f32, |most, value| most.max(value.abs()));
        let farthest = exact
            .iter()
            .zip(&rounded)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f32::max);
        // 10 bits of a fraction: operands are off by 2⁻¹¹ at most, and f32 sums by far less.
        assert!(
            (1e-5..1e-3).contains(&(farthest / largest)),
            "{farthest} of {largest}"
        );
    });
}

#[test]
fn attention_on_tensor_cores_is_that_of_its_plain_twin() {
    let name = "twins::attention_on_tensor_cores_is_that_of_its_plain_twin";
    fake::within(name, Sanitizer::None, || compare(&CASES));
}

#[test]
fn attention_on_tensor_cores_stays_within_its_memory() {
    let name = "twins::attention_on_tensor_cores_stays_within_its_memory";
    fake::within(name, Sanitizer::Address, || compare(&CASES[3..5]));
}

#[test]
fn warps_on_tensor_cores_wait_for_each_other() {
    let name = "twins::warps_on_tensor_cores_wait_for_each_other";
    fake::within(name, Sanitizer::Thread, || compare(&CASES[4..5]));
}
