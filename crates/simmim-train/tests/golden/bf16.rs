//! bf16 against the golden files: no tensor strays much further from the golden one than PyTorch's own bf16 does in that tensor.

use std::collections::BTreeMap;
use std::path::Path;

use rayon::prelude::*;
use simmim_autograd::Precision;

use crate::errors::Errors;
use crate::file::{Golden, Moved};
use crate::{TOLERANCE, files_of, own_folder};

/// How much further than PyTorch's own error features, outputs, losses and gradients may stray. Measured on an AMD Zen 5
/// processor at the level avx512bf16: 0.95 of that at the most.
const FACTOR: f64 = 1.25;

/// The same for parameters after five steps of AdamW, which steps by the sign of a gradient near zero: a few signs that differ
/// decide. Measured: 1.5 times PyTorch's error at the most.
const FACTOR_OF_STEPS: f64 = 2.0;

/// Models of which a tensor's error is the root mean square: the file's own, and others moved by less than bf16 tells apart.
/// How often a tensor of few numbers is lucky should not decide. `golden/autocast.py` takes as many.
const DRAWS: u64 = 64;

/// The relative distance of neighbouring numbers in bf16 is 2⁻⁸ to 2⁻⁷.
const STEP: f64 = 1.0 / 256.0;

/// What a parameter after the five steps may be off in any case: a sign that differs moves a number by 2e-3 in a step, 7e-4 of a
/// norm's eight weights, where PyTorch's own error may be 4e-7.
const FLOOR_OF_STEPS: f64 = 1e-3;

/// PyTorch's own error of each tensor of a golden file, which `golden/autocast.py` has measured.
fn of_pytorch(golden: &Path) -> BTreeMap<String, f64> {
    let name = golden.with_extension("json");
    let path = own_folder()
        .join("bf16")
        .join(name.file_name().expect("a file"));
    let text = std::fs::read_to_string(&path);
    let text = text.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The root mean square of the distances between what bf16 and what f32 gives, of each tensor of a golden file.
fn of_ours(golden: &Path) -> BTreeMap<String, f64> {
    let draw = |seed| {
        let [in_f32, in_bf16] = [Precision::F32, Precision::Bf16].map(|precision| {
            let file = Golden::open(golden, precision);
            let moves = Moved { by: STEP, seed };
            let file = if seed == 0 { file } else { file.moved(moves) };
            file.computed().expect("a kind that is known")
        });
        Errors::between(&in_bf16, |tensor| in_f32[tensor].clone())
    };
    // Beside each other: small models leave threads idle.
    let draws: Vec<Errors> = (0..DRAWS).into_par_iter().map(draw).collect();
    let mut squares: BTreeMap<String, f64> = BTreeMap::new();
    for (tensor, error) in draws.into_iter().flat_map(|errors| errors.0) {
        *squares.entry(tensor).or_default() += error * error / DRAWS as f64;
    }
    let roots = squares
        .into_iter()
        .map(|(tensor, mean)| (tensor, mean.sqrt()));
    roots.collect()
}

#[test]
fn in_bf16_no_tensor_strays_much_further_than_in_pytorch() {
    let mut failures = Vec::new();
    for file in files_of(&own_folder()) {
        let name = file.file_stem().expect("a file").to_string_lossy();
        let errors = of_ours(&file);
        let of_pytorch = of_pytorch(&file);
        assert!(errors.keys().eq(of_pytorch.keys()), "{name}: other tensors");
        // Rounding is there: this is not f32 under another name.
        assert!(errors.values().any(|error| *error > TOLERANCE), "{name}");
        let mut furthest = (0.0, String::new());
        for (tensor, error) in &errors {
            let is_after_steps = tensor.starts_with("after.");
            let (factor, floor) = if is_after_steps {
                (FACTOR_OF_STEPS, FLOOR_OF_STEPS)
            } else {
                (FACTOR, 0.0)
            };
            let share = error / (factor * of_pytorch[tensor]).max(floor);
            let line = format!(
                "{tensor} is off by {error:.1e}, in PyTorch by {:.1e}",
                of_pytorch[tensor]
            );
            if share > 1.0 {
                failures.push(format!("{name}: {line}"));
            }
            if share > furthest.0 {
                furthest = (share, line);
            }
        }
        println!(
            "golden {name} in bf16: at {:.2} of its bound {}",
            furthest.0, furthest.1
        );
    }
    assert!(failures.is_empty(), "too far:\n{}", failures.join("\n"));
}
