//! What a thread packs of one head.

use crate::matmul::block::Packed;
use std::cell::RefCell;

thread_local! {
    static OPERANDS: RefCell<Operands> = const { RefCell::new(Operands::EMPTY) };
}

/// Packed operands of one head.
pub(super) struct Operands {
    /// kᵀ.
    pub(super) keys_t: Packed,
    /// k, for the backward.
    pub(super) keys: Packed,
    /// v, or for the backward vᵀ.
    pub(super) values: Packed,
    /// P or dS of a tile, transposed.
    pub(super) left: Packed,
    /// What that is multiplied with.
    pub(super) right: Packed,
}

impl Operands {
    const EMPTY: Self = Self {
        keys_t: Packed::EMPTY,
        keys: Packed::EMPTY,
        values: Packed::EMPTY,
        left: Packed::EMPTY,
        right: Packed::EMPTY,
    };
}

/// Calls `run` with this thread's operands.
pub(super) fn with_operands(run: impl FnOnce(&mut Operands)) {
    // Taken out while in use: a nested task of the pool finds empty ones.
    let mut operands = OPERANDS.replace(Operands::EMPTY);
    run(&mut operands);
    OPERANDS.replace(operands);
}
