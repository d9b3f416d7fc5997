//! Moving, mixing and adding up values and rows.

use super::gpu::CudaDevice;
use super::storage::{
    Inverse, bits, floats, floats_mut, inverse, memory, name_of, numbers, values, values_mut,
};
use crate::driver::{Grid, THREADS};
use simmim_device::{Buffer, Device, Element, QueryValueGradients, TokenDims};

/// Columns of a block of a sum of rows.
const COLUMNS: usize = 32;
/// Rows that a part of a sum has at least, and how many parts there are at most.
const PART_ROWS: usize = 64;
const MOST_PARTS: usize = 128;

/// Rows of a buffer, each of so many values.
pub(super) fn rows_of(buffer: &Buffer, width: usize) -> usize {
    let rows = buffer.len() / width.max(1);
    assert_eq!(rows * width, buffer.len(), "rows of {width} of {buffer:?}");
    rows
}

pub(super) fn same_len<const N: usize>(op: &str, buffers: [&Buffer; N]) {
    let len = buffers[0].len();
    assert!(
        buffers.iter().all(|buffer| buffer.len() == len),
        "{op}: lengths differ: {buffers:?}"
    );
}

/// A sum of rows that a kernel computes in parts: [K, parts, width] for K sums at a time.
pub(super) struct ColumnSums<'a> {
    pub(super) name: &'a str,
    pub(super) rows: usize,
    pub(super) width: usize,
}

/// Where the places of each row begin, and the end; and the places, row by row, each in their order.
fn places_of_rows(numbers: &[u32]) -> (Vec<u32>, Vec<u32>) {
    let n_rows = numbers.iter().max().map_or(0, |most| *most as usize + 1);
    let mut firsts = vec![0_u32; n_rows + 1];
    for &row in numbers {
        firsts[row as usize + 1] += 1;
    }
    for row in 0..n_rows {
        firsts[row + 1] += firsts[row];
    }
    let (mut next, mut order) = (firsts.clone(), vec![0; numbers.len()]);
    for (place, &row) in numbers.iter().enumerate() {
        let at = &mut next[row as usize];
        order[*at as usize] = place as u32;
        *at += 1;
    }
    (firsts, order)
}

impl CudaDevice {
    /// Runs a kernel that adds up rows, given by its arguments before and after the parts, and writes its K sums.
    pub(super) fn column_sums<const K: usize>(
        &self,
        sums: ColumnSums<'_>,
        before: &[u64],
        after: &[u64],
        to: [u64; K],
    ) {
        let ColumnSums { name, rows, width } = sums;
        let n_parts = rows.div_ceil(PART_ROWS).clamp(1, MOST_PARTS);
        let parts = self.scratch(K * n_parts * width * size_of::<f32>());
        let grid = Grid {
            blocks_y: n_parts,
            ..Grid::blocks(width.div_ceil(COLUMNS))
        };
        let shape = [&[rows as u64][..], after].concat();
        self.launch(name, grid, &[before, &[parts.address], &shape].concat());
        for (k, to) in to.into_iter().enumerate() {
            let from = parts.address + (k * n_parts * width * size_of::<f32>()) as u64;
            self.add_parts(from, to, n_parts, width);
        }
    }

    /// to `[n]` = the sum of parts `[n_parts, n]`.
    pub(super) fn add_parts(&self, parts: u64, to: u64, n_parts: usize, n: usize) {
        let arguments = [parts, to, n_parts as u64, n as u64];
        self.launch("add_parts", Grid::values(n), &arguments);
    }

    pub(super) fn fill_with(&self, buffer: &mut Buffer, value: f32) {
        let (name, n) = (name_of("fill", [buffer]), buffer.len());
        let arguments = [floats_mut(buffer), bits(value), n as u64];
        self.launch(&name, Grid::quads(n), &arguments);
    }

    pub(super) fn convert(&self, from: &Buffer, to: &mut Buffer) {
        same_len("copy", [from, to]);
        let (name, n) = (name_of("convert", [from, to]), from.len());
        let arguments = [floats(from), floats_mut(to), n as u64];
        self.launch(&name, Grid::quads(n), &arguments);
    }

    pub(super) fn add_to(&self, sum: &mut Buffer, added: &Buffer) {
        same_len("add_assign", [sum, added]);
        assert_eq!(sum.element(), added.element(), "a sum of other elements");
        let (name, n) = (name_of("add_assign", [sum]), added.len());
        let arguments = [floats_mut(sum), floats(added), n as u64];
        self.launch(&name, Grid::quads(n), &arguments);
    }

    pub(super) fn mix(&self, x: &mut Buffer, y: &Buffer, weight: f32, scale: &Buffer) {
        same_len("lerp", [x, y]);
        let n = y.len();
        let given = [values(y), bits(weight), values(scale), n as u64];
        self.launch(
            "lerp",
            Grid::quads(n),
            &[&[values_mut(x)][..], &given].concat(),
        );
    }

