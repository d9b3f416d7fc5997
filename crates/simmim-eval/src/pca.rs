//! The directions in which rows of numbers vary most.

/// Rounds after which a direction has settled as far as can be seen.
const ROUNDS: usize = 60;

/// The first directions of some rows: their principal components.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Directions {
    /// Where each row lies along each direction, `[n, k]`.
    pub(crate) places: Vec<f64>,
    /// The share of all variance that each direction has.
    pub(crate) explained: Vec<f64>,
}

/// The `k` directions of the largest variance, by powers of the covariance, each at right angles to those before. The sign is such that
/// the largest value of a direction is positive, so that the same rows give the same places.
///
/// # Shapes
/// `rows` `[n, width]`; the result's places `[n, k]`.
pub(crate) fn directions(rows: &[f32], width: usize, k: usize) -> Directions {
    let centred = centred(rows, width);
    let n = rows.len() / width;
    let total: f64 = centred.iter().map(|x| x * x).sum();
    let mut found: Vec<Vec<f64>> = Vec::new();
    let (mut places, mut explained) = (vec![0.0; n * k], Vec::new());
    for direction_idx in 0..k {
        let direction = direction(&centred, width, &found);
        let mut variance = 0.0;
        for (row, place) in centred
            .chunks(width)
            .zip(places[direction_idx..].iter_mut().step_by(k))
        {
            *place = dot(row, &direction);
            variance += *place * *place;
        }
        explained.push(if total > 0.0 { variance / total } else { 0.0 });
        found.push(direction);
    }
    Directions { places, explained }
}

fn centred(rows: &[f32], width: usize) -> Vec<f64> {
    let n = (rows.len() / width).max(1) as f64;
    let mut mean = vec![0.0; width];
    for row in rows.chunks(width) {
        mean.iter_mut()
            .zip(row)
            .for_each(|(sum, x)| *sum += f64::from(*x) / n);
    }
    let less = |(place, x): (usize, &f32)| f64::from(*x) - mean[place % width];
    rows.iter().enumerate().map(less).collect()
}

fn direction(centred: &[f64], width: usize, before: &[Vec<f64>]) -> Vec<f64> {
    // Nothing random: a start that is at right angles to nothing likely.
    let mut at: Vec<f64> = (0..width).map(|i| 1.0 + (i as f64 * 0.7).sin()).collect();
    for _ in 0..ROUNDS {
        stand_apart(&mut at, before);
        let mut next = vec![0.0; width];
        for row in centred.chunks(width) {
            let along = dot(row, &at);
            next.iter_mut()
                .zip(row)
                .for_each(|(sum, x)| *sum += along * x);
        }
        stand_apart(&mut next, before);
        let length = dot(&next, &next).sqrt();
        // Rows that do not vary any more have no further direction.
        if length < 1e-12 {
            return vec![0.0; width];
        }
        at = next.into_iter().map(|x| x / length).collect();
    }
    let larger = |a: f64, b: &f64| if b.abs() > a.abs() { *b } else { a };
    if at.iter().fold(0.0, larger) < 0.0 {
        for x in &mut at {
            *x = -*x;
        }
    }
    at
}

/// Takes away what lies along directions that are known.
fn stand_apart(at: &mut [f64], before: &[Vec<f64>]) {
    for known in before {
        let along = dot(at, known);
        at.iter_mut().zip(known).for_each(|(x, y)| *x -= along * y);
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directions_of_a_known_cloud_are_found_with_their_variance() {
        // 6 along (3, 4) / 5, 2 along (4, -3) / 5, nothing along the third axis; the middle is elsewhere.
        let mut rows = Vec::new();
        for (a, b) in [(6.0, 0.0), (-6.0, 0.0), (0.0, 2.0), (0.0, -2.0)] {
            rows.extend([10.0 + 0.6 * a + 0.8 * b, 20.0 + 0.8 * a - 0.6 * b, 5.0_f32]);
        }
        let found = directions(&rows, 3, 3);
        let near = |a: f64, b: f64| (a - b).abs() < 1e-5;
        assert!(
            near(found.places[0], 6.0) && near(found.places[3], -6.0),
            "{found:?}"
        );
        assert!(near(found.places[7].abs(), 2.0), "{found:?}");
        assert!(
            near(found.explained[0], 0.9) && near(found.explained[1], 0.1),
            "{found:?}"
        );
        assert_eq!(found.explained[2], 0.0);
    }

    #[test]
    fn rows_that_are_all_the_same_lie_at_one_place() {
        let found = directions(&[2.0; 12], 4, 2);
        assert!(found.places.iter().all(|place| *place == 0.0));
        assert_eq!(found.explained, [0.0, 0.0]);
    }
}
