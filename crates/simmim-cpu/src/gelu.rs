//! GELU with the exact error function: y = x Φ(x).
//!
//! Source: D. Hendrycks and K. Gimpel, *Gaussian Error Linear Units*, arXiv 1606.08415, eq. 1.

use crate::chunks::TASK_LEN;
use crate::dispatch::for_each_level;
use crate::math::normal;
use crate::value::Value;
use rayon::prelude::*;

/// y = x Φ(x), element by element.
///
/// # Shapes
/// `x`, `y`: the same length.
pub fn gelu<T: Value, U: Value>(x: &[T], y: &mut [U]) {
    assert_eq!(x.len(), y.len(), "gelu: lengths differ");
    y.par_chunks_mut(TASK_LEN)
        .zip(x.par_chunks(TASK_LEN))
        .for_each(|(y, x)| forward(x, y));
}

/// dx = dy (Φ(x) + x φ(x)), element by element.
///
/// # Shapes
/// `x`, `dy`, `dx`: the same length.
pub fn gelu_backward<T: Value, U: Value, V: Value>(x: &[T], dy: &[U], dx: &mut [V]) {
    assert!(
        x.len() == dy.len() && x.len() == dx.len(),
        "gelu: lengths differ"
    );
    dx.par_chunks_mut(TASK_LEN)
        .zip(x.par_chunks(TASK_LEN).zip(dy.par_chunks(TASK_LEN)))
        .for_each(|(dx, (x, dy))| backward(x, dy, dx));
}

/// dx ← dx (Φ(x) + x φ(x)) and y = x Φ(x), element by element: from the gradient of y to that of x, and y once more.
///
/// # Shapes
/// `x`, `dx`, `y`: the same length.
pub fn gelu_backward_in_place<T: Value, U: Value, V: Value>(x: &[T], dx: &mut [U], y: &mut [V]) {
    assert!(
        x.len() == dx.len() && x.len() == y.len(),
        "gelu: lengths differ"
    );
    dx.par_chunks_mut(TASK_LEN)
        .zip(x.par_chunks(TASK_LEN).zip(y.par_chunks_mut(TASK_LEN)))
        .for_each(|(dx, (x, y))| backward_in_place(x, dx, y));
}

for_each_level! {
    fn backward_in_place<T, U, V>(x: &[T], dx: &mut [U], y: &mut [V]) {
        for ((dx, x), y) in dx.iter_mut().zip(x).zip(y) {
            let x = x.wide();
            let (cdf, density) = normal(x);
            *dx = U::narrow(dx.wide() * (cdf + x * density));
            *y = V::narrow(x * cdf);
        }
    }
}

for_each_level! {
    fn forward<T, U>(x: &[T], y: &mut [U]) {
        for (y, x) in y.iter_mut().zip(x) {
            let x = x.wide();
            *y = U::narrow(x * normal(x).0);
        }
    }
}

for_each_level! {
    fn backward<T, U, V>(x: &[T], dy: &[U], dx: &mut [V]) {
        for ((dx, x), dy) in dx.iter_mut().zip(x).zip(dy) {
            let (x, dy) = (x.wide(), dy.wide());
            let (cdf, density) = normal(x);
            *dx = V::narrow(dy * (cdf + x * density));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gelu_has_the_values_of_the_definition() {
        // x Φ(x) from tables of the normal distribution.
        let x = [-3.0, -1.0, 0.0, 0.5, 2.0];
        let expected = [
            -0.004_049_694,
            -0.158_655_26,
            0.0,
            0.345_731_23,
            1.954_499_7,
        ];
        let mut y = [0.0; 5];
        gelu(&x, &mut y);
        for (y, expected) in y.iter().zip(expected) {
            assert!((y - expected).abs() < 3e-7, "{y} is not {expected}");
        }
    }
}