    /// A kernel that takes rows one by one: its arguments, then how many, then what describes them.
    pub(super) fn by_rows(&self, name: &str, rows: usize, before: &[u64], after: &[u64]) {
        let arguments = [before, &[rows as u64], after].concat();
        self.launch(name, Grid::rows(rows), &arguments);
    }

    pub(super) fn sum_of_rows(&self, x: &Buffer, sum: &mut Buffer) {
        let width = sum.len();
        let sums = ColumnSums {
            name: &name_of("sum_rows", [x]),
            rows: rows_of(x, width),
            width,
        };
        self.column_sums(sums, &[floats(x)], &[width as u64], [values_mut(sum)]);
    }

    pub(super) fn shift_rows(&self, x: &Buffer, shift: &Buffer, y: &mut Buffer) {
        same_len("add_to_rows", [x, y]);
        let before = [values(x), values(shift), values_mut(y)];
        let rows = rows_of(x, shift.len());
        self.by_rows("add_to_rows", rows, &before, &[shift.len() as u64]);
    }

    pub(super) fn hide_rows(&self, x: &Buffer, hidden: &Buffer, token: &Buffer, y: &mut Buffer) {
        same_len("hide", [x, y]);
        assert_eq!(x.len(), hidden.len() * token.len(), "hide: lengths differ");
        let before = [values(x), values(hidden), values(token), values_mut(y)];
        self.by_rows("hide", hidden.len(), &before, &[token.len() as u64]);
    }

    pub(super) fn hide_rows_backward(
        &self,
        dy: &Buffer,
        hidden: &Buffer,
        dx: &mut Buffer,
    ) -> Buffer {
        same_len("hide", [dy, dx]);
        let rows = hidden.len();
        let width = dy.len() / rows.max(1);
        assert_eq!(rows * width, dy.len(), "hide: lengths differ");
        let given = [values(dy), values(hidden)];
        let before = [given[0], given[1], values_mut(dx)];
        self.by_rows("hide_backward", rows, &before, &[width as u64]);
        let mut dtoken = self.floats(width);
        let sums = ColumnSums {
            name: "hide_backward_token",
            rows,
            width,
        };
        self.column_sums(sums, &given, &[width as u64], [values_mut(&mut dtoken)]);
        dtoken
    }

    pub(super) fn put_before(&self, x: &Buffer, token: &Buffer, tokens: usize, y: &mut Buffer) {
        let width = token.len();
        let samples = rows_of(x, tokens * width);
        assert_eq!(
            y.len(),
            samples * (tokens + 1) * width,
            "prepend: lengths differ"
        );
        let before = [values(x), values(token), values_mut(y)];
        let after = [tokens as u64, width as u64];
        self.by_rows("prepend", samples * (tokens + 1), &before, &after);
    }

    pub(super) fn put_before_backward(
        &self,
        dy: &Buffer,
        dims: TokenDims,
        dx: &mut Buffer,
    ) -> Buffer {
        let TokenDims { tokens, width } = dims;
        let samples = rows_of(dx, tokens * width);
        assert_eq!(
            dy.len(),
            samples * (tokens + 1) * width,
            "prepend: lengths differ"
        );
        let after = [tokens as u64, width as u64];
        let before = [values(dy), values_mut(dx)];
        self.by_rows("prepend_backward", samples * tokens, &before, &after);
        let mut dtoken = self.floats(width);
        let sums = ColumnSums {
            name: "prepend_backward_token",
            rows: samples,
            width,
        };
        self.column_sums(sums, &[values(dy)], &after, [values_mut(&mut dtoken)]);
        dtoken
    }

    pub(super) fn gather_rows(&self, x: &Buffer, index: &Buffer, y: &mut Buffer) {
        let width = y.len() / index.len().max(1);
        assert_eq!(y.len(), index.len() * width, "gather: lengths differ");
        let before = [values(x), numbers(index), values_mut(y)];
        self.by_rows("gather", index.len(), &before, &[width as u64]);
    }

    pub(super) fn gather_rows_backward(&self, dy: &Buffer, index: &Buffer, dx: &mut Buffer) {
        if index.len() == 0 {
            self.fill_with(dx, 0.0);
            return;
        }
        let width = dy.len() / index.len();
        assert_eq!(dy.len(), index.len() * width, "gather: lengths differ");
        let rows = rows_of(dx, width);
        let Inverse {
            firsts,
            order,
            n_rows,
        } = self.inverse(index);
        let before = [values(dy), firsts.address, order.address, values_mut(dx)];
        let after = [*n_rows as u64, width as u64];
        self.by_rows("gather_backward", rows, &before, &after);
    }

