//! Hiding tokens, the class token, absolute positions.

use crate::tape::{Tape, Var};
use crate::tensor::Tensor;
use std::sync::Arc;

impl Tape<'_> {
    /// Puts `token` in place of every hidden row of x.
    ///
    /// Source: SimMIM §3.2; microsoft/SimMIM `models/simmim.py`: x (1 − w) + token w.
    ///
    /// # Shapes
    /// `x` and the result `[B, L, D]`; `hidden` `[B, L]`, 1 = hidden; `token` of D values.
    ///
    /// # Panics
    /// When the shapes do not fit.
    pub fn hide(&mut self, x: &Var, hidden: &Tensor, token: &Var) -> Var {
        assert_eq!(
            hidden.shape(),
            &x.shape()[..2],
            "hide: a mask of another grid"
        );
        assert_eq!(
            token.tensor().len(),
            x.tensor().width(),
            "hide: a token of another width"
        );
        let device = Arc::clone(self.device());
        let y = Tensor::build(&device, x.shape(), |y| {
            device.hide(
                x.tensor().buffer(),
                hidden.buffer(),
                token.tensor().buffer(),
                y,
            );
        });
        // No value of x is kept: a row of its gradient is that of dy, or nothing.
        let (x, shape, hidden, token) =
            (x.node(), x.shape().to_vec(), hidden.clone(), token.clone());
        self.record(y, move |dy, sink| {
            let mut dtoken = None;
            let dx = Tensor::build(&device, &shape, |dx| {
                dtoken = Some(device.hide_backward(dy.buffer(), hidden.buffer(), dx));
            });
            sink.add(x, dx);
            let dtoken = dtoken.expect("written by the closure above");
            sink.add(
                token.node(),
                Tensor::from_buffer(&device, token.shape(), dtoken),
            );
        })
    }

    /// Puts `token` before the tokens of each sample.
    ///
    /// # Shapes
    /// `x` `[B, L, D]`, `token` of D values; the result `[B, L + 1, D]`.
    ///
    /// # Panics
    /// When the shapes do not fit.
    pub fn prepend(&mut self, x: &Var, token: &Var) -> Var {
        let &[batch, tokens, width] = x.shape() else {
            panic!("prepend: x is {:?}", x.shape())
        };
        assert_eq!(
            token.tensor().len(),
            width,
            "prepend: a token of another width"
        );
        let device = Arc::clone(self.device());
        let y = Tensor::build(&device, &[batch, tokens + 1, width], |y| {
            device.prepend(x.tensor().buffer(), token.tensor().buffer(), tokens, y);
        });
        let (x, token) = (x.node(), token.clone());
        self.record(y, move |dy, sink| {
            let mut dtoken = None;
            let dx = Tensor::build(&device, &[batch, tokens, width], |dx| {
                dtoken = Some(device.prepend_backward(dy.buffer(), tokens, width, dx));
            });
            sink.add(x, dx);
            let dtoken = dtoken.expect("written by the closure above");
            sink.add(
                token.node(),
                Tensor::from_buffer(&device, token.shape(), dtoken),
            );
        })
    }

    /// Adds a vector for each position to the tokens of every sample.
    ///
    /// # Shapes
    /// `x` and the result `[B, L, D]`; `positions` of L · D values.
    ///
    /// # Panics
    /// When the shapes do not fit.
    pub fn add_positions(&mut self, x: &Var, positions: &Var) -> Var {
        // By their number: positions are `[1, L, D]`, as in published files.
        let per_sample: usize = x.shape()[1..].iter().product();
        assert_eq!(
            positions.tensor().len(),
            per_sample,
            "add_positions: {:?}",
            positions.shape()
        );
        let device = Arc::clone(self.device());
        let y = Tensor::build(&device, x.shape(), |y| {
            device.add_to_rows(x.tensor().buffer(), positions.tensor().buffer(), y);
        });
        let (x, positions) = (x.node(), positions.clone());
        self.record(y, move |dy, sink| {
            let sum = Tensor::build(&device, positions.shape(), |sum| {
                device.sum_rows(dy.buffer(), sum);
            });
            sink.add(positions.node(), sum);
            sink.add(x, dy);
        })
    }
}
