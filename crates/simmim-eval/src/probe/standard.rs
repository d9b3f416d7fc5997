//! Features of mean 0 and deviation 1.

/// A shift and a scale for each feature.
#[derive(Debug)]
pub(crate) struct Standard {
    means: Vec<f64>,
    scales: Vec<f64>,
}

impl Standard {
    /// Those by which each feature of these rows has mean 0 and deviation 1; one that never changes becomes 0.
    ///
    /// # Shapes
    /// `rows` `[n, D]`, D the `width`.
    pub(crate) fn of(rows: &[f32], width: usize) -> Self {
        let n = (rows.len() / width) as f64;
        let (mut sums, mut squares) = (vec![0.0; width], vec![0.0; width]);
        for row in rows.chunks(width) {
            for ((sum, square), x) in sums.iter_mut().zip(&mut squares).zip(row) {
                *sum += f64::from(*x);
                *square += f64::from(*x).powi(2);
            }
        }
        let means: Vec<f64> = sums.iter().map(|sum| sum / n).collect();
        let scale = |(mean, square): (&f64, f64)| {
            let deviation = (square / n - mean * mean).max(0.0).sqrt();
            // Rounding leaves a little deviation even where all values are equal.
            let is_constant = deviation <= 1e-9 * mean.abs().max(1e-20);
            if is_constant { 0.0 } else { 1.0 / deviation }
        };
        let scales = means.iter().zip(squares).map(scale).collect();
        Self { means, scales }
    }

    /// Shifts and scales rows.
    ///
    /// # Shapes
    /// `rows` `[n, D]`.
    pub(crate) fn apply(&self, rows: &mut [f32]) {
        for row in rows.chunks_mut(self.means.len()) {
            for ((x, mean), scale) in row.iter_mut().zip(&self.means).zip(&self.scales) {
                *x = ((f64::from(*x) - mean) * scale) as f32;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_standardised_by_the_part_that_is_fitted_to() {
        let (mut fitted, mut others) = (vec![1.0, 5.0, 3.0, 5.0], vec![2.0, 5.0, 5.0, 6.0]);
        let standard = Standard::of(&fitted, 2);
        standard.apply(&mut fitted);
        standard.apply(&mut others);
        assert_eq!(fitted, [-1.0, 0.0, 1.0, 0.0]);
        assert_eq!(others, [0.0, 0.0, 3.0, 0.0]);
    }
}
