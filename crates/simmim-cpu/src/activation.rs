//! The activations of the small network that gives position biases: `ReLU` and a scaled sigmoid.
//!
//! Source: Z. Liu et al., *Swin Transformer V2*, arXiv 2111.09883, §3.3; the bound of 16 is in
//! microsoft/Swin-Transformer `models/swin_transformer_v2.py`. Tables are small, so nothing here is parallel.

/// y = max(x, 0).
///
/// # Shapes
/// `x`, `y`: the same length.
pub fn relu(x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "relu: lengths differ");
    for (y, x) in y.iter_mut().zip(x) {
        // Written so that what is no number stays none.
        *y = if *x < 0.0 { 0.0 } else { *x };
    }
}

/// dx = dy where y = [`relu`] is above 0, else 0.
///
/// # Shapes
/// `y`, `dy`, `dx`: the same length.
pub fn relu_backward(y: &[f32], dy: &[f32], dx: &mut [f32]) {
    assert!(
        y.len() == dy.len() && y.len() == dx.len(),
        "relu: lengths differ"
    );
    for ((dx, y), dy) in dx.iter_mut().zip(y).zip(dy) {
        *dx = if *y > 0.0 { *dy } else { 0.0 };
    }
}

/// y = `max` · sigmoid(x) = `max`/(1 + e⁻ˣ).
///
/// # Shapes
/// `x`, `y`: the same length.
pub fn sigmoid(x: &[f32], max: f32, y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "sigmoid: lengths differ");
    for (y, x) in y.iter_mut().zip(x) {
        *y = max / (1.0 + (-x).exp());
    }
}

/// dx = dy y (1 − y/max) of y = [`sigmoid`].
///
/// # Shapes
/// `y`, `dy`, `dx`: the same length.
pub fn sigmoid_backward(y: &[f32], max: f32, dy: &[f32], dx: &mut [f32]) {
    assert!(
        y.len() == dy.len() && y.len() == dx.len(),
        "sigmoid: lengths differ"
    );
    for ((dx, y), dy) in dx.iter_mut().zip(y).zip(dy) {
        // From y, so that x need not be kept.
        *dx = dy * y * (1.0 - y / max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sigmoid_function_goes_from_zero_to_its_bound_and_stays_finite() {
        let x = [-200.0, -1.0, 0.0, 1.0, 200.0];
        let (mut y, mut dx) = ([0.0; 5], [0.0; 5]);
        sigmoid(&x, 16.0, &mut y);
        assert_eq!([y[0], y[2], y[4]], [0.0, 8.0, 16.0]);
        assert!((y[1] + y[3] - 16.0).abs() < 1e-5);
        sigmoid_backward(&y, 16.0, &[1.0; 5], &mut dx);
        assert_eq!([dx[0], dx[2], dx[4]], [0.0, 4.0, 0.0]);
    }

    #[test]
    fn relu_passes_what_is_above_zero() {
        let (mut y, mut dx) = ([9.0; 3], [9.0; 3]);
        relu(&[-1.0, 0.0, 2.0], &mut y);
        assert_eq!(y, [0.0, 0.0, 2.0]);
        relu_backward(&y, &[5.0; 3], &mut dx);
        assert_eq!(dx, [0.0, 0.0, 5.0]);
    }
}
