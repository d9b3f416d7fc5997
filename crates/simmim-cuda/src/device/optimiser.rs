//! The norm of all gradients, and AdamW: all tensors in one launch.

use super::gpu::CudaDevice;
use super::storage::{bits, memory, values, values_mut};
use crate::driver::Grid;
use crate::error::OrRaise;
use crate::memory::Memory;
use simmim_device::{AdamWStep, AdamWTensors, Buffer, Clip, Element};

/// `PIECE` of the kernels: values of a block.
const PIECE: usize = 8192;

/// Tensors as the kernels find them: the number of each one's first block and that of all, then their rows.
struct Table {
    memory: Memory,
    n_tensors: usize,
    n_blocks: usize,
}

impl CudaDevice {
    /// Rows of addresses and, last, a number of values.
    fn table<const COLUMNS: usize>(&self, rows: &[[u64; COLUMNS]]) -> Table {
        let mut words = Vec::with_capacity(rows.len() * (COLUMNS + 1) + 1);
        let mut n_blocks = 0;
        for row in rows {
            words.push(n_blocks as u64);
            n_blocks += (row[COLUMNS - 1] as usize).div_ceil(PIECE);
        }
        words.push(n_blocks as u64);
        words.extend(rows.iter().flatten());
        Table {
            memory: self.words(&words),
            n_tensors: rows.len(),
            n_blocks,
        }
    }

    pub(super) fn norm_of(&self, buffers: &[&Buffer]) -> Buffer {
        let rows: Vec<[u64; 2]> = buffers
            .iter()
            .filter(|buffer| buffer.len() > 0)
            .map(|buffer| [values(buffer), buffer.len() as u64])
            .collect();
        let table = self.table(&rows);
        let sums = self.scratch(table.n_blocks * size_of::<f64>());
        let arguments = [table.memory.address, table.n_tensors as u64, sums.address];
        self.launch("sum_of_squares", Grid::blocks(table.n_blocks), &arguments);
        let norm = self.buffer(1, Element::F64);
        let arguments = [sums.address, memory(&norm).address, table.n_blocks as u64];
        self.launch("root_of_sum", Grid::blocks(1), &arguments);
        norm
    }

    pub(super) fn factor(&self, clip: Clip<'_>) -> Buffer {
        let losses: Vec<u64> = clip.losses.iter().map(|loss| values(loss)).collect();
        let addresses = self.words(&losses);
        let mut scale = self.floats(1);
        let most = clip.max_norm.unwrap_or(f64::INFINITY);
        let arguments = [
            memory(clip.norm).address,
            addresses.address,
            losses.len() as u64,
            most.to_bits(),
            Clip::EPS.to_bits(),
            values_mut(&mut scale),
        ];
        let one_warp = Grid {
            threads: 32,
            ..Grid::blocks(1)
        };
        self.launch("clip", one_warp, &arguments);
        scale
    }

    /// Words that a kernel reads, for the time of an operation.
    fn words(&self, words: &[u64]) -> Memory {
        let memory = self.scratch(size_of_val(words));
        self.staging.stage(words, &memory).or_raise();
        memory
    }

    pub(super) fn step(&self, tensors: &mut [AdamWTensors<'_>], step: AdamWStep, scale: &Buffer) {
        let row = |tensor: &mut AdamWTensors<'_>| {
            let n = tensor.gradient.len();
            let lens =
                [&tensor.parameter, &tensor.first, &tensor.second].map(|buffer| buffer.len());
            assert_eq!(lens, [n; 3], "adamw: lengths differ");
            [
                values_mut(tensor.parameter),
                values_mut(tensor.first),
                values_mut(tensor.second),
                values(tensor.gradient),
                n as u64,
            ]
        };
        let rows: Vec<[u64; 5]> = tensors
            .iter_mut()
            .map(row)
            .filter(|row| row[4] > 0)
            .collect();
        let table = self.table(&rows);
        let [beta1, beta2] = step.betas;
        let numbers = [
            1.0 - step.lr * step.weight_decay,
            step.lr / step.corrections[0],
            1.0 / step.corrections[1].sqrt(),
            beta1,
            beta2,
            step.eps,
        ];
        let arguments = [table.memory.address, table.n_tensors as u64];
        let numbers = numbers.map(bits);
        let arguments = [&arguments[..], &numbers, &[values(scale)]].concat();
        self.launch("adamw", Grid::blocks(table.n_blocks), &arguments);
    }
}
