//! y = x wᵀ + b.

use crate::tape::{Tape, Var};
use crate::tensor::Tensor;
use simmim_device::{Element, Linear, LinearDims, LinearGradients};
use std::sync::Arc;

impl Tape<'_> {
    /// y = x wᵀ + bias for each row of x. A convolution's weight `[out, C, p, p]` serves as it is.
    ///
    /// # Shapes
    /// `x` `[.., in]`, `w` `[out, ..]` with `in` values a row, `bias` `[out]`; the result `[.., out]`.
    ///
    /// # Panics
    /// When the shapes do not fit.
    pub fn linear(&mut self, x: &Var, w: &Var, bias: Option<&Var>) -> Var {
        self.linear_of(Element::F32, x, w, bias)
    }

    /// As [`Tape::linear`], within a residual branch: the result is kept in what the device keeps there.
    ///
    /// # Shapes
    /// As there.
    ///
    /// # Panics
    /// As there.
    pub fn linear_in_branch(&mut self, x: &Var, w: &Var, bias: Option<&Var>) -> Var {
        let element = self.device().branch_element();
        self.linear_of(element, x, w, bias)
    }

    fn linear_of(&mut self, element: Element, x: &Var, w: &Var, bias: Option<&Var>) -> Var {
        let (inputs, outputs) = (x.tensor().width(), w.shape()[0]);
        assert_eq!(
            w.tensor().len(),
            inputs * outputs,
            "linear: {:?} by {:?}",
            x.shape(),
            w.shape()
        );
        assert!(
            bias.is_none_or(|bias| bias.tensor().len() == outputs),
            "linear: bias of another length"
        );
        let dims = LinearDims {
            rows: x.tensor().len() / inputs,
            inputs,
            outputs,
        };
        let mut shape = x.shape().to_vec();
        *shape.last_mut().expect("x has rows") = outputs;
        let device = Arc::clone(self.device());
        let layer = Linear {
            w: w.tensor().buffer(),
            bias: bias.map(|bias| bias.tensor().buffer()),
            dims,
        };
        let y = Tensor::build_of(element, &device, &shape, |y| {
            device.linear(x.tensor().buffer(), layer, y);
        });
        let (x, w, bias) = (x.clone(), w.clone(), bias.and_then(Var::node));
        self.record(y, move |dy, sink| {
            // Images take no gradient: that of the first layer would be a product for nothing.
            if x.node().is_some() {
                let dx = x.tensor().build_like(|dx| {
                    device.linear_backward_input(dy.buffer(), w.tensor().buffer(), dims, dx);
                });
                sink.add(x.node(), dx);
            }
            // With the weight: a device can take both gradients from one pass over dy.
            let mut db = bias.map(|_| device.allocate(dims.outputs, Element::F32));
            let dw = Tensor::build(&device, w.shape(), |dw| {
                let gradients = LinearGradients {
                    w: dw,
                    bias: db.as_mut(),
                };
                device.linear_backward_weight(dy.buffer(), x.tensor().buffer(), dims, gradients);
            });
            sink.add(w.node(), dw);
            if let Some(db) = db {
                sink.add(bias, Tensor::from_buffer(&device, &[dims.outputs], db));
            }
        })
    }

    /// The bias of a query-key-value projection whose keys have none: q, zeros, v.
    ///
    /// Source: microsoft/SimMIM `models/vision_transformer.py`, `Attention.forward`.
    ///
    /// # Shapes
    /// `q`, `v` `[D]`; the result `[3 D]`.
    pub fn query_value_bias(&mut self, q: &Var, v: &Var) -> Var {
        let width = q.tensor().len();
        let device = Arc::clone(self.device());
        // Keys need no bias: it would add the same to all logits of a query, and the softmax does not see that.
        let y = Tensor::build(&device, &[3 * width], |y| {
            device.query_value_bias(q.tensor().buffer(), v.tensor().buffer(), y);
        });
        let (q, v) = (q.node(), v.node());
        self.record(y, move |dy, sink| {
            let gradients = device.query_value_bias_backward(dy.buffer());
            sink.add(q, Tensor::from_buffer(&device, &[width], gradients.q));
            sink.add(v, Tensor::from_buffer(&device, &[width], gradients.v));
        })
    }
}
