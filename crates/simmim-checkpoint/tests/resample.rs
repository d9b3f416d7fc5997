//! Resampled tables against `SciPy`'s bicubic spline and PyTorch's bicubic convolution; `golden/resample/make.py` made the file.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

use std::path::Path;

use simmim_checkpoint::Archive;
use simmim_checkpoint::resample::{absolute_positions, relative_table};

/// Largest difference. Values are about 1 and stored as f32; the sums are f64 on both sides.
const TOLERANCE: f32 = 2e-6;

#[test]
fn tables_are_resampled_as_by_an_independent_spline() {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/resample/tables.safetensors");
    let archive = Archive::open(path).unwrap();
    let mut n_cases = 0;
    for name in archive.names() {
        let Some(case) = name.strip_suffix(".from") else {
            continue;
        };
        let from = archive.array(name).unwrap();
        let to = archive.array(&format!("{case}.to")).unwrap();
        let [source, target] = [&from, &to].map(|array| [array.shape[0], array.shape[1]]);
        let found = if case.starts_with("relative") {
            relative_table(&from.values, from.shape[2], source, target)
        } else {
            absolute_positions(&from.values, from.shape[2], source, target)
        };
        assert_eq!(found.len(), to.values.len(), "{case}");
        let differences = found.iter().zip(&to.values).map(|(a, b)| (a - b).abs());
        let worst = differences.fold(0.0, f32::max);
        assert!(worst < TOLERANCE, "{case}: off by {worst}");
        n_cases += 1;
    }
    assert_eq!(n_cases, 10);
}