    /// Which places of an index name a row, so that a sum over them need not look through all of it. The host finds them, by counting,
    /// the first time: of an index that it made itself. One that the device made is waited for.
    fn inverse<'a>(&self, index: &'a Buffer) -> &'a Inverse {
        inverse(index, |numbers| {
            let read = numbers.is_none().then(|| self.download_index(index));
            let (firsts, order) = places_of_rows(numbers.or(read.as_deref()).unwrap_or_default());
            Inverse {
                firsts: self.filled(&firsts),
                order: self.filled(&order),
                n_rows: firsts.len() - 1,
            }
        })
    }

    pub(super) fn columns_of(&self, table: &Buffer, index: &Buffer, bias: &mut Buffer) {
        let n = index.len();
        let heads = rows_of(bias, n);
        rows_of(table, heads);
        let grid = Grid {
            blocks_y: heads,
            ..Grid::values(n)
        };
        let to = values_mut(bias);
        let arguments = [values(table), numbers(index), to, n as u64, heads as u64];
        self.launch("gather_columns", grid, &arguments);
    }

    pub(super) fn columns_of_backward(&self, dbias: &Buffer, index: &Buffer, dtable: &mut Buffer) {
        let n = index.len();
        let heads = rows_of(dbias, n);
        let grid = Grid {
            blocks_y: heads,
            ..Grid::blocks(rows_of(dtable, heads))
        };
        let Inverse {
            firsts,
            order,
            n_rows,
        } = self.inverse(index);
        let read = [values(dbias), firsts.address, order.address];
        let then = [values_mut(dtable), n as u64, *n_rows as u64, heads as u64];
        self.launch(
            "gather_columns_backward",
            grid,
            &[&read[..], &then].concat(),
        );
    }

    /// The mean of the rows of each sample, of all of them or, in f64, of those from one on.
    pub(super) fn mean_of(
        &self,
        x: &Buffer,
        dims: TokenDims,
        first: Option<usize>,
        y: &mut Buffer,
    ) {
        let TokenDims { tokens, width } = dims;
        assert_eq!(x.len(), y.len() * tokens, "mean of tokens: lengths differ");
        let grid = Grid {
            blocks_y: width.div_ceil(THREADS),
            ..Grid::blocks(rows_of(y, width))
        };
        let mut arguments = vec![values(x), values_mut(y), tokens as u64, width as u64];
        arguments.extend(first.map(|first| first as u64));
        let name = first.map_or("mean_tokens", |_| "pool_tokens");
        self.launch(name, grid, &arguments);
    }

    pub(super) fn mean_backward(&self, dy: &Buffer, dims: TokenDims, dx: &mut Buffer) {
        let TokenDims { tokens, width } = dims;
        assert_eq!(dx.len(), dy.len() * tokens, "mean_tokens: lengths differ");
        let rows = rows_of(dx, width);
        let before = [values(dy), values_mut(dx)];
        let after = [tokens as u64, width as u64];
        self.by_rows("mean_tokens_backward", rows, &before, &after);
    }

    pub(super) fn query_value(&self, q: &Buffer, v: &Buffer, y: &mut Buffer) {
        same_len("query_value_bias", [q, v]);
        assert_eq!(y.len(), 3 * q.len(), "query_value_bias: lengths differ");
        let arguments = [values(q), values(v), values_mut(y), q.len() as u64];
        self.launch("query_value_bias", Grid::values(3 * q.len()), &arguments);
    }

    pub(super) fn query_value_backward(&self, dy: &Buffer) -> QueryValueGradients {
        let width = dy.len() / 3;
        let part = |from: usize| {
            let mut part = self.floats(width);
            let from = values(dy) + (from * size_of::<f32>()) as u64;
            let arguments = [from, values_mut(&mut part), 1, width as u64];
            // A sum of one part is a copy of it.
            self.launch("add_parts", Grid::values(width), &arguments);
            part
        };
        QueryValueGradients {
            q: part(0),
            v: part(2 * width),
        }
    }

    /// Row numbers that a kernel writes.
    pub(super) fn numbers_by(&self, len: usize, write: impl FnOnce(u64)) -> Buffer {
        let found = self.buffer(len, Element::U32);
        write(memory(&found).address);
        found
    }
}

#[cfg(test)]
mod tests {
    use super::places_of_rows;

    #[test]
    fn the_places_of_a_row_are_in_their_order() {
        let (firsts, order) = places_of_rows(&[3, 1, 3, 0, 1, 3]);
        assert_eq!(firsts, [0, 1, 3, 3, 6]);
        assert_eq!(order, [3, 1, 4, 0, 2, 5]);
        assert_eq!(places_of_rows(&[]), (vec![0], Vec::new()));
    }
}
