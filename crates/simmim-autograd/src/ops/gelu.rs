//! GELU with the exact error function.

use crate::tape::{Tape, Var};
use std::sync::Arc;

impl Tape<'_> {
    /// y = x Φ(x), element by element.
    ///
    /// # Shapes
    /// `x` and the result: any, the same.
    pub fn gelu(&mut self, x: &Var) -> Var {
        let device = Arc::clone(self.device());
        let y = x
            .tensor()
            .build_like(|y| device.gelu(x.tensor().buffer(), y));
        // The input is kept, not the result: GELU falls before it rises, so a result does not say which x it came from.
        let x = x.clone();
        self.record(y, move |dy, sink| {
            let dx = x.tensor().build_like(|dx| {
                device.gelu_backward(x.tensor().buffer(), dy.buffer(), dx);
            });
            sink.add(x.node(), dx);
        })
    }
}
