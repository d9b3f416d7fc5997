//! Tables of positions for windows and grids of another size.
//!
//! A table is a picture of one value for each offset and head, so it can be resampled like one. Relative tables are read
//! off at offsets that a geometric sequence spreads, the authors' way: the middle of the table, near offsets, stays nearly
//! as it is, and its edge comes to lie on the edge of the new one.
//!
//! Source: microsoft/SimMIM `utils.py`, `load_pretrained` (geometric sequence, `scipy.interpolate.interp2d` with cubic
//! splines); BEiT before it. Absolute positions, which the authors' loader leaves alone, are resampled by bicubic
//! convolution, as is usual: PyTorch's `interpolate(mode="bicubic", align_corners=False)`.

/// Between these lies the ratio of the sequence of offsets. Source: as the module.
const RATIOS: [f64; 2] = [1.01, 1.5];
/// How well the ratio is found. Source: as the module.
const RATIO_STEP: f64 = 1e-6;
/// The a of bicubic convolution. Source: PyTorch `aten/src/ATen/native/UpSample.h`, `cubic_convolution*`.
const CUBIC_A: f64 = -0.75;

/// A table of relative positions for another window.
///
/// Along each axis a cubic spline runs through all values (FITPACK's with smoothing 0: not-a-knot ends), beyond its ends it
/// stays at the last value. Through three values or two there is a polynomial of degree two or one, one value is a
/// constant. An axis of the same length is not resampled.
///
/// # Shapes
/// `table` `[from₀ · from₁, N]`, `from` and `to` offsets along each axis, 2 side − 1; the result `[to₀ · to₁, N]`.
///
/// # Panics
/// When the table is not of that shape or an axis has no offset.
pub fn relative_table(table: &[f32], n_heads: usize, from: [usize; 2], to: [usize; 2]) -> Vec<f32> {
    let down = Weights::relative(from[0], to[0]);
    let across = Weights::relative(from[1], to[1]);
    separable(table, n_heads, &down, &across)
}

/// Absolute positions for another grid.
///
/// # Shapes
/// `positions` `[h · w, D]`, `from` its h and w; the result for those of `to`.
///
/// # Panics
/// When the positions are not of that shape or a side is 0.
pub fn absolute_positions(
    positions: &[f32],
    width: usize,
    from: [usize; 2],
    to: [usize; 2],
) -> Vec<f32> {
    let down = Weights::convolution(from[0], to[0]);
    let across = Weights::convolution(from[1], to[1]);
    separable(positions, width, &down, &across)
}

/// What each new value along an axis takes of each old one, `[to, from]`.
struct Weights {
    from: usize,
    values: Vec<f64>,
}

impl Weights {
    fn unchanged(n: usize) -> Self {
        // Of a square matrix laid out by rows, the diagonal is every (n + 1)th value.
        let value = |at: usize| f64::from(u8::from(at.is_multiple_of(n + 1)));
        Self {
            from: n,
            values: (0..n * n).map(value).collect(),
        }
    }

    fn relative(from: usize, to: usize) -> Self {
        assert!(from > 0 && to > 0, "an axis of a table has an offset");
        if from == to {
            return Self::unchanged(from);
        }
        let positions = spread_offsets(from, to);
        let half = (to / 2) as f64;
        let wanted: Vec<f64> = (0..to).map(|i| i as f64 - half).collect();
        let mut values = vec![0.0; to * from];
        // The curve is linear in the values, so what each value adds is the curve through it alone.
        for source in 0..from {
            let mut unit = vec![0.0; from];
            unit[source] = 1.0;
            let curve = Curve::through(&positions, &unit);
            for (row, x) in wanted.iter().enumerate() {
                values[row * from + source] = curve.at(*x);
            }
        }
        Self { from, values }
    }

    fn convolution(from: usize, to: usize) -> Self {
        assert!(from > 0 && to > 0, "a side of a grid has a position");
        if from == to {
            return Self::unchanged(from);
        }
        let mut values = vec![0.0; to * from];
        for row in 0..to {
            // The centre of a new square, measured in old ones: PyTorch's `align_corners=False`.
            let x = (row as f64 + 0.5) * from as f64 / to as f64 - 0.5;
            let first = x.floor();
            for (tap, weight) in cubic_taps(x - first).into_iter().enumerate() {
                let place = first as isize - 1 + tap as isize;
                // Beyond the edge the outermost value is repeated, as PyTorch does.
                let place = place.clamp(0, from as isize - 1) as usize;
                // Added up, because several taps may end on the same edge.
                values[row * from + place] += weight;
            }
        }
        Self { from, values }
    }

    fn to(&self) -> usize {
        self.values.len() / self.from
    }
}

/// The weights of the four neighbours of a point that lies `t` behind the second of them.
fn cubic_taps(t: f64) -> [f64; 4] {
    let a = CUBIC_A;
    let near = |x: f64| ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
    let far = |x: f64| ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a;
    [far(1.0 + t), near(t), near(1.0 - t), far(2.0 - t)]
}

