//! Moving and adding whole rows: hiding tokens, prepending one, gathering by index, adding positions.

use crate::chunks::{add, reduce_rows, rows_per_task};
use crate::dispatch::for_each_level;
use crate::scratch::with_zeros;
use crate::value::{self, Value};
use rayon::prelude::*;
use simmim_device::TokenDims;

/// y = the hidden rows of x replaced by `token`.
///
/// # Shapes
/// `x`, `y` `[R, D]`; `hidden` `[R]`, not zero = hidden; `token` `[D]`.
pub fn hide(x: &[f32], hidden: &[f32], token: &[f32], y: &mut [f32]) {
    let width = token.len();
    assert!(
        x.len() == y.len() && x.len() == hidden.len() * width,
        "hide: lengths differ"
    );
    let rows = y.par_chunks_mut(width).zip(x.par_chunks(width)).zip(hidden);
    rows.with_min_len(rows_per_task(width))
        .for_each(|((y, x), &hidden)| {
            y.copy_from_slice(if hidden == 0.0 { x } else { token });
        });
}

/// Gradients of [`hide`].
///
/// # Shapes
/// `dy`, `dx` `[R, D]`; `hidden` `[R]`; `dtoken` `[D]`.
pub fn hide_backward(dy: &[f32], hidden: &[f32], dx: &mut [f32], dtoken: &mut [f32]) {
    let width = dtoken.len();
    assert!(
        dy.len() == dx.len() && dy.len() == hidden.len() * width,
        "hide: lengths differ"
    );
    dx.par_chunks_mut(width)
        .zip(dy.par_chunks(width))
        .zip(hidden)
        .with_min_len(rows_per_task(width))
        .for_each(|((dx, dy), &hidden)| {
            if hidden == 0.0 {
                dx.copy_from_slice(dy);
            } else {
                dx.fill(0.0);
            }
        });
    reduce_rows(hidden.len(), [dtoken], |rows, sum| {
        for row in rows.filter(|&row| hidden[row] != 0.0) {
            add(sum, &dy[row * width..][..width]);
        }
    });
}

/// y = each sample of x with `token` put before its rows.
///
/// # Shapes
/// `x` `[B, L, D]`, `token` `[D]`, `y` `[B, L + 1, D]`.
pub fn prepend(x: &[f32], token: &[f32], tokens: usize, y: &mut [f32]) {
    let (width, len) = (token.len(), tokens * token.len());
    assert_eq!(
        x.len() / len * (len + width),
        y.len(),
        "prepend: lengths differ"
    );
    y.par_chunks_mut(len + width)
        .zip(x.par_chunks(len))
        .for_each(|(y, x)| {
            y[..width].copy_from_slice(token);
            y[width..].copy_from_slice(x);
        });
}

/// Gradients of [`prepend`].
///
/// # Shapes
/// `dy` `[B, L + 1, D]`, `dx` `[B, L, D]`, `dtoken` `[D]`.
pub fn prepend_backward(dy: &[f32], tokens: usize, dx: &mut [f32], dtoken: &mut [f32]) {
    let width = dtoken.len();
    let len = tokens * width;
    assert_eq!(
        dx.len() / len * (len + width),
        dy.len(),
        "prepend: lengths differ"
    );
    dx.par_chunks_mut(len)
        .zip(dy.par_chunks(len + width))
        .for_each(|(dx, dy)| dx.copy_from_slice(&dy[width..]));
    dtoken.fill(0.0);
    for dy in dy.chunks_exact(len + width) {
        add(dtoken, &dy[..width]);
    }
}

/// y = the mean of each sample's rows.
///
/// # Shapes
/// `x` `[B, L, D]`, `y` `[B, D]`.
pub fn mean_tokens(x: &[f32], dims: TokenDims, y: &mut [f32]) {
    let TokenDims { tokens, width } = dims;
    assert_eq!(x.len(), y.len() * tokens, "mean_tokens: lengths differ");
    y.par_chunks_mut(width)
        .zip(x.par_chunks(tokens * width))
        .for_each(|(y, x)| {
            y.fill(0.0);
            for row in x.chunks_exact(width) {
                add(y, row);
            }
            for value in y {
                *value /= tokens as f32;
            }
        });
}

