//! bf16 against the golden files: no tensor strays much further from the golden one than PyTorch's own bf16 does in that tensor.

use std::collections::BTreeMap;
use std::path::Path;

use simmim_autograd::Precision;

use crate::file::Golden;
use crate::{TOLERANCE, files_of, own_folder};

/// How much further than PyTorch's own error a tensor may stray. Measured over the 1,685 tensors of the eleven files on an AMD
/// Zen 5 processor, at the levels avx512bf16, avx512, avx2 and portable: 0.81 times as far in the middle, 2.8 times at the most.
/// The furthest are tensors of few numbers, where luck decides; between levels, which add up in another order, they
/// moved by less than a fifth. AMX adds up in yet another order.
const FACTOR: f64 = 4.0;

/// What a parameter after the five steps may be off in any case. AdamW steps by the sign of a gradient near zero, and a sign that
/// differs moves a number by 2e-3 in a step: 7e-4 of a norm's eight weights, where PyTorch's own error may be 4e-7.
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

#[test]
fn in_bf16_no_tensor_strays_much_further_than_in_pytorch() {
    let mut failures = Vec::new();
    for file in files_of(&own_folder()) {
        let name = file.file_stem().expect("a file").to_string_lossy();
        let errors = Golden::open(&file, Precision::Bf16).compare();
        let of_pytorch = of_pytorch(&file);
        assert!(
            errors.0.keys().eq(of_pytorch.keys()),
            "{name}: other tensors"
        );
        // Rounding is there: this is not f32 under another name.
        assert!(errors.worst().0 > TOLERANCE, "{name}");
        let mut furthest = (0.0, String::new());
        for (tensor, error) in &errors.0 {
            let is_after_steps = tensor.starts_with("after.");
            let floor = if is_after_steps { FLOOR_OF_STEPS } else { 0.0 };
            let share = error / (FACTOR * of_pytorch[tensor]).max(floor);
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