/// Resamples rows and columns of a table whose entries have `width` values each.
///
/// # Shapes
/// `table` `[down.from, across.from, width]`; the result `[down.to, across.to, width]`.
fn separable(table: &[f32], width: usize, down: &Weights, across: &Weights) -> Vec<f32> {
    let n_values = down.from * across.from * width;
    assert_eq!(table.len(), n_values, "the table's shape");
    // Weights of 0 and 1 would give the same but for the sign of a zero.
    if down.to() == down.from && across.to() == across.from {
        return table.to_vec();
    }
    // In f64 through both directions, so that values are rounded once, at the end.
    let row_len = across.to() * width;
    let mut rows = vec![0.0; down.from * row_len]; // [down.from, across.to, width]
    for (new, old) in rows
        .chunks_mut(row_len)
        .zip(table.chunks(across.from * width))
    {
        for (entry, weights) in new.chunks_mut(width).zip(across.values.chunks(across.from)) {
            for (weight, value) in weights.iter().zip(old.chunks(width)) {
                add(entry, *weight, value.iter().map(|value| f64::from(*value)));
            }
        }
    }
    let mut result = vec![0.0; down.to() * row_len]; // [down.to, across.to, width]
    for (new, weights) in result
        .chunks_mut(row_len)
        .zip(down.values.chunks(down.from))
    {
        for (weight, old) in weights.iter().zip(rows.chunks(row_len)) {
            add(new, *weight, old.iter().copied());
        }
    }
    result.into_iter().map(|value| value as f32).collect()
}

fn add(sum: &mut [f64], weight: f64, values: impl Iterator<Item = f64>) {
    // Most weights are zero: a convolution has four taps, an unchanged axis one.
    if weight != 0.0 {
        for (sum, value) in sum.iter_mut().zip(values) {
            *sum += weight * value;
        }
    }
}

/// The ratio of the sequence whose sum comes nearest to the new table's edge.
fn ratio(from: usize, to: usize) -> f64 {
    let [mut low, mut high] = RATIOS;
    let mut found = low;
    // The sum grows with the ratio, so halving the interval finds it.
    while high - low > RATIO_STEP {
        found = f64::midpoint(low, high);
        let sum = (1.0 - found.powi((from / 2) as i32)) / (1.0 - found);
        if sum > (to / 2) as f64 {
            high = found;
        } else {
            low = found;
        }
    }
    found
}

/// Where the old table's offsets lie among those of the new one: 0, then 1, 1 + q, 1 + q + q², both ways.
fn spread_offsets(from: usize, to: usize) -> Vec<f64> {
    let q = ratio(from, to);
    let mut distances = Vec::new();
    let mut distance = 1.0;
    for step in 1..=from / 2 {
        distances.push(distance);
        distance += q.powi(step as i32);
    }
    let before = distances.iter().rev().map(|distance| -distance);
    before
        .chain(std::iter::once(0.0))
        .chain(distances.iter().copied())
        .collect()
}

/// A curve through points: a cubic spline with not-a-knot ends, or through three points and fewer a polynomial.
struct Curve<'a> {
    x: &'a [f64],
    y: &'a [f64],
    /// Second derivatives at the points, of a spline.
    bends: Vec<f64>,
}

impl<'a> Curve<'a> {
    fn through(x: &'a [f64], y: &'a [f64]) -> Self {
        // With three points both conditions at the ends would be one and the same.
        let bends = if x.len() > 3 { bends(x, y) } else { Vec::new() };
        Self { x, y, bends }
    }

    /// The curve's value; beyond the ends that of the end.
    fn at(&self, x: f64) -> f64 {
        let n = self.x.len();
        let x = x.clamp(self.x[0], self.x[n - 1]);
        if self.bends.is_empty() {
            return lagrange(self.x, self.y, x);
        }
        // Among inner points only, so that `i + 1` is a point even at the far end.
        let i = self.x[1..n - 1].partition_point(|knot| *knot <= x);
        let (left, right) = (self.x[i], self.x[i + 1]);
        let h = right - left;
        let (a, b) = ((right - x) / h, (x - left) / h);
        let bend = (a * a * a - a) * self.bends[i] + (b * b * b - b) * self.bends[i + 1];
        a * self.y[i] + b * self.y[i + 1] + bend * h * h / 6.0
    }
}

/// The polynomial of the least degree through all points.
fn lagrange(x: &[f64], y: &[f64], at: f64) -> f64 {
    let term = |i: usize| {
        let others = (0..x.len()).filter(|j| *j != i);
        others.fold(y[i], |product, j| product * (at - x[j]) / (x[i] - x[j]))
    };
    (0..x.len()).map(term).sum()
}

/// One of the spline's equations: in the second derivatives at a point and at the ones before and behind it.
struct Equation {
    before: f64,
    at: f64,
    behind: f64,
    right_side: f64,
}

