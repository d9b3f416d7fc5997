//! How far numbers are off.

use std::collections::BTreeMap;

/// Root mean square below which a tensor counts as zero: ‖b‖ is taken as at least this times √n. Gradients
/// that cancel to nothing (of a key's bias, say) have no direction to compare.
const FLOOR: f64 = 1e-7;

/// What was computed, by name.
pub(crate) type Computed = BTreeMap<String, Vec<f32>>;

/// ‖a − b‖/‖b‖ of each tensor that was compared, by name.
#[derive(Debug, Default)]
pub(crate) struct Errors(pub(crate) BTreeMap<String, f64>);

impl Errors {
    /// The errors of what was found beside what each tensor should be.
    pub(crate) fn between(found: &Computed, expected: impl Fn(&str) -> Vec<f32>) -> Self {
        let errors = found
            .iter()
            .map(|(tensor, values)| (tensor.clone(), error(tensor, values, &expected(tensor))));
        Self(errors.collect())
    }

    /// That nothing could be compared, and why.
    pub(crate) fn nothing(reason: &str) -> Self {
        Self(BTreeMap::from([(reason.to_owned(), f64::INFINITY)]))
    }

    /// The largest error and its tensor.
    pub(crate) fn worst(&self) -> (f64, &str) {
        let errors = self
            .0
            .iter()
            .map(|(tensor, error)| (*error, tensor.as_str()));
        let largest = errors.max_by(|(a, _), (b, _)| a.total_cmp(b));
        largest.expect("something was compared")
    }
}

/// ‖a − b‖/‖b‖.
fn error(tensor: &str, found: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(found.len(), expected.len(), "{tensor}: number of values");
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
    let pairs = found.iter().zip(expected);
    let difference = norm(&mut pairs.map(|(a, b)| f64::from(*a) - f64::from(*b)));
    let floor = FLOOR * (expected.len() as f64).sqrt();
    let error = difference / norm(&mut expected.iter().map(|b| f64::from(*b))).max(floor);
    // A number that is none is as far off as can be.
    if error.is_nan() { f64::INFINITY } else { error }
}