/// y = the mean of each sample's rows from row `first` on, summed in f64 one after the other: the same whatever else is in the
/// batch, and rounded once.
///
/// # Shapes
/// `x` `[B, L, D]`, `y` `[B, D]`.
pub fn pool_tokens(x: &[f32], dims: TokenDims, first: usize, y: &mut [f32]) {
    let TokenDims { tokens, width } = dims;
    assert!(
        x.len() == y.len() * tokens && first < tokens,
        "pool_tokens: lengths differ"
    );
    y.par_chunks_mut(width)
        .zip(x.par_chunks(tokens * width))
        .for_each(|(y, x)| {
            let mut sum = vec![0.0_f64; width];
            for row in x[first * width..].chunks_exact(width) {
                for (sum, value) in sum.iter_mut().zip(row) {
                    *sum += f64::from(*value);
                }
            }
            let n = (tokens - first) as f64;
            for (y, sum) in y.iter_mut().zip(sum) {
                *y = (sum / n) as f32;
            }
        });
}

/// dx = dy/L for each row: the backward of [`mean_tokens`].
///
/// # Shapes
/// `dy` `[B, D]`, `dx` `[B, L, D]`.
pub fn mean_tokens_backward(dy: &[f32], dims: TokenDims, dx: &mut [f32]) {
    let TokenDims { tokens, width } = dims;
    assert_eq!(dx.len(), dy.len() * tokens, "mean_tokens: lengths differ");
    dx.par_chunks_mut(tokens * width)
        .zip(dy.par_chunks(width))
        .for_each(|(dx, dy)| {
            for row in dx.chunks_exact_mut(width) {
                for (dx, dy) in row.iter_mut().zip(dy) {
                    *dx = dy / tokens as f32;
                }
            }
        });
}

/// y\[r\] = x\[index\[r\]\].
///
/// # Shapes
/// `x` `[R, D]`, `index` `[r]` of row numbers below R, `y` `[r, D]`.
pub fn gather(x: &[f32], index: &[u32], y: &mut [f32]) {
    let width = y.len() / index.len().max(1);
    assert_eq!(y.len(), index.len() * width, "gather: lengths differ");
    let rows = y.par_chunks_mut(width.max(1)).zip(index);
    rows.with_min_len(rows_per_task(width))
        .for_each(|(y, &row)| {
            y.copy_from_slice(&x[row as usize * width..][..width]);
        });
}

/// x\[index\[r\]\] += y\[r\], in order.
///
/// # Shapes
/// `y` `[r, D]`, `index` `[r]` of row numbers below R, `x` `[R, D]`.
pub fn scatter_add(y: &[f32], index: &[u32], x: &mut [f32]) {
    let width = y.len() / index.len().max(1);
    for (y, &row) in y.chunks_exact(width.max(1)).zip(index) {
        add(&mut x[row as usize * width..][..width], y);
    }
}

/// bias\[n, i\] = table\[index\[i\], n\]: position bias of each pair of tokens.
///
/// # Shapes
/// `table` `[R, N]`, `index` `[L · L]`, `bias` `[N, L · L]`.
pub fn gather_columns(table: &[f32], index: &[u32], bias: &mut [f32]) {
    let heads = bias.len() / index.len();
    bias.par_chunks_mut(index.len())
        .enumerate()
        .for_each(|(head, bias)| {
            for (bias, &row) in bias.iter_mut().zip(index) {
                *bias = table[row as usize * heads + head];
            }
        });
}

/// dtable\[index\[i\], n\] += dbias\[n, i\]: the backward of [`gather_columns`].
///
/// # Shapes
/// `dbias` `[N, L · L]`, `index` `[L · L]`, `dtable` `[R, N]`.
pub fn scatter_columns(dbias: &[f32], index: &[u32], dtable: &mut [f32]) {
    let heads = dbias.len() / index.len();
    let n_rows = dtable.len() / heads;
    with_zeros(heads * n_rows, |columns| {
        columns
            .par_chunks_mut(n_rows)
            .zip(dbias.par_chunks(index.len()))
            .for_each(|(column, dbias)| {
                for (dbias, &row) in dbias.iter().zip(index) {
                    column[row as usize] += dbias;
                }
            });
        for (head, column) in columns.chunks_exact(n_rows).enumerate() {
            for (row, sum) in column.iter().enumerate() {
                dtable[row * heads + head] += sum;
            }
        }
    });
}

/// y = x with `shift` added to each of its rows of that length.
///
/// # Shapes
/// `x`, `y` `[R, W]`, `shift` `[W]`.
pub fn add_to_rows(x: &[f32], shift: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "add_to_rows: lengths differ");
    y.par_chunks_mut(shift.len())
        .zip(x.par_chunks(shift.len()))
        .for_each(|(y, x)| {
            for ((y, x), shift) in y.iter_mut().zip(x).zip(shift) {
                *y = x + shift;
            }
        });
}

/// sum = the sum of the rows of `x`.
///
/// # Shapes
/// `x` `[R, W]`, `sum` `[W]`.
pub fn sum_rows<T: Value>(x: &[T], sum: &mut [f32]) {
    let width = sum.len();
    reduce_rows(x.len() / width, [sum], |rows, sum| {
        add_rows(sum, &x[rows.start * width..rows.end * width]);
    });
}