/// The second derivatives of the spline: an equation for each inner point, where those of the end points are put in from
/// the condition that the outer two pieces at each end are one cubic.
///
/// Source: de Boor, *A Practical Guide to Splines*, chapter IV, not-a-knot.
fn bends(x: &[f64], y: &[f64]) -> Vec<f64> {
    let n = x.len();
    let h: Vec<f64> = x.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let slope = |i: usize| (y[i + 1] - y[i]) / h[i];
    let n_inner = n - 2;
    let mut equations: Vec<Equation> = (1..=n_inner)
        .map(|i| Equation {
            before: h[i - 1],
            at: 2.0 * (h[i - 1] + h[i]),
            behind: h[i],
            right_side: 6.0 * (slope(i) - slope(i - 1)),
        })
        .collect();
    // The bend of an end point lies on the line through the next two.
    let (first, last) = (h[0], h[n - 2]);
    equations[0].at += first * (1.0 + first / h[1]);
    equations[0].behind -= first * first / h[1];
    equations[n_inner - 1].at += last * (1.0 + last / h[n - 3]);
    equations[n_inner - 1].before -= last * last / h[n - 3];
    let inner = solved(equations);

    let mut bends = vec![0.0; n];
    bends[1..=n_inner].copy_from_slice(&inner);
    bends[0] = bends[1] + first / h[1] * (bends[1] - bends[2]);
    bends[n - 1] = bends[n - 2] + last / h[n - 3] * (bends[n - 2] - bends[n - 3]);
    bends
}

/// Solves equations of which each has its own unknown and those of its neighbours: down to take out the one before, up to
/// put in the one behind. No pivots are looked for, because `at` outweighs the others.
fn solved(mut equations: Vec<Equation>) -> Vec<f64> {
    let n = equations.len();
    for i in 1..n {
        let factor = equations[i].before / equations[i - 1].at;
        equations[i].at -= factor * equations[i - 1].behind;
        equations[i].right_side -= factor * equations[i - 1].right_side;
    }
    let mut found = vec![0.0; n];
    for (i, equation) in equations.iter().enumerate().rev() {
        // The last one has nothing behind it, whatever its coefficient says.
        let of_next = found.get(i + 1).map_or(0.0, |next| equation.behind * next);
        found[i] = (equation.right_side - of_next) / equation.at;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_and_edges_are_those_of_the_authors_code() {
        // Their bisection, run for the windows that their configurations pair: (from, to, q, last offset).
        for (from, to, q, last) in [
            (11, 13, 1.091_281, 6.0),
            (23, 27, 1.032_893, 12.9999),
            (23, 25, 1.017_257, 12.0),
            (13, 23, 1.240_724, 11.0),
            (27, 47, 1.090_307, 23.0),
            (13, 11, 1.010_001, 6.152),
        ] {
            assert!(
                (ratio(from, to) - q).abs() < 2e-6,
                "{from} to {to}: {}",
                ratio(from, to)
            );
            let found = spread_offsets(from, to);
            assert_eq!(found.len(), from);
            assert!(
                (found[from - 1] - last).abs() < 1e-3,
                "{from} to {to}: {found:?}"
            );
        }
        let found = spread_offsets(11, 13);
        for (found, expected) in found[6..].iter().zip([1.0, 2.0913, 3.2822, 4.5818, 6.0]) {
            assert!((found - expected).abs() < 1e-4);
        }
    }

    #[test]
    fn a_cubic_is_reproduced_and_the_ends_stay() {
        let x = [-2.0, -1.5, 0.0, 0.25, 3.0];
        let cubic = |x: f64| 2.0 * x * x * x - x * x + 3.0;
        let y = x.map(cubic);
        let curve = Curve::through(&x, &y);
        for at in [-1.9, -0.3, 0.1, 2.9] {
            assert!((curve.at(at) - cubic(at)).abs() < 1e-10, "{at}");
        }
        assert!((curve.at(9.0) - cubic(3.0)).abs() < 1e-10);
        assert!((curve.at(-9.0) - cubic(-2.0)).abs() < 1e-10);
    }

    #[test]
    fn small_windows_have_curves_of_a_lower_degree() {
        // One offset is the same everywhere, three lie on a parabola.
        assert_eq!(relative_table(&[5.0], 1, [1, 1], [3, 3]), [5.0; 9]);
        let found = relative_table(&[1.0, 0.0, 1.0], 1, [1, 3], [1, 5]);
        let parabola = |x: f64| x * x;
        // The outermost old offset is 1 away, so the new ones beyond it stay at its value.
        for (found, x) in found.iter().zip([-1.0, -1.0, 0.0, 1.0, 1.0]) {
            assert!((f64::from(*found) - parabola(x)).abs() < 1e-6);
        }
    }

    #[test]
    fn the_same_size_is_the_same_to_the_bit() {
        let table: Vec<f32> = (0..50).map(|i| (i as f32).sin()).collect();
        assert_eq!(relative_table(&table, 2, [5, 5], [5, 5]), table);
        assert_eq!(absolute_positions(&table, 2, [5, 5], [5, 5]), table);
    }
}
