//! Which token attends to which: against the definition.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

use simmim_cpu::CpuDevice;
use simmim_random::{Purpose, Stream};

use simmim_autograd::{Attend, ParameterSpecs, Parameters, Tape, Tensor, Windows};

const BATCH: usize = 2;
const TOKENS: usize = 12;
const HEADS: usize = 2;
const HEAD_DIM: usize = 5;
const WIDTH: usize = HEADS * HEAD_DIM;

fn numbers(len: usize, seed: u64) -> Vec<f32> {
    let mut drawn = Stream::new(seed, Purpose::Init).at(0, 0);
    (0..len).map(|_| 2.0 * drawn.normal() as f32).collect()
}

/// By the definition, in f64; `places` are the tokens of each window.
fn expected(qkv: &[f32], bias: &[f32], places: &[Vec<usize>]) -> Vec<f64> {
    let mut weights = vec![0.0; BATCH * TOKENS * TOKENS];
    let at = |image: usize, token: usize, part: usize, head: usize, d: usize| {
        f64::from(qkv[(((image * TOKENS + token) * 3 + part) * HEADS + head) * HEAD_DIM + d])
    };
    for image in 0..BATCH {
        for (window, head) in places.iter().flat_map(|w| (0..HEADS).map(move |h| (w, h))) {
            for (i, query) in window.iter().enumerate() {
                let logit = |(j, key): (usize, &usize)| {
                    let dot: f64 = (0..HEAD_DIM)
                        .map(|d| at(image, *query, 0, head, d) * at(image, *key, 1, head, d))
                        .sum();
                    let n = window.len();
                    dot / (HEAD_DIM as f64).sqrt() + f64::from(bias[(head * n + i) * n + j])
                };
                let shares: Vec<f64> = window.iter().enumerate().map(logit).map(f64::exp).collect();
                let sum: f64 = shares.iter().sum();
                for (key, share) in window.iter().zip(shares) {
                    weights[(image * TOKENS + query) * TOKENS + key] += share / sum / HEADS as f64;
                }
            }
        }
    }
    weights
}

#[test]
fn weights_are_those_of_the_definition_on_the_whole_grid_and_in_windows() {
    let device = CpuDevice::shared();
    let order = [3, 0, 7, 9, 1, 2, 11, 10, 4, 8, 6, 5];
    for n_windows in [1, 3] {
        let n = TOKENS / n_windows;
        let qkv = numbers(BATCH * TOKENS * 3 * WIDTH, 1);
        let bias = numbers(HEADS * n * n, 2);
        let windows = (n_windows > 1).then(|| Windows::new(&device, &order, &[], n));
        let places: Vec<Vec<usize>> = match &windows {
            Some(_) => order
                .chunks(n)
                .map(|w| w.iter().map(|token| *token as usize).collect())
                .collect(),
            None => vec![(0..TOKENS).collect()],
        };
        let parameters = Parameters::allocate(ParameterSpecs::default(), &device, 0);
        let mut tape = Tape::inference(&parameters).watching_attention();
        let [q, b] = [(&[BATCH, TOKENS, 3 * WIDTH], &qkv), (&[HEADS, n, n], &bias)]
            .map(|(shape, values)| tape.constant(Tensor::from_slice(&device, shape, values)));
        let attend = Attend {
            windows,
            ..Attend::all(HEADS)
        };
        tape.attention(&q, Some(&b), &attend);
        let seen = tape.take_attention().unwrap();
        let expected = expected(&qkv, &bias, &places);
        for queries in [0..TOKENS, 4..7] {
            let found = seen.weights(queries.clone());
            let images = expected.chunks(TOKENS * TOKENS);
            let of_queries =
                images.flat_map(|image| &image[queries.start * TOKENS..queries.end * TOKENS]);
            assert_eq!(found.len(), BATCH * queries.len() * TOKENS);
            for (found, expected) in found.iter().zip(of_queries) {
                let distance = (f64::from(*found) - expected).abs();
                assert!(distance < 1e-5, "{found} {expected}");
            }
        }
    }
}