/// sum += values, element by element, on all threads.
///
/// # Shapes
/// Both of the same length.
pub fn add_assign<T: Value>(sum: &mut [T], values: &[T]) {
    assert_eq!(sum.len(), values.len(), "add_assign: lengths differ");
    let len = crate::chunks::TASK_LEN;
    sum.par_chunks_mut(len)
        .zip(values.par_chunks(len))
        .for_each(|(sum, values)| add(sum, values));
}

/// to = from, element by element, on all threads: rounded to the nearest where `to` has fewer bits.
///
/// # Shapes
/// Both of the same length.
pub fn convert<T: Value, U: Value>(from: &[T], to: &mut [U]) {
    assert_eq!(from.len(), to.len(), "convert: lengths differ");
    let len = crate::chunks::TASK_LEN;
    to.par_chunks_mut(len)
        .zip(from.par_chunks(len))
        .for_each(|(to, from)| value::convert(from, to));
}

/// x ← x + weight · (y − x), element by element, on all threads.
///
/// # Shapes
/// Both of the same length.
pub fn lerp(x: &mut [f32], y: &[f32], weight: f32) {
    assert_eq!(x.len(), y.len(), "lerp: lengths differ");
    let len = crate::chunks::TASK_LEN;
    x.par_chunks_mut(len)
        .zip(y.par_chunks(len))
        .for_each(|(x, y)| {
            for (x, y) in x.iter_mut().zip(y) {
                *x += weight * (y - *x);
            }
        });
}

for_each_level! {
    /// Adds rows to their sum, in order: memory is read as it lies.
    fn add_rows<T>(sum: &mut [f32], rows: &[T]) {
        for row in rows.chunks_exact(sum.len()) {
            for (sum, value) in sum.iter_mut().zip(row) {
                *sum += value.wide();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_rows_become_the_token_and_send_it_their_gradient() {
        let (x, hidden) = ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [0.0, 1.0, 1.0]);
        let mut y = [0.0; 6];
        hide(&x, &hidden, &[9.0, 8.0], &mut y);
        assert_eq!(y, [1.0, 2.0, 9.0, 8.0, 9.0, 8.0]);
        let mut dx = [7.0; 6];
        let mut dtoken = [7.0; 2];
        hide_backward(&x, &hidden, &mut dx, &mut dtoken);
        assert_eq!(dtoken, [8.0, 10.0]);
        assert_eq!(dx, [1.0, 2.0, 0.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn gather_and_scatter_are_adjoint() {
        let (x, index) = ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [2_u32, 0, 2]);
        let mut y = [0.0; 6];
        gather(&x, &index, &mut y);
        assert_eq!(y, [5.0, 6.0, 1.0, 2.0, 5.0, 6.0]);
        let mut back = [0.0; 6];
        scatter_add(&y, &index, &mut back);
        assert_eq!(back, [1.0, 2.0, 0.0, 0.0, 10.0, 12.0]);
    }

    #[test]
    fn table_columns_become_heads_and_come_back() {
        let (table, index) = ([1.0, 10.0, 2.0, 20.0], [1_u32, 0, 1]);
        let mut bias = [0.0; 6];
        gather_columns(&table, &index, &mut bias);
        assert_eq!(bias, [2.0, 1.0, 2.0, 20.0, 10.0, 20.0]);
        let mut dtable = [0.0; 4];
        scatter_columns(&bias, &index, &mut dtable);
        assert_eq!(dtable, [1.0, 10.0, 4.0, 40.0]);
    }

    #[test]
    fn prepend_puts_the_token_before_each_sample() {
        let mut y = [0.0; 6];
        prepend(&[1.0, 2.0, 3.0, 4.0], &[9.0], 2, &mut y);
        assert_eq!(y, [9.0, 1.0, 2.0, 9.0, 3.0, 4.0]);
        let mut dx = [0.0; 4];
        let mut dtoken = [7.0];
        prepend_backward(&y, 2, &mut dx, &mut dtoken);
        assert_eq!(dtoken, [18.0]);
        assert_eq!(dx, [1.0, 2.0, 3.0, 4.0]);
    }

    #[test]
    fn row_sums_agree_with_a_plain_loop_when_cut_into_parts() {
        let x: Vec<f32> = (0..3000).map(|i| (i % 7) as f32).collect();
        let expected: Vec<f32> = (0..3)
            .map(|column| x.iter().skip(column).step_by(3).sum())
            .collect();
        let mut sum = [7.0; 3];
        sum_rows(&x, &mut sum);
        assert_eq!(sum[..], expected);
    }
}
